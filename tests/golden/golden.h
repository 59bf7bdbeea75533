/* What the parts of tn-golden share. */
#ifndef TN_GOLDEN_H
#define TN_GOLDEN_H
#include "numeric.h"
#include "qfile.h"
#include "dev.h"

enum { HIDDEN, HEATMAP, LOSS, GRADIENT, TRACE, NORM, FINAL, CODES, VALUES, KINDS };
/** Records one comparison of a kind. */
void note(int kind, const char *where, double error);
/** A tensor as float32 (caller frees), or NULL with *err filled. */
float *values_of(const tn_st_file *f, const char *name, size_t *n, tn_error *err);
/** golden: X.weight and X.dequantized; model: X as the real library serialised it. */
int run_quantized(tn_dev *d, const tn_st_file *golden, const tn_st_file *model, tn_error *err);
#endif
