/* C[M,N] = epilogue(A[M,K] op(B)) on AMD's matrix units (units.h). 16-bit storage (ACT), float32 sums; N and K multiples of 8, every
 * row aligned to 16 bytes, M free. PAIR and the epilogue as in nvidia/gemm_wgmma.cl.
 *
 * B is [N,K] and L [N, depth] here: a matrix that lies the other way is turned first, by gemm_turned. TB 0 only says that every column
 * takes all of T. A group makes a tile of BM x BN in stages of BK along K, a wave WM x 64, a head's width. The product is taken
 * transposed, D = B A^T, so that a lane ends with neighbours of one row of C. */
#define VW 1
#include "common.h"
#include "step.h"
#include "words.h"
#include "units.h"
#include "matrix_unit.h"
#include "element.h"
#ifndef TB
#define TB 1
#endif
#ifndef BM
#define BM 128
#endif
#define BN      128
#define BK      32
#define WM      64
#define WN      64
#define THREADS ((BM / WM) * (BN / WN) * WAVE)
#define PITCH   (BK + 8) /* of a row in local memory: 16-byte reads of eight rows meet no bank twice */
#define RUNS    (COUNT / RUN) /* runs of neighbours a lane holds in a block */

/* out [N,K] = B [K,N]. Items (N, K/8): each eight neighbours of a row of out. */
__kernel void gemm_turned(const __global ushort *restrict B, uint b_off, int ldb, __global ushort *restrict out, int N, int K)
{
    const int n = (int)get_global_id(0), k = (int)get_global_id(1) * 8;
    ushort8 w;
    if (n >= N || k >= K) return;
    UNROLL for (int i = 0; i < 8; i++) w[i] = B[b_off + (size_t)(k + i) * ldb + n];
    *(__global ushort8 *)(out + (size_t)n * K + k) = w;
}

/* The pieces of 8 that an item copies from `rows` x BK of `from` to local memory by way of registers. */
#define COPIES(rows) ((rows)*BK / 8 / THREADS)
#define FETCH(to, rows, from, ld, valid, k)                                                                                        \
    UNROLL for (int c = 0; c < COPIES(rows); c++) {                                                                                \
        const int x = id + c * THREADS, r = x / (BK / 8), at = (k) + x % (BK / 8) * 8;                                             \
        to[c] = r < (valid) && at < K ? *(const __global uint4 *)((from) + (size_t)r * (ld) + at) : (uint4)(0);                    \
    }
#define PUT(tile, rows, held)                                                                                                      \
    UNROLL for (int c = 0; c < COPIES(rows); c++) {                                                                                \
        const int x = id + c * THREADS;                                                                                            \
        *(__local uint4 *)(tile + x / (BK / 8) * PITCH + x % (BK / 8) * 8) = held[c];                                              \
    }
#define MULTIPLY                                                                                                                   \
    UNROLL for (int i = 0; i < WN / U; i++)                                                                                        \
        UNROLL for (int j = 0; j < WM / U; j++) sum[i][j] = MAD(b[i], a[j], sum[i][j]);

#if PAIR
#define P_PAIR                                                                                                                     \
    , const __global ushort *restrict T, uint t_off, int ldt, const __global ushort *restrict L, uint l_off, int ldl, int depth,   \
        int part, float pair_alpha

/* Eight words of a row from k on, and zeros beyond the depth. */
inline ushort8 piece_of(const __global ushort *row, int k, int depth)
{
    return k < depth ? *(const __global ushort8 *)(row + k) : (ushort8)(0);
}
#if UNIT == 11
#define PAIR_OPERAND(row, k) (operand)(piece_of(row, k, depth), piece_of(row, (k) + 8, depth))
#else
#define PAIR_OPERAND(row, k) piece_of(row, (k) + 8 * half_wave, depth)
#endif
#else
#define P_PAIR
#endif

/* A lane's run of row `row` from column n on, with its alpha and bias. */
inline void end_run(const float *v, int row, int n P_END)
{
    words w, e;
#if READS
    e = *(const __global words *)(extra + e_off + (size_t)row * lde + n);
#endif
    UNROLL for (int c = 0; c < RUN; c++) {
        ushort one = e[c];
        w[c] = end_element(v[c], &one, SCALE_OF(n + c));
        e[c] = one;
    }
#ifdef PRE
    *(__global words *)(extra + e_off + (size_t)row * lde + n) = e;
#endif
    *(__global words *)(C + c_off + (size_t)row * ldc + n) = w;
}

/* The q-th run of a block's sums. On gfx11 the halves of the wave hold even and odd columns: they trade four for four. */
inline void run_of(float *v, sums s, int q, int half_wave)
{
#if UNIT == 11
    UNROLL for (int e = 0; e < 4; e++) {
        const float low = s[e], high = s[e + 4], got = as_float(SWAP_HALVES(as_uint(half_wave ? low : high)));
        v[2 * e] = half_wave ? got : low, v[2 * e + 1] = half_wave ? high : got;
    }
#else
    UNROLL for (int e = 0; e < RUN; e++) v[e] = s[q * RUN + e];
#endif
}
#define RUN_AT(q) (UNIT == 9 ? 8 * (q) + 4 * half_wave : 8 * half_wave)

/* depth: of the second pair, columns of T that a column of C takes; part: columns of C that share them. Items THREADS a tile. */
__kernel __attribute__((reqd_work_group_size(THREADS, 1, 1))) void
gemm_matrix(const __global ushort *restrict A, uint a_off, int lda, const __global ushort *restrict B, uint b_off, int ldb, int M,
            int N, int K P_PAIR P_MASK P_END)
{
    __local ushort a_tile[BM * PITCH] __attribute__((aligned(16))), b_tile[BN * PITCH] __attribute__((aligned(16)));
    const int id = (int)get_local_id(0), wave = id / WAVE, lane = id % U, half_wave = id / U % (WAVE / U);
    const int wm = wave % (BM / WM) * WM, wn = wave / (BM / WM) * WN;
    int m0, n0;
    tile_at(GROUP_ID(0, THREADS), (M + BM - 1) / BM, (N + BN - 1) / BN, &m0, &n0);
    m0 *= BM, n0 *= BN;
    A += a_off + (size_t)m0 * lda, B += b_off + (size_t)n0 * ldb;

    sums sum[WN / U][WM / U];
    UNROLL for (int i = 0; i < WN / U; i++)
        UNROLL for (int j = 0; j < WM / U; j++) sum[i][j] = (sums)(0.0f);
    uint4 a_held[COPIES(BM)], b_held[COPIES(BN)];
    FETCH(a_held, BM, A, lda, M - m0, 0)
    FETCH(b_held, BN, B, ldb, N - n0, 0)
#if PAIR
    PAIR_SEED
    T += t_off + (TB ? min(n0 + wn, N - 1) / part * depth : 0), L += l_off;
    for (int l = 0; l < PAIR; l++) {
        operand a[WM / U], b[WN / U];
        UNROLL for (int j = 0; j < WM / U; j++) a[j] = PAIR_OPERAND(T + (size_t)min(m0 + wm + j * U + lane, M - 1) * ldt, 16 * l);
        UNROLL for (int i = 0; i < WN / U; i++) b[i] = PAIR_OPERAND(L + (size_t)min(n0 + wn + i * U + lane, N - 1) * ldl, 16 * l);
        MULTIPLY
    }
    UNROLL for (int i = 0; i < WN / U; i++)
        UNROLL for (int j = 0; j < WM / U; j++)
            UNROLL for (int e = 0; e < COUNT; e++) sum[i][j][e] *= PAIR_FACTOR(m0 + wm + j * U + lane, n0 + wn + i * U + ROW_OF(e));
#endif
    for (int k = 0; k < K; k += BK) {
        barrier(CLK_LOCAL_MEM_FENCE);
        PUT(a_tile, BM, a_held)
        PUT(b_tile, BN, b_held)
        barrier(CLK_LOCAL_MEM_FENCE);
        if (k + BK < K) { /* on their way while this stage is computed */
            FETCH(a_held, BM, A, lda, M - m0, k + BK)
            FETCH(b_held, BN, B, ldb, N - n0, k + BK)
        }
        UNROLL for (int s = 0; s < BK; s += 16) {
            operand a[WM / U], b[WN / U];
            UNROLL for (int j = 0; j < WM / U; j++) a[j] = OPERAND(__local, a_tile + (wm + j * U + lane) * PITCH + s);
            UNROLL for (int i = 0; i < WN / U; i++) b[i] = OPERAND(__local, b_tile + (wn + i * U + lane) * PITCH + s);
            MULTIPLY
        }
    }

    UNROLL for (int j = 0; j < WM / U; j++) {
        const int row = m0 + wm + j * U + lane;
#ifdef TURN
        enum { HALF = WN / U / 2 };
        UNROLL for (int i = 0; i < HALF; i++)
            UNROLL for (int q = 0; q < RUNS; q++) {
                const int c = n0 + wn, at = i * U + RUN_AT(q);
                float low[RUN], high[RUN];
                run_of(low, sum[i][j], q, half_wave);
                run_of(high, sum[i + HALF][j], q, half_wave);
                if (row >= M || c >= N) continue;
                UNROLL for (int e = 0; e < RUN; e++) {
                    low[e] = alpha * low[e] + BIAS_OF(c + at + e), high[e] = alpha * high[e] + BIAS_OF(c + 32 + at + e);
                    turn_two(&low[e], &high[e], row, c, at + e A_TURN);
                }
                end_run(low, row, c + at A_END);
                end_run(high, row, c + 32 + at A_END);
            }
#else
        UNROLL for (int i = 0; i < WN / U; i++)
            UNROLL for (int q = 0; q < RUNS; q++) {
                const int n = n0 + wn + i * U + RUN_AT(q);
                float v[RUN];
                run_of(v, sum[i][j], q, half_wave);
                if (row >= M || n >= N) continue;
                UNROLL for (int e = 0; e < RUN; e++) v[e] = alpha * v[e] + BIAS_OF(n + e);
                end_run(v, row, n A_END);
            }
#endif
    }
}
