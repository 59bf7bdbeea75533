/* LayerNorm on a CPU: an item takes ROWS rows side by side, so that the sums of several rows are under way at once, and a
 * work-group is worth its start. Arguments and results as in portable/layernorm.cl; cols is a multiple of 16. */
#undef VW
#define VW 16
#include "common.h"
#ifndef ROWS
#define ROWS 4
#endif

/* Rows beyond the last are the last row once more: reading is harmless, and nothing is written. */
inline void row_bases(size_t *base, int first, int rows, int cols)
{
    for (int r = 0; r < ROWS; r++) base[r] = (size_t)min(first + r, rows - 1) * cols;
}

__kernel void ln_forward(const __global act_t *x, const __global float *gamma, const __global float *beta, __global act_t *y,
                         __global float2 *stats, int cols, float eps, int rows)
{
    const int first = (int)get_global_id(0) * ROWS;
    size_t base[ROWS];
    float16 s[ROWS];
    float mean[ROWS], rstd[ROWS];
    row_bases(base, first, rows, cols);
#pragma unroll
    for (int r = 0; r < ROWS; r++) s[r] = (float16)(0.0f);
    for (int c = 0; c < cols; c += 16)
#pragma unroll
        for (int r = 0; r < ROWS; r++) s[r] += LDV(ACT, x, base[r] + c);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        mean[r] = HSUM(s[r]) / cols;
        s[r] = (float16)(0.0f);
    }
    for (int c = 0; c < cols; c += 16)
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const float16 d = LDV(ACT, x, base[r] + c) - mean[r];
            s[r] += d * d;
        }
#pragma unroll
    for (int r = 0; r < ROWS; r++) rstd[r] = rsqrt(HSUM(s[r]) / cols + eps);
    for (int c = 0; c < cols; c += 16) {
        const float16 g = LDV(0, gamma, c), b = LDV(0, beta, c);
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            if (first + r < rows) STV(ACT, y, base[r] + c, (LDV(ACT, x, base[r] + c) - mean[r]) * rstd[r] * g + b);
    }
    for (int r = 0; r < ROWS && first + r < rows; r++) stats[first + r] = (float2)(mean[r], rstd[r]);
}

__kernel void ln_backward(const __global act_t *x, const __global float *gamma, const __global float2 *stats,
                          const __global act_t *dy, __global act_t *dx, int cols, int accumulate, int rows)
{
    const int first = (int)get_global_id(0) * ROWS;
    size_t base[ROWS];
    float16 s1[ROWS], s2[ROWS];
    float mean[ROWS], rstd[ROWS], m1[ROWS], m2[ROWS];
    row_bases(base, first, rows, cols);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const float2 v = stats[min(first + r, rows - 1)];
        mean[r] = v.x;
        rstd[r] = v.y;
        s1[r] = s2[r] = (float16)(0.0f);
    }
    for (int c = 0; c < cols; c += 16) {
        const float16 gamma_c = LDV(0, gamma, c);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const float16 g = LDV(ACT, dy, base[r] + c) * gamma_c;
            s1[r] += g;
            s2[r] += g * ((LDV(ACT, x, base[r] + c) - mean[r]) * rstd[r]);
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        m1[r] = HSUM(s1[r]) / cols;
        m2[r] = HSUM(s2[r]) / cols;
    }
    for (int c = 0; c < cols; c += 16) {
        const float16 gamma_c = LDV(0, gamma, c);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            if (first + r >= rows) continue;
            const float16 g = LDV(ACT, dy, base[r] + c) * gamma_c;
            const float16 xhat = (LDV(ACT, x, base[r] + c) - mean[r]) * rstd[r];
            float16 v = rstd[r] * (g - m1[r] - xhat * m2[r]);
            if (accumulate) v += LDV(ACT, dx, base[r] + c);
            STV(ACT, dx, base[r] + c, v);
        }
    }
}
