/* GroupNorm and BatchNorm on CPU devices over [rows, C], channels last, C a multiple of 16 * NV. Units, groups and statistics as in
 * portable/norm2d.cl. Per channel and unit stand in `lines` what a row is multiplied by, so that rows are walked as they lie. */
#undef VW
#define VW 16
#include "common.h"
#include "vectors.h"
#ifndef NV
#define NV 1 /* vectors of channels that a sum down the rows takes at once */
#endif
/* ACTIVATE: an activation follows (FN as act.h has it), KEPT: and what it is of is kept, or with SLOPE its slope. */
#ifdef ACTIVATE
#define COARSE (ACT != 0)
#include "act.h"
#define END(v) fn(v)
#else
#define END(v) (v)
#endif
#ifdef KEPT
#define P_KEPT , __global act_t *kept
#else
#define P_KEPT
#endif

/* p0, p1 [chunks][C]: mean and squared deviations of `chunk_rows` rows: sums of what is left of the first row, so that nothing
 * cancels. Items (C/(16 NV), chunks). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void norm_moments(const __global act_t *x, __global float *p0,
                                                                          __global float *p1, int C, int chunk_rows)
{
    const int c = 16 * NV * (int)get_global_id(0);
    const size_t first = get_global_id(1) * (size_t)chunk_rows;
    float16 shift[NV], s[NV], q[NV];
    UNROLL(j, NV)
    {
        shift[j] = LDV(ACT, x, first * C + c + 16 * j);
        s[j] = q[j] = (float16)(0.0f);
    }
    for (int r = 1; r < chunk_rows; r++) UNROLL(j, NV)
        {
            const float16 v = LDV(ACT, x, (first + r) * C + c + 16 * j) - shift[j];
            s[j] += v;
            q[j] = fma(v, v, q[j]);
        }
    const float n = (float)chunk_rows;
    UNROLL(j, NV)
    {
        const size_t at = get_global_id(1) * C + c + 16 * j;
        STV(0, p0, at, shift[j] + s[j] / n);
        STV(0, p1, at, q[j] - s[j] * s[j] / n);
    }
}

/* stats [unit][group] of (mean, 1 / deviation): moments merged in order. Items (groups, units). */
__kernel void norm_merge(const __global float *p0, const __global float *p1, __global float2 *stats, int C, int groups, int chunks,
                         int chunk_rows, float eps)
{
    const int g = (int)get_global_id(0), gc = C / groups;
    if (g >= groups) return;
    const float m = (float)chunk_rows;
    float n = 0.0f, mean = 0.0f, square = 0.0f;
    for (int i = 0; i < chunks; i++)
        for (int c = g * gc; c < (g + 1) * gc; c++, n += m) {
            const size_t at = (get_global_id(1) * chunks + i) * C + c;
            const float d = p0[at] - mean;
            square += p1[at] + d * d * (n * (m / (n + m)));
            mean += d * (m / (n + m));
        }
    stats[get_global_id(1) * groups + g] = (float2)(mean, rsqrt(square / n + eps));
}

/* lines [unit][2][C]: mean and 1 / deviation of each channel. Items (C, units). */
__kernel void norm_lines(const __global float2 *stats, __global float *lines, int C, int groups)
{
    const int c = (int)get_global_id(0);
    if (c >= C) return;
    const float2 v = stats[get_global_id(1) * groups + c / (C / groups)];
    __global float *to = lines + get_global_id(1) * 2 * C + c;
    to[0] = v.x;
    to[C] = v.y;
}

/* lines [unit][2][C]: what x is multiplied by and what is added, (x - mean) rstd gamma + beta. Items (C, units). */
__kernel void norm_affine(const __global float2 *stats, __global float *lines, int C, int groups, const __global float *gamma,
                          const __global float *beta)
{
    const int c = (int)get_global_id(0);
    if (c >= C) return;
    const float2 v = stats[get_global_id(1) * groups + c / (C / groups)];
    __global float *to = lines + get_global_id(1) * 2 * C + c;
    to[0] = gamma[c] * v.y;
    to[C] = beta[c] - v.x * to[0];
}

/* y = END(x lines[0] + lines[1]). An item takes `span` rows of a unit. Items (ceil(unit_rows/span), units). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void norm_apply(const __global act_t *x, const __global float *lines,
                                                                        __global act_t *y, int C, int unit_rows, int span P_KEPT)
{
    const int first = (int)get_global_id(0) * span, last = min(unit_rows, first + span);
    const __global float *by = lines + get_global_id(1) * 2 * C, *more = by + C;
    for (int r = first; r < last; r++) {
        const size_t at = (get_global_id(1) * unit_rows + r) * C;
        for (int c = 0; c < C; c += 16) {
            const float16 v = fma(LDV(ACT, x, at + c), LDV(0, by, c), LDV(0, more, c));
#if defined(KEPT) && defined(SLOPE)
            STV(ACT, kept, at + c, fn_slope(v));
#elif defined(KEPT)
            STV(ACT, kept, at + c, v);
#endif
            STV(ACT, y, at + c, END(v));
        }
    }
}

/* p0, p1 [chunks][C]: sums of dy and of dy xhat. Items (C/(16 NV), chunks). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void norm_back_parts(const __global act_t *x, const __global act_t *dy,
                                                                             const __global float *lines, __global float *p0,
                                                                             __global float *p1, int C, int chunk_rows, int chunks)
{
    const int c = 16 * NV * (int)get_global_id(0);
    const size_t chunk = get_global_id(1), first = chunk * chunk_rows;
    const __global float *mean = lines + chunk / chunks * 2 * C + c, *rstd = mean + C;
    float16 s[NV], q[NV];
    UNROLL(j, NV) s[j] = q[j] = (float16)(0.0f);
    for (int r = 0; r < chunk_rows; r++) UNROLL(j, NV)
        {
            const size_t at = (first + r) * C + c + 16 * j;
            const float16 d = LDV(ACT, dy, at);
            s[j] += d;
            q[j] = fma(d, LDV(ACT, x, at), q[j]);
        }
    UNROLL(j, NV)
    {
        STV(0, p0, chunk * C + c + 16 * j, s[j]);
        STV(0, p1, chunk * C + c + 16 * j, (q[j] - s[j] * LDV(0, mean, 16 * j)) * LDV(0, rstd, 16 * j));
    }
}

/* more [unit][3][C] from sums (portable/norm2d.cl) of each group: what dy, x and 1 are multiplied by in dx = rstd (gamma dy -
 * sums.x - xhat sums.y). Items (C, units). */
__kernel void norm_back_lines(const __global float *lines, const __global float *gamma, const __global float2 *sums,
                              __global float *more, int C, int groups)
{
    const int c = (int)get_global_id(0);
    if (c >= C) return;
    const float mean = lines[get_global_id(1) * 2 * C + c], rstd = lines[get_global_id(1) * 2 * C + C + c];
    const float2 m = sums[get_global_id(1) * groups + c / (C / groups)];
    __global float *to = more + get_global_id(1) * 3 * C + c;
    to[0] = rstd * gamma[c];
    to[C] = -rstd * rstd * m.y;
    to[2 * C] = -rstd * m.x - mean * to[C];
}

/* dx of norm_back_lines. Items as norm_apply. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void norm_backward(const __global act_t *x, const __global float *more,
                                                                           const __global act_t *dy, __global act_t *dx, int C,
                                                                           int unit_rows, int span)
{
    const int first = (int)get_global_id(0) * span, last = min(unit_rows, first + span);
    const __global float *m = more + get_global_id(1) * 3 * C;
    for (int r = first; r < last; r++) {
        const size_t at = (get_global_id(1) * unit_rows + r) * C;
        for (int c = 0; c < C; c += 16) {
            const float16 v = fma(LDV(ACT, x, at + c), LDV(0, m, C + c), LDV(0, m, 2 * C + c));
            STV(ACT, dx, at + c, fma(LDV(ACT, dy, at + c), LDV(0, m, c), v));
        }
    }
}
