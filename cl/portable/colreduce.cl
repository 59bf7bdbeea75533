/* Sums down the columns of [rows, C], in two steps so that the result never depends on timing. Kernels and what they sum:
 *   column_sums a      column_products a*b      column_squares (a - mean)^2
 *   column_grads a  and  a*(b - mean)*rstd
 * Statistics of element (r, c) stand at stats[(r / stat_rows) * groups + c / group_cols] as (mean, rstd). */
#include "common.h"

enum { SUMS, PRODUCTS, GRADS, SQUARES };

/* Mean and reciprocal deviation of a unit's columns from c on, c a multiple of VW. */
inline void columns_stats(const __global float2 *st, int c, int group_cols, vec *mean, vec *rstd)
{
    if (group_cols % VW == 0) { /* they share a group */
        const float2 v = st[c / group_cols];
        *mean = TO_VEC(v.x);
        *rstd = TO_VEC(v.y);
        return;
    }
#if VW == 1
    *mean = st[c / group_cols].x;
    *rstd = st[c / group_cols].y;
#else
    float m[VW], q[VW];
    for (int k = 0; k < VW; k++) {
        m[k] = st[(c + k) / group_cols].x;
        q[k] = st[(c + k) / group_cols].y;
    }
    *mean = CAT(vload, VW)(0, m);
    *rstd = CAT(vload, VW)(0, q);
#endif
}

/* p0, p1: [chunks][C] float32. Items (C/VW, chunks). `what` is known when this is compiled. */
inline void reduce(int what, const __global act_t *a, const __global act_t *b, const __global float2 *stats, __global float *p0,
                   __global float *p1, int rows, int C, int chunk_rows, int stat_rows, int groups, int group_cols, float alpha)
{
    const int c = (int)get_global_id(0) * VW, chunk = (int)get_global_id(1);
    if (c >= C || (size_t)chunk * chunk_rows >= (size_t)rows) return;
    const int last = min(rows, (chunk + 1) * chunk_rows);
    vec s0 = TO_VEC(0.0f), s1 = TO_VEC(0.0f), mean = TO_VEC(0.0f), rstd = TO_VEC(0.0f);
    int unit = -1;
    for (int r = chunk * chunk_rows; r < last; r++) {
        const size_t at = (size_t)r * C + c;
        const vec va = LDV(ACT, a, at);
        if (what >= GRADS && r / stat_rows != unit) {
            unit = r / stat_rows;
            columns_stats(stats + (size_t)unit * groups, c, group_cols, &mean, &rstd);
        }
        if (what == SUMS) s0 += va;
        if (what == PRODUCTS) s0 += va * LDV(ACT, b, at);
        if (what == SQUARES) s0 += (va - mean) * (va - mean);
        if (what == GRADS) {
            s0 += va;
            s1 += va * (LDV(ACT, b, at) - mean) * rstd;
        }
    }
    STV(0, p0, (size_t)chunk * C + c, alpha * s0);
    if (what == GRADS) STV(0, p1, (size_t)chunk * C + c, alpha * s1);
}

#define REDUCTION(name, what)                                                                                                      \
    __kernel void name(const __global act_t *a, const __global act_t *b, const __global float2 *stats, __global float *p0,         \
                       __global float *p1, int rows, int C, int chunk_rows, int stat_rows, int groups, int group_cols,             \
                       float alpha)                                                                                                \
    {                                                                                                                              \
        reduce(what, a, b, stats, p0, p1, rows, C, chunk_rows, stat_rows, groups, group_cols, alpha);                              \
    }
REDUCTION(column_sums, SUMS)
REDUCTION(column_products, PRODUCTS)
REDUCTION(column_grads, GRADS)
REDUCTION(column_squares, SQUARES)

/* out[c] += sum over chunks of p[chunk * ld + off + c]. Items (C). */
__kernel void colreduce_sum(const __global float *p, int off, int ld, __global float *out, int C, int chunks)
{
    const int c = (int)get_global_id(0);
    if (c >= C) return;
    float s = 0.0f;
    for (int i = 0; i < chunks; i++) s += p[(size_t)i * ld + off + c];
    out[c] += s;
}
