#include "tensor.h"

#include <stdlib.h>

int tn_tensor_new(tn_tensor *t, tn_dev *d, tn_dtype dt, int rows, int cols, const char *what, tn_error *err)
{
    *t = tn_view(NULL, dt, rows, cols);
    return tn_buffer_new(&t->mem, d, tn_tensor_bytes(t), what, err);
}

void tn_tensor_free(tn_dev *d, tn_tensor *t)
{
    tn_buffer_free(t->mem);
    *t = (tn_tensor){0};
}

int tn_tensor_set(tn_dev *d, const tn_tensor *t, const float *src, tn_error *err)
{
    size_t es = tn_dtype_size(t->dtype), n = tn_tensor_count(t);
    if (t->dtype == TN_F32) return tn_buffer_write(t->mem, t->off * es, src, n * es, err);
    void *tmp = malloc(n * es + 1);
    if (!tmp) return tn_oom(err);
    tn_from_f32(tmp, src, t->dtype, n);
    int rc = tn_buffer_write(t->mem, t->off * es, tmp, n * es, err);
    free(tmp);
    return rc;
}

int tn_tensor_get(tn_dev *d, const tn_tensor *t, float *dst, tn_error *err)
{
    size_t es = tn_dtype_size(t->dtype), n = tn_tensor_count(t);
    if (t->dtype == TN_F32) return tn_buffer_read(t->mem, t->off * es, dst, n * es, err);
    void *tmp = malloc(n * es + 1);
    if (!tmp) return tn_oom(err);
    int rc = tn_buffer_read(t->mem, t->off * es, tmp, n * es, err);
    if (!rc) tn_to_f32(dst, tmp, t->dtype, n);
    free(tmp);
    return rc;
}

int tn_tensor_poison(tn_dev *d, const tn_tensor *t, tn_error *err)
{
    const uint32_t nan = 0x7fc07fc0u; /* in every storage type */
    return tn_buffer_fill(t->mem, 0, TN_ROUND_UP(tn_tensor_bytes(t), (size_t)4), nan, err);
}
