/* Few tokens times a quantised matrix: y[m, n] = sum_k x[m, k] W[n, k] (+ bias[n]), W unpacked on the way and never
 * written. WG items share a row of W (1 on a CPU); M rows of x at once. K and the block are multiples of 8. */
#include "common.h"
#include "quant.h"
#ifndef WG
#define WG 64
#endif
#ifndef M
#define M 1
#endif
#ifndef BIAS
#define BIAS 0
#endif

inline float sum8(float8 v)
{
    const float4 a = v.lo + v.hi;
    return (a.x + a.y) + (a.z + a.w);
}

inline float8 load8(const __global act_t *x, size_t i)
{
#if ACT == 0
    return vload8(0, x + i);
#elif ACT == 2
    return vload_half8(0, (const __global half *)x + i);
#else
    return as_float8(convert_uint8(vload8(0, x + i)) << 16);
#endif
}

__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void qgemv(const __global act_t *x, const __global uchar *packed, const __global scale_t *scales,
           const __global float *nested, const __global uchar *zeros, const __global float *tables, float offset,
           uint block, const __global float *bias, __global act_t *y, uint y_off, int y_ld, int K)
{
    __local float code[16];
    const int l = (int)get_local_id(0);
    for (int i = l; i < 16; i += WG) code[i] = tables[i];
    barrier(CLK_LOCAL_MEM_FENCE);
    const uint n = (uint)get_group_id(0), row = n * (uint)K;
    float8 acc[M];
    for (int m = 0; m < M; m++) acc[m] = (float8)(0.0f);
    for (int k = l * 8; k < K; k += WG * 8) {
        const uint at = row + k, b = at / block;
        const float8 w = values8(packed, code, scales, nested, zeros, tables, offset, at >> 3, b);
        for (int m = 0; m < M; m++) acc[m] += w * load8(x, (size_t)m * K + k);
    }
#if WG == 1
    for (int m = 0; m < M; m++) {
        float v = sum8(acc[m]);
#else
    __local float part[M][WG];
    for (int m = 0; m < M; m++) part[m][l] = sum8(acc[m]);
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int h = WG / 2; h > 0; h >>= 1) {
        if (l < h)
            for (int m = 0; m < M; m++) part[m][l] += part[m][l + h];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    for (int m = l; m < M; m += WG) {
        float v = part[m][0];
#endif
#if BIAS
        v += bias[n];
#endif
        ST(ACT, y, y_off + (size_t)m * y_ld + n, v);
    }
}
