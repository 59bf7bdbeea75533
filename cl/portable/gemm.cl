/* C[M,N] = alpha * op(A)[M,K] * op(B)[K,N] + beta * C (+ bias[N]); row-major, tiles in local memory.
 *
 *   TA 0: A is [M,K]; 1: A is [K,M].   TB 0: B is [K,N]; 1: B is [N,K] (a linear layer's weight).
 *   AT, BT, CT: storage types.  SPLIT 1: work-groups of z sum over their own k-range into C[z][M][N] (float32).
 *   A work-group of WG*WG items makes a (WG*R) x (WG*R) tile, an item R x R elements of it, strided by WG. */
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
#ifndef WG
#define WG 16
#endif
#ifndef R
#define R 4
#endif
#define TILE (WG * R)
#define TK 16
#define ITEMS (WG * WG)

__kernel __attribute__((reqd_work_group_size(WG, WG, 1)))
void gemm(const __global TYPE(AT) *A, uint a_off, int lda, const __global TYPE(BT) *B, uint b_off, int ldb,
          __global TYPE(CT) *C, uint c_off, int ldc, int M, int N, int K, int k_chunk, float alpha, float beta,
          const __global float *bias)
{
    __local float As[TK][TILE + 1], Bs[TK][TILE + 1];
    const int lx = (int)get_local_id(0), ly = (int)get_local_id(1), id = ly * WG + lx;
    const int n0 = (int)get_group_id(0) * TILE, m0 = (int)get_group_id(1) * TILE, z = (int)get_group_id(2);
    const int k_begin = SPLIT ? z * k_chunk : 0;
    const int k_end = SPLIT ? min(K, k_begin + k_chunk) : K;
    float acc[R][R];
    for (int i = 0; i < R; i++)
        for (int j = 0; j < R; j++) acc[i][j] = 0.0f;

    for (int k0 = k_begin; k0 < k_end; k0 += TK) {
        for (int e = id; e < TK * TILE; e += ITEMS) {
#if TA
            const int k = e / TILE, m = e % TILE;
            const size_t at = (size_t)(k0 + k) * lda + (m0 + m);
#else
            const int k = e % TK, m = e / TK;
            const size_t at = (size_t)(m0 + m) * lda + (k0 + k);
#endif
            As[k][m] = (m0 + m < M && k0 + k < k_end) ? LD(AT, A, a_off + at) : 0.0f;
        }
        for (int e = id; e < TK * TILE; e += ITEMS) {
#if TB
            const int k = e % TK, n = e / TK;
            const size_t at = (size_t)(n0 + n) * ldb + (k0 + k);
#else
            const int k = e / TILE, n = e % TILE;
            const size_t at = (size_t)(k0 + k) * ldb + (n0 + n);
#endif
            Bs[k][n] = (n0 + n < N && k0 + k < k_end) ? LD(BT, B, b_off + at) : 0.0f;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int k = 0; k < TK; k++) {
            float a[R], b[R];
            for (int i = 0; i < R; i++) a[i] = As[k][ly + i * WG];
            for (int j = 0; j < R; j++) b[j] = Bs[k][lx + j * WG];
            for (int i = 0; i < R; i++)
                for (int j = 0; j < R; j++) acc[i][j] = fma(a[i], b[j], acc[i][j]);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    for (int i = 0; i < R; i++)
        for (int j = 0; j < R; j++) {
            const int m = m0 + ly + i * WG, n = n0 + lx + j * WG;
            if (m >= M || n >= N) continue;
#if SPLIT
            C[((size_t)z * M + m) * N + n] = acc[i][j];
#else
            const size_t at = c_off + (size_t)m * ldc + n;
            float v = alpha * acc[i][j];
#if BIAS
            v += bias[n];
#endif
            if (beta != 0.0f) v += beta * LD(CT, C, at);
            ST(CT, C, at, v);
#endif
        }
}

/* C = alpha * sum over z of P[z][M][N] + beta * C (+ bias). One item an element. */
__kernel void gemm_sum(const __global float *P, int splits, __global TYPE(CT) *C, uint c_off, int ldc, int M, int N,
                       float alpha, float beta, const __global float *bias)
{
    const int i = (int)get_global_id(0);
    if (i >= M * N) return;
    float s = 0.0f;
    for (int z = 0; z < splits; z++) s += P[(size_t)z * M * N + i];
    const int m = i / N, n = i % N;
    const size_t at = c_off + (size_t)m * ldc + n;
    float v = alpha * s;
#if BIAS
    v += bias[n];
#endif
    if (beta != 0.0f) v += beta * LD(CT, C, at);
    ST(CT, C, at, v);
}
