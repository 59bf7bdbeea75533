#include "bundle.h"

#include <stdlib.h>
#include <string.h>

int tn_bundle_add(tn_bundle *b, char *name, const char *dtype, int ndim, const int64_t *shape, float *v, tn_error *err)
{
    int64_t n = 1;
    for (int i = 0; i < ndim; i++) n *= shape[i];
    const tn_dtype dt = !strcmp(dtype, "F16") ? TN_F16 : !strcmp(dtype, "BF16") ? TN_BF16 : TN_F32;
    void *bytes = malloc((size_t)n * tn_dtype_size(dt) + 4);
    tn_st_entry *e = realloc(b->e, sizeof *e * (size_t)(b->n + 1));
    if (e) b->e = e;
    if (!bytes || !e || !name || !v) {
        free(bytes);
        free(name);
        free(v);
        return tn_oom(err);
    }
    tn_from_f32(bytes, v, dt, (size_t)n);
    free(v);
    e[b->n] = (tn_st_entry){.name = name, .dtype = dtype, .ndim = ndim, .data = bytes, .bytes = (size_t)n * tn_dtype_size(dt)};
    memcpy(e[b->n++].shape, shape, sizeof *shape * (size_t)ndim);
    return 0;
}

void tn_bundle_free(tn_bundle *b)
{
    for (int i = 0; i < b->n; i++) {
        free((void *)b->e[i].name);
        free((void *)b->e[i].data);
    }
    free(b->e);
}
