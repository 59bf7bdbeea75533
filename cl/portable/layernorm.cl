/* LayerNorm over the last dimension (biased variance). WG items share a row; WG 1 is the CPU's way.
 * stats[row] = (mean, 1/sqrt(var + eps)). */
#include "common.h"
#include "row_sum.h"

/* cols is a multiple of VW. */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void ln_forward(const __global act_t *x, const __global float *gamma, const __global float *beta, __global act_t *y,
                __global float2 *stats, int cols, float eps, int rows)
{
    SHARED
    const size_t row = get_global_id(0) / WG, base = row * cols;
    if (row >= (size_t)rows) return; /* the whole group */
    const int first = (int)get_local_id(0) * VW, step = WG * VW;
    vec s = TO_VEC(0.0f);
    for (int c = first; c < cols; c += step) s += LDV(ACT, x, base + c);
    const float mean = ROW_SUM(HSUM(s)) / cols;
    s = TO_VEC(0.0f);
    for (int c = first; c < cols; c += step) {
        const vec d = LDV(ACT, x, base + c) - mean;
        s += d * d;
    }
    const float rstd = rsqrt(ROW_SUM(HSUM(s)) / cols + eps);
    for (int c = first; c < cols; c += step)
        STV(ACT, y, base + c, (LDV(ACT, x, base + c) - mean) * rstd * LDV(0, gamma, c) + LDV(0, beta, c));
    if (get_local_id(0) == 0) stats[row] = (float2)(mean, rstd);
}

/* dx (+)= rstd * (g dy - mean(g dy) - xhat mean(g dy xhat)). */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void ln_backward(const __global act_t *x, const __global float *gamma, const __global float2 *stats,
                 const __global act_t *dy, __global act_t *dx, int cols, int accumulate, int rows)
{
    SHARED
    const size_t row = get_global_id(0) / WG, base = row * cols;
    if (row >= (size_t)rows) return; /* the whole group */
    const int first = (int)get_local_id(0) * VW, step = WG * VW;
    const float mean = stats[row].x, rstd = stats[row].y;
    vec s1 = TO_VEC(0.0f), s2 = TO_VEC(0.0f);
    for (int c = first; c < cols; c += step) {
        const vec g = LDV(ACT, dy, base + c) * LDV(0, gamma, c);
        s1 += g;
        s2 += g * ((LDV(ACT, x, base + c) - mean) * rstd);
    }
    const float m1 = ROW_SUM(HSUM(s1)) / cols, m2 = ROW_SUM(HSUM(s2)) / cols;
    for (int c = first; c < cols; c += step) {
        const vec g = LDV(ACT, dy, base + c) * LDV(0, gamma, c);
        const vec xhat = (LDV(ACT, x, base + c) - mean) * rstd;
        vec v = rstd * (g - m1 - xhat * m2);
        if (accumulate) v += LDV(ACT, dx, base + c);
        STV(ACT, dx, base + c, v);
    }
}
