/** Walks a checkpoint folder tensor by tensor and writes it again, some tensors changed, some quantised. */
#ifndef TN_REWRITE_H
#define TN_REWRITE_H
#include "qfile.h"
#include <tracknet/convert.h>

typedef struct tn_rewrite {
    const tn_quantize_options *o;
    bool quantize;
    tn_phase phase; /* what progress is told */
    tn_qtype type;
    /** Does `change` alter this tensor? And the change itself, on float32 [rows, cols]. NULL: nothing is changed. */
    bool (*changes)(void *user, const char *name);
    int (*change)(void *user, const char *name, float *w, int rows, int cols, tn_error *err);
    void *user;
} tn_rewrite;

/** The format that o asks for, with a block size it allows. */
int tn_quantize_check(const tn_quantize_options *o, tn_qtype *type, tn_error *err);
/** A list that n_skip promises must be there. */
int tn_quantize_skips(const tn_quantize_options *o, tn_error *err);
int tn_rewrite_run(const tn_rewrite *w, tn_error *err);
#endif
