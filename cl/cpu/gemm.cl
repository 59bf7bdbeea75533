/* The same product for CPU devices: no local memory, one work-item a work-group, float16 accumulators in registers.
 *
 * B is first packed into panels P[ceil(N/NR)][K][NR] (zeros beyond N); an item then makes an MR x NR block of C,
 * broadcasting A. NRV is NR/16. Items next to each other share a panel (it stays in L2) and walk down A. */
#include "common.h"
#ifndef TA
#define TA 0
#endif
#ifndef TB
#define TB 1
#endif
#ifndef AT
#define AT 0
#endif
#ifndef BT
#define BT 0
#endif
#ifndef CT
#define CT 0
#endif
#ifndef SPLIT
#define SPLIT 0
#endif
#ifndef BIAS
#define BIAS 0
#endif
#ifndef MR
#define MR 6
#endif
#ifndef NRV
#define NRV 4
#endif
#define NR (16 * NRV)
#define KB 16

/* Items (ceil(K/KB), panels). */
__kernel void gemm_pack(const __global TYPE(BT) *B, uint b_off, int ldb, __global float *P, int N, int K)
{
    const int k0 = (int)get_global_id(0) * KB, panel = (int)get_global_id(1), n0 = panel * NR;
    const int kn = min(KB, K - k0), nn = min(NR, N - n0);
    __global float *out = P + ((size_t)panel * K + k0) * NR;
#if TB
    float t[KB][NR];
    for (int n = 0; n < NR; n++) {
        const size_t at = b_off + (size_t)(n0 + min(n, nn - 1)) * ldb + k0;
        const float keep = n < nn ? 1.0f : 0.0f;
        for (int k = 0; k < KB; k++) t[k][n] = k < kn ? keep * LD(BT, B, at + k) : 0.0f;
    }
    for (int k = 0; k < kn; k++)
        for (int n = 0; n < NR; n++) out[k * NR + n] = t[k][n];
#else
    for (int k = 0; k < kn; k++) {
        const size_t at = b_off + (size_t)(k0 + k) * ldb + n0;
        if (nn == NR)
            for (int n = 0; n < NR; n++) out[k * NR + n] = LD(BT, B, at + n);
        else
            for (int n = 0; n < NR; n++) out[k * NR + n] = n < nn ? LD(BT, B, at + min(n, nn - 1)) : 0.0f;
    }
#endif
}

/* Items (m_inner blocks of MR rows, panels, outer row blocks * splits). p_panel and p_row are P's strides, so that a
 * row-major B whose width is a multiple of NR is used where it lies. */
__kernel void gemm_panel(const __global TYPE(AT) *A, uint a_off, int lda, const __global float *P, uint p_off,
                         uint p_panel, int p_row, __global TYPE(CT) *C, uint c_off, int ldc, int M, int N, int K,
                         int k_chunk, int outers, float alpha, float beta, const __global float *bias)
{
    const int z = SPLIT ? (int)get_global_id(2) / outers : 0;
    const int outer = SPLIT ? (int)get_global_id(2) % outers : (int)get_global_id(2);
    const int m0 = (outer * (int)get_global_size(0) + (int)get_global_id(0)) * MR;
    const int panel = (int)get_global_id(1), n0 = panel * NR;
    if (m0 >= M) return;
    const int k_begin = SPLIT ? z * k_chunk : 0, k_end = SPLIT ? min(K, k_begin + k_chunk) : K;
    const __global float *p = P + p_off + (size_t)panel * p_panel + (size_t)k_begin * p_row;
    size_t row[MR];
#pragma unroll
    for (int i = 0; i < MR; i++)
        row[i] = a_off + (TA ? (size_t)min(m0 + i, M - 1) + (size_t)k_begin * lda
                             : (size_t)min(m0 + i, M - 1) * lda + k_begin);
    float16 acc[MR][NRV];
#pragma unroll
    for (int i = 0; i < MR; i++)
#pragma unroll
        for (int j = 0; j < NRV; j++) acc[i][j] = (float16)(0.0f);

    for (int k = k_begin; k < k_end; k++) {
        float16 b[NRV];
#pragma unroll
        for (int j = 0; j < NRV; j++) b[j] = vload16(j, p);
#pragma unroll
        for (int i = 0; i < MR; i++) {
            const float16 a = (float16)(LD(AT, A, row[i]));
#pragma unroll
            for (int j = 0; j < NRV; j++) acc[i][j] = fma(a, b[j], acc[i][j]);
            row[i] += TA ? lda : 1;
        }
        p += p_row;
    }
#pragma unroll
    for (int i = 0; i < MR; i++) {
        if (m0 + i >= M) continue;
        float v[NR];
#pragma unroll
        for (int j = 0; j < NRV; j++) vstore16(acc[i][j], j, v);
        const int nn = min(NR, N - n0);
#if SPLIT
        __global float *out = (__global float *)C + ((size_t)z * M + m0 + i) * N + n0;
        for (int n = 0; n < nn; n++) out[n] = v[n];
#else
        const size_t at = c_off + (size_t)(m0 + i) * ldc + n0;
        if (beta != 0.0f)
            for (int n = 0; n < nn; n++) v[n] = alpha * v[n] + beta * LD(CT, C, at + n);
        else
            for (int n = 0; n < nn; n++) v[n] *= alpha;
#if BIAS
        for (int n = 0; n < nn; n++) v[n] += bias[n0 + n];
#endif
        for (int n = 0; n < nn; n++) ST(CT, C, at + n, v[n]);
#endif
    }
}
