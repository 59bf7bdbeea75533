/* C[M,N] = alpha * A[M,K] op(B) + bias for at most 64 columns, a batch of them in dimension 1. A, much the largest, is read once.
 * Both operands pass through local memory STEP elements of K at a time, DEPTH - 1 steps ahead. Four warps: WR of them along the
 * rows, 16 rows each, the others along a step's K; their sums are added in a fixed order.
 *
 *   ACT: storage of A and B; CT: of C.   TB: as shared/gemm.h, which has MASK_A and BIAS too.   NT: tiles of 16 columns.
 *   PIECES: rows of B are made of 16-byte pieces.
 * A's rows begin at 16-byte multiples. K is a multiple of 8. */
#define VW 1
#include "ptx.h"
#include "common.h"
#include "drop.h"
#include "step.h"
#include "gemm.h"
#ifndef NT
#define NT 1
#endif
#ifndef WR
#define WR 2
#endif
#ifndef DEPTH
#define DEPTH 4
#endif
#define ITEMS   128
#define STEP    64
#define KW      (4 / WR)
#define ROWS    (WR * 16)
#define COLS    (NT * 16)
#define A_BYTES (ROWS * STEP * 2)
#define BYTES   (A_BYTES + COLS * STEP * 2) /* of a step */
#if TB
#define B_ROWS   COLS
#define B_PIECES (STEP / 8)
#else
#define B_ROWS   STEP
#define B_PIECES (COLS / 8)
#endif

#include "pieces.h"

/* fetch element by element. */
inline void fetch_any(__local uchar *to, const __global ushort *from, int ld, int rows, int pieces, int y, int y_end, int x,
                      int x_end, int id)
{
    for (int e = id; e < rows * pieces * 8; e += ITEMS) {
        const int r = e / (pieces * 8), c = e % (pieces * 8);
        __local ushort *at = (__local ushort *)(to + PIECE(r, c / 8, pieces)) + c % 8;
        *at = y + r < y_end && x + c < x_end ? from[(size_t)(y + r) * ld + x + c] : (ushort)0;
    }
}

__kernel GROUP(ITEMS)
void thin_product(const __global ushort *restrict A, uint a_off, int lda, const __global ushort *restrict B, uint b_off, int ldb,
                  __global TYPE(CT) *restrict C, uint c_off, int ldc, int M, int N, int K, float alpha, uint a_step, uint b_step,
                  uint c_step P_STEP P_MASK_A P_BITS P_BIAS)
{
    __local union {
        uchar tiles[BYTES * DEPTH] __attribute__((aligned(128)));
        float part[4][16][COLS + 8]; /* 8 more keep rows off each other's banks */
    } l;
    const uint base = LOCAL_ADDRESS(l.tiles);
    const int id = (int)get_local_id(0), warp = id / 32, lane = id % 32, r = lane / 4, q = lane % 4;
    const int m0 = (int)get_global_id(0) / ITEMS * ROWS, m_of = warp / KW * 16, k_of = warp % KW * (STEP / KW);
    const size_t item = get_global_id(1);
    const __global ushort *left = A + a_off + item * a_step, *right = B + b_off + item * b_step;
    const int steps = (K + STEP - 1) / STEP;
    float acc[2 * NT][4];
    UNROLL for (int j = 0; j < 2 * NT; j++)
        UNROLL for (int e = 0; e < 4; e++) acc[j][e] = 0.0f;
#ifdef MASK_A
    alpha *= a_keep;
#define KEPT_BLOCKS (STEP / KW / 32)
#ifdef BITS
#define KEPT_BYTES  (WR * (STEP / 32) * BITS_BLOCK) /* of a step: of each 16 rows the blocks across */
#define FETCH_KEPT(s)                                                                                                              \
    if (id < KEPT_BYTES / 16)                                                                                                      \
        copy_bits(kept_at + (s) % DEPTH * KEPT_BYTES, id, bits_block(m0 + id / 8 * 16, (s)*STEP + id / 4 % 2 * 32, M, K A_BITS));
    __local uchar kept_words[KEPT_BYTES * DEPTH] __attribute__((aligned(16)));
    const uint kept_at = LOCAL_ADDRESS(kept_words);
#else
    const uint seed = tn_hash(step->seed, a_salt);
#endif
#endif
#ifndef BITS
#define FETCH_KEPT(s)
#endif
#if TB
#define B_RANGE(s) 0, N, (s)*STEP, K
#else
#define B_RANGE(s) (s) * STEP, K, 0, N
#endif
#ifdef PIECES
#define FETCH_B(to, s) fetch(base + (to) + A_BYTES, right, ldb, B_ROWS, B_PIECES, B_RANGE(s), id);
#else
#define FETCH_B(to, s) fetch_any(l.tiles + (to) + A_BYTES, right, ldb, B_ROWS, B_PIECES, B_RANGE(s), id);
#endif
#define FETCH(s)                                                                                                                   \
    if ((s) < steps) {                                                                                                             \
        const uint to = (s) % DEPTH * BYTES;                                                                                       \
        fetch(base + to, left, lda, ROWS, STEP / 8, m0, M, (s)*STEP, K, id);                                                       \
        FETCH_B(to, s)                                                                                                             \
        FETCH_KEPT(s)                                                                                                              \
    }                                                                                                                              \
    commit_copies();
    for (int s = 0; s < DEPTH - 1; s++) { FETCH(s) }
    for (int s = 0; s < steps; s++) {
#if DEPTH == 4
        WAIT_COPIES(2);
#else
        WAIT_COPIES(1);
#endif
        barrier(CLK_LOCAL_MEM_FENCE);
        FETCH(s + DEPTH - 1)
        const uint a_at = base + s % DEPTH * BYTES, b_at = a_at + A_BYTES;
#ifdef BITS
        const uint words = kept_at + s % DEPTH * KEPT_BYTES + (m_of / 16 * (STEP / 32) + k_of / 32) * BITS_BLOCK;
#define KEPT(i) bits_here(words + (i)*BITS_BLOCK, lane)
#else
#define KEPT(i) bits_drawn(m0 + m_of + r, s * STEP + k_of + (i)*32, a_width, seed, a_threshold)
#endif
#ifdef MASK_A
        uint kept[KEPT_BLOCKS];
        UNROLL for (int i = 0; i < KEPT_BLOCKS; i++) kept[i] = spread_bits(KEPT(i));
#endif
        UNROLL for (int k = 0; k < STEP / KW; k += 16) {
            uint a[4];
            LDMATRIX("", a[0], a[1], a[2], a[3], a_at + PIECE(m_of + lane % 16, (k_of + k) / 8 + lane / 16, STEP / 8));
#ifdef MASK_A
            UNROLL for (int e = 0; e < 4; e++) a[e] = keep_pair(a[e], kept[k / 32], k % 32 / 4 + e);
#endif
            UNROLL for (int j = 0; j < NT; j++) {
                uint b[4];
#if TB
                LDMATRIX("", b[0], b[1], b[2], b[3],
                         b_at + PIECE(j * 16 + lane % 8 + lane / 16 * 8, (k_of + k) / 8 + lane / 8 % 2, B_PIECES));
#else
                LDMATRIX(".trans", b[0], b[1], b[2], b[3], b_at + PIECE(k_of + k + lane % 16, j * 2 + lane / 16, B_PIECES));
#endif
                MMA16816(acc[2 * j], a[0], a[1], a[2], a[3], b[0], b[1]);
                MMA16816(acc[2 * j + 1], a[0], a[1], a[2], a[3], b[2], b[3]);
            }
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL for (int j = 0; j < 2 * NT; j++)
        UNROLL for (int e = 0; e < 4; e++) l.part[warp][e / 2 * 8 + r][j * 8 + 2 * q + e % 2] = acc[j][e];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int e = id; e < ROWS * COLS; e += ITEMS) {
        const int m = e / COLS, n = e % COLS;
        if (m0 + m >= M || n >= N) continue;
        float s = 0.0f;
        UNROLL for (int w = 0; w < KW; w++) s += l.part[m / 16 * KW + w][m % 16][n];
        s *= alpha;
        E_BIAS(s, n, 1)
        ST(CT, C, c_off + item * c_step + (size_t)(m0 + m) * ldc + n, s);
    }
}
