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

/* y = (x - mean) rstd gamma + beta. Items (rows*C). */
__kernel void norm2d_forward(const __global act_t *x, const __global float2 *stats, const __global float *gamma,
                             const __global float *beta, __global act_t *y, int C, int groups, int unit_rows, int n)
{
    const size_t i = get_global_id(0);
    if (i >= (size_t)n) return;
    const int c = (int)(i % C), r = (int)(i / C);
    const float2 s = stats[(size_t)(r / unit_rows) * groups + c / (C / groups)];
    ST(ACT, y, i, (LD(ACT, x, i) - s.x) * s.y * gamma[c] + beta[c]);
}

/* dx = rstd (gamma dy - sums.x - xhat sums.y). Items (rows*C). */
__kernel void norm2d_backward(const __global act_t *x, const __global float2 *stats, const __global float *gamma,
                              const __global float2 *sums, const __global act_t *dy, __global act_t *dx, int C,
                              int groups, int unit_rows, int n)
{
    const size_t i = get_global_id(0);
    if (i >= (size_t)n) return;
    const int c = (int)(i % C), r = (int)(i / C);
    const size_t at = (size_t)(r / unit_rows) * groups + c / (C / groups);
    const float2 s = stats[at], m = sums[at];
    const float xhat = (LD(ACT, x, i) - s.x) * s.y;
    ST(ACT, dx, i, s.y * (gamma[c] * LD(ACT, dy, i) - m.x - xhat * m.y));
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
