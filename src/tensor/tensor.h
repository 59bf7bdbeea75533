/** A row-major matrix [rows, cols] in a device buffer. */
#ifndef TN_TENSOR_H
#define TN_TENSOR_H
#include "dev.h"
#include "numeric.h"

/** mem is borrowed unless made by tn_tensor_new. Element (r, c) stands at off + r * ld + c. */
typedef struct tn_tensor {
    tn_buffer *mem;
    tn_dtype dtype;
    int rows, cols, ld;
    size_t off; /* elements */
} tn_tensor;

static inline size_t tn_tensor_count(const tn_tensor *t)
{
    return (size_t)t->rows * (size_t)t->cols;
}
static inline size_t tn_tensor_bytes(const tn_tensor *t)
{
    return tn_tensor_count(t) * tn_dtype_size(t->dtype);
}
/** Columns [c0, c0+n) of t: the same buffer. */
static inline tn_tensor tn_cols(tn_tensor t, int c0, int n)
{
    t.off += (size_t)c0;
    t.cols = n;
    return t;
}
/** Rows [r0, r0+n) of t. */
static inline tn_tensor tn_rows(tn_tensor t, int r0, int n)
{
    t.off += (size_t)r0 * (size_t)t.ld;
    t.rows = n;
    return t;
}
static inline tn_tensor tn_view(tn_buffer *m, tn_dtype dt, int rows, int cols)
{
    return (tn_tensor){m, dt, rows, cols, cols, 0};
}

int tn_tensor_new(tn_tensor *t, tn_dev *d, tn_dtype dt, int rows, int cols, const char *what, tn_error *err);
void tn_tensor_free(tn_dev *d, tn_tensor *t);
/** Host floats in, converted to t's dtype; t must be dense (ld == cols). */
int tn_tensor_set(tn_dev *d, const tn_tensor *t, const float *src, tn_error *err);
int tn_tensor_get(tn_dev *d, const tn_tensor *t, float *dst, tn_error *err);
/** NaN all over a tensor of tn_tensor_new, so that what a kernel leaves unwritten is seen. */
int tn_tensor_poison(tn_dev *d, const tn_tensor *t, tn_error *err);
#endif
