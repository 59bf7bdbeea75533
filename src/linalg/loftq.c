#include "loftq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int tn_low_rank_scaled(const float *W, int rows, int cols, int r, float scale, int iterations, uint64_t seed, float *B, float *A,
                       tn_error *err)
{
    TN_TRY(tn_low_rank(W, rows, cols, r, iterations, seed, B, A, err));
    const float k = 1 / sqrtf(scale);
    for (int i = 0; i < rows * r; i++) B[i] *= k;
    for (int i = 0; i < cols * r; i++) A[i] *= k;
    return 0;
}

/* values: quantised(w), as it is unpacked. */
static int through_quantised(float *values, const float *w, const tn_qshape *s, tn_error *err)
{
    tn_qmatrix q;
    TN_TRY(tn_quantize(&q, w, s, "LoftQ", err));
    tn_dequantize(&q, values);
    tn_qmatrix_free(&q);
    return 0;
}

/* scale B A ~ target - quantised(w); left has room for as many values. */
static int alternate(const float *target, const float *w, float *left, const tn_qshape *s, int r, float scale, float *B, float *A,
                     tn_error *err)
{
    const size_t n = (size_t)s->rows * (size_t)s->cols;
    TN_TRY(through_quantised(left, w, s, err));
    for (size_t k = 0; k < n; k++) left[k] = target[k] - left[k];
    return tn_low_rank_scaled(left, s->rows, s->cols, r, scale, 0, 0, B, A, err);
}

int tn_loftq(float *w, const tn_qshape *s, int r, float scale, int iterations, float *B, float *A, tn_error *err)
{
    const size_t n = (size_t)s->rows * (size_t)s->cols;
    float *target = malloc(2 * n * sizeof *target);
    if (!target) return tn_oom(err);
    memcpy(target, w, n * sizeof *w);
    int rc = 0;
    for (int i = 0; !rc && i < iterations; i++) {
        if (i) {
            memcpy(w, target, n * sizeof *w);
            tn_matmul_add(w, -scale, B, A, s->rows, r, s->cols);
        }
        rc = alternate(target, w, target + n, s, r, scale, B, A, err);
    }
    free(target);
    return rc;
}

int tn_loftq_base(float *w, const tn_qshape *s, int r, float scale, int iterations, tn_error *err)
{
    const size_t n = (size_t)s->rows * (size_t)s->cols, nb = (size_t)s->rows * (size_t)r, na = (size_t)r * (size_t)s->cols;
    float *last = malloc((n + nb + na) * sizeof *last), *B = last + n, *A = B + nb;
    if (!last) return tn_oom(err);
    memcpy(last, w, n * sizeof *w);
    int rc = iterations > 1 ? tn_loftq(last, s, r, scale, iterations - 1, B, A, err) : 0;
    if (!rc && iterations > 1) tn_matmul_add(w, -scale, B, A, s->rows, r, s->cols);
    if (!rc) rc = through_quantised(last, w, s, err);
    if (!rc) memcpy(w, last, n * sizeof *w);
    free(last);
    return rc;
}
