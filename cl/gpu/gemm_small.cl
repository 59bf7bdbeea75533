/* C[M,N] = alpha * op(A)[M,K] * op(B)[K,N] + beta * C, float32: products too small to fill a GPU with larger tiles. A group makes
 * TILE x TILE elements of C. Its items are PARTS runs of LANES: each run sums its share of every DEPTH of K in registers, RM x RN
 * elements an item, and the runs' sums are added in their order. */
#define VW 1
#include "common.h"
#ifndef TA
#define TA 0
#endif
#ifndef TB
#define TB 0
#endif
#define WG    256
#define LANES 32
#define PARTS (WG / LANES)
#define TILE  16
#define RM    2
#define RN    4
#define DEPTH 128
#define PITCH (TILE + 4) /* 8 rows' first 4 columns lie in as many banks */
#define READS (DEPTH * TILE / WG)

/* The i-th element that an item brings of a matrix: 8 in a row by 4 rows for neighbours where K runs along the rows. */
#define K_OF(i, fast) ((fast) ? id % 8 + id / 32 * 8 + (i) % 2 * 64 : id / TILE + (i)*WG / TILE)
#define X_OF(i, fast) ((fast) ? id / 8 % 4 + (i) / 2 * 4 : id % TILE)
/* All are read before any is kept, none under a condition: what lies outside repeats an edge, and is nought along K. */
#define BRING(v, FAST, p, off, ld, x0, x_end)                                                                                      \
    _Pragma("unroll") for (int i = 0; i < READS; i++)                                                                              \
    {                                                                                                                              \
        const int k = min(k0 + K_OF(i, FAST), K - 1), x = min(x0 + X_OF(i, FAST), x_end - 1);                                      \
        v[i] = p[(off) + ((FAST) ? (size_t)x * ld + k : (size_t)k * ld + x)];                                                      \
    }
#define KEEP(S, v, FAST)                                                                                                           \
    _Pragma("unroll") for (int i = 0; i < READS; i++)                                                                              \
        S[K_OF(i, FAST) * PITCH + X_OF(i, FAST)] = k0 + K_OF(i, FAST) < K ? v[i] : 0.0f

__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void gemm_small(const __global float *A, uint a_off, int lda, const __global float *B, uint b_off, int ldb, __global float *C,
                uint c_off, int ldc, int M, int N, int K, float alpha, float beta)
{
    __local float4 a_tile[DEPTH * PITCH / 4], b_tile[DEPTH * PITCH / 4];
    __local float *const As = (__local float *)a_tile, *const Bs = (__local float *)b_tile;
    const int id = (int)get_local_id(0), part = id / LANES, row = id % LANES / (TILE / RN) * RM, col = id % (TILE / RN) * RN;
    const int n0 = (int)(get_global_id(0) / WG) * TILE, m0 = (int)get_global_id(1) * TILE;
    float4 s0 = (float4)(0.0f), s1 = (float4)(0.0f);
    for (int k0 = 0; k0 < K; k0 += DEPTH) {
        float a[READS], b[READS];
        BRING(a, !TA, A, a_off, lda, m0, M)
        BRING(b, TB, B, b_off, ldb, n0, N)
        barrier(CLK_LOCAL_MEM_FENCE);
        KEEP(As, a, !TA);
        KEEP(Bs, b, TB);
        barrier(CLK_LOCAL_MEM_FENCE);
        _Pragma("unroll") for (int k = 0; k < DEPTH / PARTS; k++)
        {
            const int at = (k * PARTS + part) * PITCH;
            const float2 u = *(const __local float2 *)(As + at + row);
            const float4 v = *(const __local float4 *)(Bs + at + col);
            s0 = fma((float4)(u.x), v, s0);
            s1 = fma((float4)(u.y), v, s1);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    a_tile[(part * TILE * TILE + row * TILE + col) / 4] = s0;
    a_tile[(part * TILE * TILE + (row + 1) * TILE + col) / 4] = s1;
    barrier(CLK_LOCAL_MEM_FENCE);
    const int m = m0 + id / TILE, n = n0 + id % TILE;
    if (m >= M || n >= N) return;
    float s = 0.0f;
    for (int p = 0; p < PARTS; p++) s += As[p * TILE * TILE + id];
    const size_t to = c_off + (size_t)m * ldc + n;
    C[to] = alpha * s + (beta != 0.0f ? beta * C[to] : 0.0f);
}
