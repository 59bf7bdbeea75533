/* C[M,N] = epilogue(A[M,K] op(B)) on Intel's matrix units (dpas.h). 16-bit storage (ACT), float32 sums; N and K multiples of 8, every
 * row aligned to 16 bytes, M free. PAIR and the epilogue as in nvidia/gemm_wgmma.cl.
 *
 * B and L come packed by gemm_pack (TB there: 1 for [N,K], 0 for [K,N]). A sub-group makes 8*MB x 64 outputs, a head's width, and a
 * group WGM x WGN of those. There is no local memory: the sub-groups of a group meet in the L1 cache. IO2D 1 (SG 16, and a driver that
 * has them): A in 2D block reads and prefetches; A then begins at 64 bytes, and K is 32 at least. */
#define VW 1
#include "common.h"
#include "step.h"
#include "words.h"
#include "dpas.h"
#include "matrix_unit.h"
#include "element.h"
#ifndef TB
#define TB 1
#endif
#ifndef IO2D
#define IO2D 0
#endif
#if IO2D
#define MB 4
#else
#define MB 2 /* the addresses of more rows would not stay in registers */
#endif
#define WIDTH 64
#define NB    (WIDTH / SG)
#define WGM   4
#define WGN   2
#define ITEMS (SG * WGM * WGN)
#define AHEAD 3 /* stages of 32 along K that are asked into the cache beyond the one in use */
#define VIEW_OF_A (__global void *)A, K * 2, M, lda * 2

#if SG == 16
typedef ushort2 row_piece; /* 32 elements of a row, shared out among the lanes: for two steps */
typedef ushort2 words;     /* a lane's part of 64 bytes of a row of C */
#define READ_ROW(p)       intel_sub_group_block_read_us2(p)
#define STORE_WORDS(p, v) intel_sub_group_block_write_us2(p, v)
#define LOAD_WORDS(p)     intel_sub_group_block_read_us2(p)
#define PIECE             2 /* column blocks in them */
#else
typedef uint2 row_piece;
typedef ushort4 words;
#define READ_ROW(p)       intel_sub_group_block_read2((const __global uint *)(p))
#define STORE_WORDS(p, v) intel_sub_group_block_write_us4(p, v)
#define LOAD_WORDS(p)     intel_sub_group_block_read_us4(p)
#define PIECE             4
#endif

/* B into blocks [N/SG][K/16] of 8 words a lane; zeros outside. An item makes a word. */
__kernel void gemm_pack(const __global ushort *restrict B, uint b_off, int ldb, __global uint *restrict out, int N, int K)
{
    const int id = (int)get_global_id(0), l = id % SG, i = id / SG % 8, deep = (K + 15) / 16;
    const int n = id / BLOCK / deep * SG + l, k = id / BLOCK % deep * 16 + 2 * i;
    if (id / BLOCK >= (N + SG - 1) / SG * deep) return;
    const bool in = n < N && k < K;
    const size_t at = in ? b_off + (TB ? (size_t)n * ldb + k : (size_t)k * ldb + n) : b_off;
    out[id] = in ? B[at] | (uint)B[at + (TB ? 1 : ldb)] << 16 : 0;
}

/* A lane's part of a row's step that the row may end in: what lies beyond becomes zero. */
inline uint load_edge(const __global ushort *row, int k, int K, int lane)
{
#if SG == 16
    return k + lane < K ? row[k + lane] : 0;
#else
    return k + 2 * lane < K ? *(const __global uint *)(row + k + 2 * lane) : 0;
#endif
}

#define EDGE_ROWS(a, from, ld, k, K)                                                                                               \
    UNROLL for (int i = 0; i < MB; i++)                                                                                            \
        UNROLL for (int r = 0; r < 8; r++) a[i][r] = load_edge((from) + (size_t)min(m0 + 8 * i + r, M - 1) * (ld), k, K, lane);
#define STEP(a, from, deep, kb)                                                                                                    \
    {                                                                                                                              \
        int8 b[NB];                                                                                                                \
        UNROLL for (int j = 0; j < NB; j++)                                                                                        \
            b[j] = READ_BLOCK(from + ((size_t)min(block0 + j, blocks - 1) * (deep) + (kb)) * BLOCK);                               \
        UNROLL for (int i = 0; i < MB; i++)                                                                                        \
            UNROLL for (int j = 0; j < NB; j++) sum[i][j] = MAD(a[i], b[j], sum[i][j]);                                            \
    }
#define BLOCK_2D_(what, rows) intel_sub_group_2d_block_##what##_16b_##rows##r16x2c
#define BLOCK_2D(what, rows)  BLOCK_2D_(what, rows)

#if PAIR
#define P_PAIR                                                                                                                     \
    , const __global ushort *restrict T, uint t_off, int ldt, const __global uint *restrict L, int depth, int part, float pair_alpha
#else
#define P_PAIR
#endif

/* Ends a row's WIDTH columns from n0 on, which have their alpha and bias: a lane holds its column of each block. s: their scales. */
inline void end_row(const float v[NB], const float s[NB], int row, int n0, int lane, int N P_END)
{
    UNROLL for (int p = 0; p < NB; p += PIECE) {
        const int c = n0 + p * SG;
        const bool whole = c + PIECE * SG <= N; /* the same for all lanes */
        __global ushort *to = C + c_off + (size_t)row * ldc + c;
        words w, e;
#if READS || defined(PRE)
        __global ushort *x = extra + e_off + (size_t)row * lde + c;
#endif
#if READS
        if (whole) e = LOAD_WORDS(x);
        else
            UNROLL for (int j = 0; j < PIECE; j++) e[j] = c + j * SG + lane < N ? x[j * SG + lane] : 0;
#endif
        UNROLL for (int j = 0; j < PIECE; j++) {
            ushort one = e[j];
            w[j] = end_element(v[p + j], &one, s[p + j]);
            e[j] = one;
        }
        if (whole) {
            STORE_WORDS(to, w);
#ifdef PRE
            STORE_WORDS(x, e);
#endif
            continue;
        }
        UNROLL for (int j = 0; j < PIECE; j++) {
            if (c + j * SG + lane >= N) continue;
            to[j * SG + lane] = w[j];
#ifdef PRE
            x[j * SG + lane] = e[j];
#endif
        }
    }
}

/* depth: of the second pair, columns of T that a column of C takes; part: columns of C that share them. Items ITEMS a tile. */
SUB_GROUP(ITEMS) __kernel void gemm_dpas(const __global ushort *restrict A, uint a_off, int lda, const __global uint *restrict B,
                                         int M, int N, int K P_PAIR P_MASK P_END)
{
    const int sg = (int)get_sub_group_id(), lane = (int)get_sub_group_local_id();
    int m0, n0;
    tile_at(GROUP_ID(0, ITEMS), (M + 8 * MB * WGM - 1) / (8 * MB * WGM), (N + WIDTH * WGN - 1) / (WIDTH * WGN), &m0, &n0);
    m0 = (m0 * WGM + sg / WGN) * 8 * MB, n0 = (n0 * WGN + sg % WGN) * WIDTH;
    const int blocks = (N + SG - 1) / SG, deep = (K + 15) / 16, block0 = n0 / SG;
    if (m0 >= M || n0 >= N) return; /* whole sub-groups; there is no barrier */
    A += a_off;

    float8 sum[MB][NB];
    operand a[2][MB];
    UNROLL for (int i = 0; i < MB; i++)
        UNROLL for (int j = 0; j < NB; j++) sum[i][j] = (float8)(0.0f);
#if PAIR
    T += t_off + (TB ? n0 / part * depth : 0);
    for (int l = 0; l < PAIR; l++) {
        EDGE_ROWS(a[0], T, ldt, 16 * l, depth)
        STEP(a[0], L, PAIR, l)
    }
    PAIR_SEED
    UNROLL for (int i = 0; i < MB; i++)
        UNROLL for (int j = 0; j < NB; j++)
            UNROLL for (int r = 0; r < 8; r++) sum[i][j][r] *= PAIR_FACTOR(m0 + 8 * i + r, n0 + j * SG + lane);
#endif
    int k = 0;
    for (; k + 32 <= K; k += 32) {
#if IO2D
        ushort tile[2][8 * MB]; /* 16 columns at a time, an element of each row a lane */
        BLOCK_2D(read, 32)(VIEW_OF_A, (int2)(k, m0), &tile[0][0]);
        UNROLL for (int i = 0; i < MB; i++)
            UNROLL for (int h = 0; h < 2; h++) a[h][i] = as_short8(vload8(i, tile[h]));
        BLOCK_2D(prefetch, 32)(VIEW_OF_A, (int2)(min(k + 32 * AHEAD, K - 32), m0));
#else
        UNROLL for (int i = 0; i < MB; i++)
            UNROLL for (int r = 0; r < 8; r++) {
                const row_piece p = READ_ROW(A + (size_t)min(m0 + 8 * i + r, M - 1) * lda + k);
                a[0][i][r] = p.x, a[1][i][r] = p.y;
            }
#endif
#ifdef cl_intel_subgroup_buffer_prefetch
        UNROLL for (int j = 0; j < NB; j++)
            UNROLL for (int h = 0; h < 2; h++)
                intel_sub_group_block_prefetch_ui8(
                    B + ((size_t)min(block0 + j, blocks - 1) * deep + min(k / 16 + 2 * AHEAD + h, deep - 1)) * BLOCK);
#endif
        STEP(a[0], B, deep, k / 16)
        STEP(a[1], B, deep, k / 16 + 1)
    }
    for (; k < K; k += 16) {
        EDGE_ROWS(a[0], A, lda, k, K)
        STEP(a[0], B, deep, k / 16)
    }

    float b[NB], s[NB]; /* a lane holds its column of each block */
    UNROLL for (int j = 0; j < NB; j++) {
        const int n = min(n0 + j * SG + lane, N - 1);
        b[j] = BIAS_OF(n), s[j] = SCALE_OF(n);
    }
    UNROLL for (int i = 0; i < MB; i++)
        UNROLL for (int r = 0; r < 8; r++) {
            const int row = m0 + 8 * i + r;
            if (row >= M) continue; /* the whole sub-group */
            float v[NB];
            UNROLL for (int j = 0; j < NB; j++) v[j] = alpha * sum[i][j][r] + b[j];
#ifdef TURN
            UNROLL for (int j = 0; j < NB / 2; j++)
                turn_two(&v[j], &v[j + NB / 2], row, n0, j * SG + lane A_TURN);
#endif
            end_row(v, s, row, n0, lane, N A_END);
        }
}
