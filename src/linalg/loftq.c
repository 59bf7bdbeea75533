#include "loftq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int tn_low_rank_scaled(const tn_low_rank_of *x, float scale, float *B, float *A, tn_error *err)
{
    TN_TRY(tn_low_rank(x, B, A, err));
    const float k = 1 / sqrtf(scale);
    for (int i = 0; i < x->rows * x->r; i++) B[i] *= k;
    for (int i = 0; i < x->cols * x->r; i++) A[i] *= k;
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

static size_t values_of(const tn_loftq_spec *s)
{
    return (size_t)s->shape.rows * (size_t)s->shape.cols;
}

static void subtract(float *w, const tn_loftq_spec *s, const float *B, const float *A)
{
    tn_matmul_add(w, -s->scale, B, A, s->shape.rows, s->r, s->shape.cols);
}

/* scale B A ~ target - quantised(w); left has room for as many values. */
static int alternate(const float *target, const float *w, float *left, const tn_loftq_spec *s, float *B, float *A, tn_error *err)
{
    const size_t n = values_of(s);
    TN_TRY(through_quantised(left, w, &s->shape, err));
    for (size_t k = 0; k < n; k++) left[k] = target[k] - left[k];
    return tn_low_rank_scaled(&(tn_low_rank_of){.W = left, .rows = s->shape.rows, .cols = s->shape.cols, .r = s->r}, s->scale, B, A,
                              err);
}

int tn_loftq(float *w, const tn_loftq_spec *s, float *B, float *A, tn_error *err)
{
    const size_t n = values_of(s);
    float *target = malloc(2 * n * sizeof *target);
    if (!target) return tn_oom(err);
    memcpy(target, w, n * sizeof *w);
    int rc = 0;
    for (int i = 0; !rc && i < s->iterations; i++) {
        if (i) {
            memcpy(w, target, n * sizeof *w);
            subtract(w, s, B, A);
        }
        rc = alternate(target, w, target + n, s, B, A, err);
    }
    free(target);
    return rc;
}

int tn_loftq_base(float *w, const tn_loftq_spec *s, tn_error *err)
{
    const size_t n = values_of(s), nb = (size_t)s->shape.rows * (size_t)s->r, na = (size_t)s->r * (size_t)s->shape.cols;
    tn_loftq_spec before = *s;
    before.iterations--;
    float *last = malloc((n + nb + na) * sizeof *last);
    if (!last) return tn_oom(err);
    float *B = last + n, *A = B + nb;
    memcpy(last, w, n * sizeof *w);
    int rc = before.iterations > 0 ? tn_loftq(last, &before, B, A, err) : 0;
    if (!rc && before.iterations > 0) subtract(w, s, B, A);
    if (!rc) rc = through_quantised(last, w, &s->shape, err);
    if (!rc) memcpy(w, last, n * sizeof *w);
    free(last);
    return rc;
}
