/* GroupNorm and BatchNorm over [rows, C], channels last. A unit is what shares statistics along the rows: one sample
 * for GroupNorm, the whole batch for BatchNorm (whose groups are single channels). */
#include "common.h"

/* p [units*chunks][C] -> stats[unit][group]. STEP 0: .x = mean; 1: p holds squared deviations, .y = rstd.
 * weight NULL-like use: GAMMA 1 multiplies by gamma[c] (the backward's sums). Items (groups, units). */
__kernel void norm2d_stats(const __global float *p, __global float2 *stats, int C, int groups, int chunks,
                           float inv_count, float eps, int step)
{
    const int g = (int)get_global_id(0), u = (int)get_global_id(1), gc = C / groups;
    if (g >= groups) return;
    float s = 0.0f;
    for (int i = 0; i < chunks; i++)
        for (int c = g * gc; c < (g + 1) * gc; c++) s += p[((size_t)u * chunks + i) * C + c];
    const size_t at = (size_t)u * groups + g;
    if (step == 0)
        stats[at].x = s * inv_count;
    else
        stats[at].y = rsqrt(s * inv_count + eps);
}

/* sums[unit][group] = mean of gamma*dy and of gamma*dy*xhat. Items (groups, units). */
__kernel void norm2d_sums(const __global float *p0, const __global float *p1, const __global float *gamma,
                          __global float2 *sums, int C, int groups, int chunks, float inv_count)
{
    const int g = (int)get_global_id(0), u = (int)get_global_id(1), gc = C / groups;
    if (g >= groups) return;
    float2 s = (float2)(0.0f, 0.0f);
    for (int i = 0; i < chunks; i++)
        for (int c = g * gc; c < (g + 1) * gc; c++) {
            const size_t at = ((size_t)u * chunks + i) * C + c;
            s += gamma[c] * (float2)(p0[at], p1[at]);
        }
    sums[(size_t)u * groups + g] = s * inv_count;
}

/* The statistics (or sums) of VW columns from c on, as two vectors. */
inline void lanes_of(const __global float2 *s, size_t unit, int groups, int gc, int c, vec *a, vec *b)
{
#if VW == 1
    const float2 v = s[unit * groups + c / gc];
    *a = v.x;
    *b = v.y;
#else
    float x[VW], y[VW];
    for (int k = 0; k < VW; k++) {
        const float2 v = s[unit * groups + (c + k) / gc];
        x[k] = v.x;
        y[k] = v.y;
    }
    *a = CAT(vload, VW)(0, x);
    *b = CAT(vload, VW)(0, y);
#endif
}

/* y = (x - mean) rstd gamma + beta. An item handles VW columns of `span` rows of one unit.
 * Items (C/VW, ceil(unit_rows/span), units). */
__kernel void norm2d_forward(const __global act_t *x, const __global float2 *stats, const __global float *gamma,
                             const __global float *beta, __global act_t *y, int C, int groups, int unit_rows, int span)
{
    const int c = (int)get_global_id(0) * VW, first = (int)get_global_id(1) * span;
    const size_t u = get_global_id(2);
    if (c >= C || first >= unit_rows) return;
    vec mean, rstd;
    lanes_of(stats, u, groups, C / groups, c, &mean, &rstd);
    const vec g = LDV(0, gamma, c) * rstd, b = LDV(0, beta, c);
    for (int r = first; r < min(unit_rows, first + span); r++) {
        const size_t at = (u * unit_rows + r) * C + c;
        STV(ACT, y, at, (LDV(ACT, x, at) - mean) * g + b);
    }
}

/* dx = rstd (gamma dy - sums.x - xhat sums.y). Items as above. */
__kernel void norm2d_backward(const __global act_t *x, const __global float2 *stats, const __global float *gamma,
                              const __global float2 *sums, const __global act_t *dy, __global act_t *dx, int C,
                              int groups, int unit_rows, int span)
{
    const int c = (int)get_global_id(0) * VW, first = (int)get_global_id(1) * span;
    const size_t u = get_global_id(2);
    if (c >= C || first >= unit_rows) return;
    vec mean, rstd, m1, m2;
    lanes_of(stats, u, groups, C / groups, c, &mean, &rstd);
    lanes_of(sums, u, groups, C / groups, c, &m1, &m2);
    const vec g = LDV(0, gamma, c);
    for (int r = first; r < min(unit_rows, first + span); r++) {
        const size_t at = (u * unit_rows + r) * C + c;
        const vec xhat = (LDV(ACT, x, at) - mean) * rstd;
        STV(ACT, dx, at, rstd * (g * LDV(ACT, dy, at) - m1 - xhat * m2));
    }
}

/* BatchNorm's running statistics from the batch's: var is unbiased there (PyTorch). Items (C). */
__kernel void norm2d_running(const __global float2 *stats, __global float *mean, __global float *var, int C, float eps,
                             float momentum, float unbias)
{
    const int c = (int)get_global_id(0);
    if (c >= C) return;
    const float2 s = stats[c];
    const float v = (1.0f / (s.y * s.y) - eps) * unbias;
    mean[c] += momentum * (s.x - mean[c]);
    var[c] += momentum * (v - var[c]);
}

/* stats from the running ones, for evaluation. Items (C). */
__kernel void norm2d_from_running(const __global float *mean, const __global float *var, __global float2 *stats, int C,
                                  float eps)
{
    const int c = (int)get_global_id(0);
    if (c < C) stats[c] = (float2)(mean[c], rsqrt(var[c] + eps));
}
