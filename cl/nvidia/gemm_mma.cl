/* C[M,N] = epilogue(A[M,K] op(B)) with mma.sync: any NVIDIA GPU from Ampere on. 16-bit storage (ACT), float32 sums; N and K multiples
 * of 8, every row aligned to 16 bytes, M free. TB, PAIR and the epilogue as in gemm_wgmma.cl.
 * A group makes a tile of BM x BN with four warps of 64 x 64; DEPTH stages of 64 along K are under way in local memory. */
#include "common.h"
#include "step.h"
#include "ptx.h"
#include "matrix_unit.h"
#include "epilogue.h"
#include "drop.h"
#ifndef TB
#define TB 1
#endif
#ifndef PAIR
#define PAIR 0
#endif
#ifndef DEPTH
#define DEPTH 3
#endif
#define BM      128
#define BN      128
#define WM      64
#define WN      64
#define BK      64
#define THREADS 128
#define A_BYTES (BM * BK * 2)
#define STAGE   (A_BYTES + BN * BK * 2)
#define B_PITCH (TB ? BK * 2 : BN * 2) /* bytes in a row of the B tile */
#define L_PITCH (TB ? 32 : BN * 2)
#define PAIR_BYTES ((BM + BN) * 32) /* of a step, in the first stage's place */
/* Where the c-th 16 bytes of row r lie, so that eight rows meet no bank twice. */
#define SWIZZLE(pitch, r, c) (((c) ^ ((pitch) == 32 ? (r) >> 2 & 1 : (r) & 7)) << 4)

/* Asks for `rows` x `chunks` pieces of 16 bytes; what lies outside (valid rows, valid columns) becomes zero. */
inline void load_tile(uint to, int pitch, const __global ushort *from, int ld, int rows, int chunks, int valid_rows, int valid_cols)
{
    const int id = (int)get_local_id(0);
    UNROLL for (int i = 0; i < rows * chunks / THREADS; i++) {
        const int x = id + i * THREADS, r = x / chunks, c = x % chunks;
        const bool in = r < valid_rows && c * 8 < valid_cols;
        copy16(to + r * pitch + SWIZZLE(pitch, r, c), in ? from + (size_t)r * ld + c * 8 : from, in ? 16 : 0);
    }
}

/* One step of depth 16: the k-th of tiles at a_at and b_at. */
inline void step16(float acc[WM / 16][WN / 8][4], uint a_at, int a_pitch, uint b_at, int b_pitch, int wm, int wn, int k)
{
    const int lane = (int)get_local_id(0) & 31;
    uint a[WM / 16][4], b[WN / 8][2];
    UNROLL for (int i = 0; i < WM / 16; i++) {
        const int r = wm + i * 16 + (lane & 15), c = k * 2 + (lane >> 4);
        LDMATRIX("", a[i][0], a[i][1], a[i][2], a[i][3], a_at + r * a_pitch + SWIZZLE(a_pitch, r, c));
    }
    UNROLL for (int j = 0; j < WN / 16; j++) {
#if TB
        const int r = wn + j * 16 + (lane & 7) + (lane >> 4) * 8, c = k * 2 + (lane >> 3 & 1);
        LDMATRIX("", b[2 * j][0], b[2 * j][1], b[2 * j + 1][0], b[2 * j + 1][1], b_at + r * b_pitch + SWIZZLE(b_pitch, r, c));
#else
        const int r = k * 16 + (lane & 15), c = wn / 8 + j * 2 + (lane >> 4);
        LDMATRIX(".trans", b[2 * j][0], b[2 * j][1], b[2 * j + 1][0], b[2 * j + 1][1], b_at + r * b_pitch + SWIZZLE(b_pitch, r, c));
#endif
    }
    UNROLL for (int i = 0; i < WM / 16; i++)
        UNROLL for (int j = 0; j < WN / 8; j++) MMA16816(acc[i][j], a[i][0], a[i][1], a[i][2], a[i][3], b[j][0], b[j][1]);
}

#if PAIR
#define P_PAIR                                                                                                                     \
    , const __global ushort *restrict T, uint t_off, int ldt, const __global ushort *restrict L, uint l_off, int ldl, int depth,   \
        int part, float pair_alpha
#else
#define P_PAIR
#endif

#define PIECES_ACROSS (WN / 32)
#define PIECE_COUNT   (WM / 16 * PIECES_ACROSS)
#define ROW(x)        (m0 + wm + (x) / PIECES_ACROSS * 16 + (lane >> 2))
#define ROWS(x)       (int2)(ROW(x), ROW(x) + 8)
#define COLUMN(x)     (n0 + wn + (x) % PIECES_ACROSS * 32)
#define SUMS_OF(x)    &acc[(x) / PIECES_ACROSS][(x) % PIECES_ACROSS * 4][0]
#define ASK(kt)                                                                                                                    \
    {                                                                                                                              \
        const uint to = base + (kt) % DEPTH * STAGE;                                                                               \
        if ((kt) < steps) {                                                                                                        \
            load_tile(to, BK * 2, A + (kt)*BK, lda, BM, BK / 8, M - m0, K - (kt)*BK);                                              \
            load_tile(to + A_BYTES, B_PITCH, B + (TB ? (size_t)n0 * ldb + (kt)*BK : (size_t)(kt)*BK * ldb + n0), ldb, TB ? BN : BK, \
                      TB ? BK / 8 : BN / 8, TB ? N - n0 : K - (kt)*BK, TB ? K - (kt)*BK : N - n0);                                 \
        }                                                                                                                          \
        commit_copies();                                                                                                           \
    }

/* depth: of the second pair, columns of T that a column of C takes; part: columns of C that share them. Items THREADS a tile. */
__kernel GROUP(THREADS) void gemm_mma(const __global ushort *restrict A, uint a_off, int lda, const __global ushort *restrict B,
                                      uint b_off, int ldb, int M, int N, int K P_PAIR P_MASK P_ROW_SUMS P_END)
{
    __local uchar __attribute__((aligned(128))) tiles[STAGE * DEPTH];
    const uint base = LOCAL_ADDRESS(tiles);
    const int warp = (int)get_local_id(0) >> 5, lane = (int)get_local_id(0) & 31;
    const int wm = warp % (BM / WM) * WM, wn = warp / (BM / WM) * WN, steps = (K + BK - 1) / BK;
    int m0, n0;
    tile_at((int)get_global_id(0) / THREADS, (M + BM - 1) / BM, (N + BN - 1) / BN, &m0, &n0);
    m0 *= BM, n0 *= BN;
    A += a_off + (size_t)m0 * lda, B += b_off;
    float acc[WM / 16][WN / 8][4];
    UNROLL for (int i = 0; i < WM / 16; i++)
        UNROLL for (int j = 0; j < WN / 8; j++)
            UNROLL for (int e = 0; e < 4; e++) acc[i][j][e] = 0.0f;
#ifdef NORM
#define NORM_OF(row) norm_by_quad(row_sums, row, M, norm_eps)
    BEGIN_NORMED
#endif
#if PAIR
    T += t_off + (size_t)m0 * ldt + (TB ? n0 / part * depth : 0), L += l_off;
    UNROLL for (int l = 0; l < PAIR; l++) {
        const uint to = base + l * PAIR_BYTES;
        load_tile(to, 32, T + l * 16, ldt, BM, 2, M - m0, depth - l * 16);
        load_tile(to + BM * 32, L_PITCH, TB ? L + (size_t)n0 * ldl + l * 16 : L + (size_t)(l * 16) * ldl + n0, ldl, TB ? BN : 16,
                  TB ? 2 : BN / 8, TB ? N - n0 : depth - l * 16, TB ? depth - l * 16 : N - n0);
    }
    commit_copies();
    WAIT_COPIES(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL for (int l = 0; l < PAIR; l++) {
        const uint at = base + l * PAIR_BYTES;
        step16(acc, at, 32, at + BM * 32, L_PITCH, wm, wn, 0);
    }
    barrier(CLK_LOCAL_MEM_FENCE); /* the first stage comes where they lie */
#ifdef MASK_E
    const uint seed = tn_hash(step->seed, e_salt);
    UNROLL for (int x = 0; x < PIECE_COUNT; x++)
        settle(SUMS_OF(x), bits_drawn(ROW(x), COLUMN(x), N, seed, e_threshold), pair_alpha * e_keep);
#else
    UNROLL for (int x = 0; x < PIECE_COUNT; x++) settle(SUMS_OF(x), 0xffffu, pair_alpha);
#endif
#endif
    for (int s = 0; s < DEPTH - 1; s++) ASK(s)
    for (int kt = 0; kt < steps; kt++) {
        WAIT_COPIES(1); /* DEPTH - 2 */
        barrier(CLK_LOCAL_MEM_FENCE);
        ASK(kt + DEPTH - 1)
        const uint at = base + kt % DEPTH * STAGE;
        UNROLL for (int k = 0; k < BK / 16; k++) step16(acc, at, BK * 2, at + A_BYTES, B_PITCH, wm, wn, k);
    }
    uint4 held[2];
    RUN_SUMS
#ifdef TURN
    UNROLL for (int x = 0; x < PIECE_COUNT; x += 2) FINISH_TURNED(x)
#else
    UNROLL for (int x = 0; x < PIECE_COUNT; x++) {
        fetch(held, ROW(x), COLUMN(x), M, N A_END);
        finish(SUMS_OF(x), held, ROWS(x), COLUMN(x), M, N A_RSTD(x) A_RUNNING A_LAID A_END);
    }
#endif
}
