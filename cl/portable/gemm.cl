/* C[M,N] = alpha * op(A)[M,K] * op(B)[K,N] and what tn_epilogue adds; row-major, tiles in local memory. A work-group of WG*WG
 * items makes a (WG*R) x (WG*R) tile, an item R x R elements of it, strided by WG. Tiles are found by global id, so that a
 * launch may be cut into slices. Options: shared/gemm.h. */
#define VW 1
#include "common.h"
#include "act.h"
#include "step.h"
#include "gemm.h"
#ifndef WG
#define WG 16
#endif
#ifndef R
#define R 4
#endif
#define TILE  (WG * R)
#define TK    16
#define ITEMS (WG * WG)

/* TK x TILE elements of a matrix to local memory; k runs along its rows (K_FAST) or down its columns. */
#define LOAD(S, K_FAST, T, p, off, ld, x0, x_end, k0, k_end, WEIGHT)                                                               \
    for (int e = id; e < TK * TILE; e += ITEMS) {                                                                                  \
        const int k = K_FAST ? e % TK : e / TILE, x = K_FAST ? e / TK : e % TILE;                                                  \
        const int row = K_FAST ? x0 + x : k0 + k, col = K_FAST ? k0 + k : x0 + x;                                                  \
        S[k][x] = (x0 + x < x_end && k0 + k < k_end) ? LD(T, p, (off) + (size_t)row * ld + col) * WEIGHT : 0.0f;                   \
    }
#ifdef MASK_A
#define WEIGHT_A KEEP(a_seed, (uint)row * a_width + (uint)col, a_threshold, a_keep)
#else
#define WEIGHT_A 1.0f
#endif
#ifdef MASK_B
#define WEIGHT_B KEEP(b_seed, (uint)row * b_width + (uint)col, b_threshold, b_keep)
#else
#define WEIGHT_B 1.0f
#endif
#ifdef PAIR
#define P_PAIR                                                                                                                     \
    , const __global TYPE(A2T) *A2, uint a2_off, int lda2, const __global TYPE(B2T) *B2, uint b2_off, int ldb2, int K2, int part,  \
        float pair_scale
#else
#define P_PAIR
#endif

inline void multiply(__local float (*As)[TILE + 1], __local float (*Bs)[TILE + 1], int lx, int ly, float acc[R][R])
{
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

__kernel __attribute__((reqd_work_group_size(WG, WG, 1)))
void gemm(const __global TYPE(AT) *A, uint a_off, int lda, const __global TYPE(BT) *B, uint b_off, int ldb,
          __global TYPE(CT) *C, uint c_off, int ldc, int M, int N, int K, int k_chunk, float alpha, float beta
          P_BATCH P_STEP P_MASK_A P_MASK_B P_PAIR P_MASK_E P_EPILOGUE)
{
    __local float As[TK][TILE + 1], Bs[TK][TILE + 1];
    const int lx = (int)get_local_id(0), ly = (int)get_local_id(1), id = ly * WG + lx;
    const int n0 = (int)get_global_id(0) / WG * TILE, m0 = (int)get_global_id(1) / WG * TILE, zb = (int)get_global_id(2);
    size_t a_at = a_off, b_at = b_off, c_at = c_off;
    int z = zb;
#ifdef BATCH
    const int item = zb / splits;
    z = zb % splits;
    a_at += (size_t)item * a_step, b_at += (size_t)item * b_step, c_at += (size_t)item * c_step;
#endif
    const int k_begin = SPLIT ? z * k_chunk : 0;
    const int k_end = SPLIT ? min(K, k_begin + k_chunk) : K;
#ifdef MASK_A
    const uint a_seed = tn_hash(step->seed, a_salt);
#endif
#ifdef MASK_B
    const uint b_seed = tn_hash(step->seed, b_salt);
#endif
    float acc[R][R];
    for (int i = 0; i < R; i++)
        for (int j = 0; j < R; j++) acc[i][j] = 0.0f;

#ifdef PAIR
    const int first = TB2 ? n0 / part * K2 : 0; /* a tile lies in one part */
    for (int k0 = 0; k0 < (SPLIT && z ? 0 : K2); k0 += TK) {
        LOAD(As, 1, A2T, A2, a2_off + first, lda2, m0, M, k0, K2, 1.0f)
        LOAD(Bs, TB2, B2T, B2, b2_off, ldb2, n0, N, k0, K2, 1.0f)
        multiply(As, Bs, lx, ly, acc);
    }
#ifdef MASK_E
    const uint e_seed = tn_hash(step->seed, e_salt);
#endif
    for (int i = 0; i < R; i++)
        for (int j = 0; j < R; j++) {
            acc[i][j] *= pair_scale;
#ifdef MASK_E
            acc[i][j] *= KEEP(e_seed, (uint)(m0 + ly + i * WG) * (uint)N + (uint)(n0 + lx + j * WG), e_threshold, e_keep);
#endif
        }
#endif
    for (int k0 = k_begin; k0 < k_end; k0 += TK) {
        LOAD(As, !TA, AT, A, a_at, lda, m0, M, k0, k_end, WEIGHT_A)
        LOAD(Bs, TB, BT, B, b_at, ldb, n0, N, k0, k_end, WEIGHT_B)
        multiply(As, Bs, lx, ly, acc);
    }
    for (int i = 0; i < R; i++)
        for (int j = 0; j < R; j++) {
            const int m = m0 + ly + i * WG, n = n0 + lx + j * WG;
            if (m >= M || n >= N) continue;
#if SPLIT
            C[((size_t)zb * M + m) * N + n] = acc[i][j];
#else
            const size_t at = c_at + (size_t)m * ldc + n;
            float s = alpha * acc[i][j];
            EPILOGUE(s, m, n, 1)
            if (beta != 0.0f) s += beta * LD(CT, C, at);
            ST(CT, C, at, s);
#endif
        }
}
