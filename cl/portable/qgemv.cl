/* Few tokens times a quantised matrix: y[m, n] = sum_k x[m, k] W[n, k] (+ bias[n]), W unpacked on the way and never
 * written. LANES neighbours share NR rows of W; M rows of x at once. K and the block are multiples of 8, x is dense. */
#include "common.h"
#include "quant.h"
#pragma OPENCL FP_CONTRACT ON
#ifndef WG
#define WG 64
#endif
#ifndef LANES
#define LANES 32
#endif
#ifndef NR
#define NR 2
#endif
#ifndef M
#define M 1
#endif
#define ROWS (WG / LANES * NR)

/* x[0..3] and x[4..7]. */
inline void load8(const __global act_t *x, float4 *lo, float4 *hi)
{
#if ACT == 0
    *lo = ((const __global float4 *)x)[0];
    *hi = ((const __global float4 *)x)[1];
#elif ACT == 2
    *lo = vload_half4(0, (const __global half *)x);
    *hi = vload_half4(1, (const __global half *)x);
#else
    const uint4 u = *(const __global uint4 *)x;
    lo->even = as_float2(u.lo << 16);
    lo->odd = as_float2(u.lo & 0xffff0000u);
    hi->even = as_float2(u.hi << 16);
    hi->odd = as_float2(u.hi & 0xffff0000u);
#endif
}

__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void qgemv(const __global act_t *restrict x, const __global uchar *restrict packed, const __global scale_t *restrict scales,
           const __global float *restrict nested, const __global uchar *restrict zeros, const __global float *restrict tables,
           float offset, uint block, const __global float *restrict bias, __global act_t *restrict y, uint y_off, int y_ld,
           int N, int K, int biased)
{
    __local float code[16];
    __local float part[M * ROWS][LANES + 1];
    const int l = (int)get_local_id(0), lane = l % LANES, team = l / LANES;
    for (int i = l; i < 16; i += WG) code[i] = tables[i];
    barrier(CLK_LOCAL_MEM_FENCE);
    const int group = (int)(get_global_id(0) / WG) * ROWS, first = group + team * NR;
    float acc[M][NR];
    for (int m = 0; m < M; m++)
        for (int r = 0; r < NR; r++) acc[m][r] = 0.0f;
    for (int k = lane * 8; k < K; k += LANES * 8) {
        float4 lo[NR], hi[NR];
        for (int r = 0; r < NR; r++) {
            const uint at = (uint)min(first + r, N - 1) * (uint)K + k, b = at / block;
            const float scale = block_scale(scales, nested, tables, offset, b), zero = block_zero(zeros, b);
            const word8_t p = ((const __global word8_t *)packed)[at >> 3];
            lo[r] = values4(FIRST4(p), code, scale, zero);
            hi[r] = values4(LAST4(p), code, scale, zero);
        }
        for (int m = 0; m < M; m++) {
            float4 a, b;
            load8(x + (size_t)m * K + k, &a, &b);
            for (int r = 0; r < NR; r++) {
                const float4 s = lo[r] * a + hi[r] * b;
                acc[m][r] += (s.x + s.y) + (s.z + s.w);
            }
        }
    }
    for (int m = 0; m < M; m++)
        for (int r = 0; r < NR; r++) part[m * ROWS + team * NR + r][lane] = acc[m][r];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = l; i < M * ROWS; i += WG) {
        const int m = i / ROWS, n = group + i % ROWS;
        float v = 0.0f;
        for (int j = 0; j < LANES; j++) v += part[i][j];
        if (n < N) {
            if (biased) v += bias[n];
            ST(ACT, y, y_off + (size_t)m * y_ld + n, v);
        }
    }
}
