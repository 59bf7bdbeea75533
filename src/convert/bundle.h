/** Tensors that are collected to be written as one file. */
#ifndef TN_BUNDLE_H
#define TN_BUNDLE_H
#include "safetensors.h"

typedef struct tn_bundle {
    tn_st_entry *e;
    int n;
} tn_bundle;

/** Takes name and v (both from malloc, which it frees where it fails too; NULL: out of memory) and stores v as dtype ("F32", "F16",
 * "BF16"). */
int tn_bundle_add(tn_bundle *b, char *name, const char *dtype, int ndim, const int64_t *shape, float *v, tn_error *err);
void tn_bundle_free(tn_bundle *b);
#endif
