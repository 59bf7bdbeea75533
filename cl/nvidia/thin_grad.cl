/* P[z][M][N] = A[rows of z, M]^T B[rows of z, N]: a product over a long K in parts, which gemm_sum ends. Both operands pass
 * through local memory as they lie, STEP rows at a time and DEPTH - 1 steps ahead, and are turned on the way to the matrix unit.
 * Groups: (tiles of N, tiles of M, batch * splits). A tile is WM * MI * 16 rows and WN * NI * 8 columns of C, WM * WN = 4 warps.
 *
 *   ACT: storage of A and B.   MASK_B: as shared/gemm.h. Rows of A and B begin at 16-byte multiples. */
#define VW 1
#include "ptx.h"
#include "common.h"
#include "drop.h"
#include "step.h"
#include "gemm.h"
#ifndef MI
#define MI 1
#define NI 4
#define WM 1
#define WN 4
#endif
#define ITEMS   128
#define STEP    32
#define DEPTH   4
#define TILE_M  (WM * MI * 16)
#define TILE_N  (WN * NI * 8)
#define A_BYTES (STEP * TILE_M * 2)
#define BYTES   (A_BYTES + STEP * TILE_N * 2) /* of a step */

#include "pieces.h"

__kernel GROUP(ITEMS)
void thin_grad(const __global ushort *restrict A, uint a_off, int lda, const __global ushort *restrict B, uint b_off, int ldb,
               __global float *restrict P, int M, int N, int K, int rows, int splits, uint a_step, uint b_step P_STEP P_MASK_B)
{
    __local uchar tiles[BYTES * DEPTH] __attribute__((aligned(128)));
    const uint base = LOCAL_ADDRESS(tiles);
    const int id = (int)get_local_id(0), warp = id / 32, lane = id % 32, r = lane / 4, q = lane % 4;
    const int n0 = (int)get_global_id(0) / ITEMS * TILE_N, m0 = (int)get_global_id(1) * TILE_M, zb = (int)get_global_id(2);
    const int begin = zb % splits * rows, end = min(K, begin + rows), steps = (end - begin + STEP - 1) / STEP;
    const int m_of = warp / WN * MI * 16, n_of = warp % WN * NI * 8; /* the warp's part of the tile */
    const __global ushort *left = A + a_off + (size_t)(zb / splits) * a_step, *right = B + b_off + (size_t)(zb / splits) * b_step;
    float acc[MI][NI][4];
    UNROLL for (int i = 0; i < MI; i++)
        UNROLL for (int j = 0; j < NI; j++)
            UNROLL for (int e = 0; e < 4; e++) acc[i][j][e] = 0.0f;
#ifdef MASK_B
    const uint seed = tn_hash(step->seed, b_salt);
#endif
#define FETCH(s)                                                                                                                   \
    if ((s) < steps) {                                                                                                             \
        const uint to = base + (s) % DEPTH * BYTES;                                                                                \
        fetch(to, left, lda, STEP, TILE_M / 8, begin + (s)*STEP, end, m0, M, id);                                                  \
        fetch(to + A_BYTES, right, ldb, STEP, TILE_N / 8, begin + (s)*STEP, end, n0, N, id);                                       \
    }                                                                                                                              \
    commit_copies();
    for (int s = 0; s < DEPTH - 1; s++) { FETCH(s) }
    for (int s = 0; s < steps; s++) {
        WAIT_COPIES(2); /* DEPTH - 2 */
        barrier(CLK_LOCAL_MEM_FENCE);
        FETCH(s + DEPTH - 1)
        const uint a_at = base + s % DEPTH * BYTES, b_at = a_at + A_BYTES;
        UNROLL for (int k = 0; k < STEP; k += 16) {
            uint a[MI][4], b[NI / 2][4];
            UNROLL for (int i = 0; i < MI; i++) {
                const int row = k + lane % 8 + lane / 16 * 8, c = (m_of + i * 16) / 8 + lane / 8 % 2;
                LDMATRIX(".trans", a[i][0], a[i][1], a[i][2], a[i][3], a_at + PIECE(row, c, TILE_M / 8));
            }
#ifdef MASK_B
            uint kept[(NI + 3) / 4];
            UNROLL for (int j = 0; j < (NI + 3) / 4; j++)
                kept[j] = spread_below(bits_drawn(begin + s * STEP + k + r, n0 + n_of + j * 32, b_width, seed, b_threshold), lane);
#endif
            UNROLL for (int j = 0; j < NI / 2; j++) {
                const int row = k + lane % 16, c = (n_of + j * 16) / 8 + lane / 16;
                LDMATRIX(".trans", b[j][0], b[j][1], b[j][2], b[j][3], b_at + PIECE(row, c, TILE_N / 8));
#ifdef MASK_B
                UNROLL for (int e = 0; e < 4; e++) b[j][e] = keep_pair(b[j][e], kept[j / 2], j % 2 * 4 + e);
#endif
            }
            UNROLL for (int i = 0; i < MI; i++)
                UNROLL for (int j = 0; j < NI; j++)
                    MMA16816(acc[i][j], a[i][0], a[i][1], a[i][2], a[i][3], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
        }
    }
    UNROLL for (int i = 0; i < MI; i++)
        UNROLL for (int j = 0; j < NI; j++)
            UNROLL for (int e = 0; e < 4; e++) {
                const int m = m0 + m_of + i * 16 + e / 2 * 8 + r, n = n0 + n_of + j * 8 + 2 * q + e % 2;
#ifdef MASK_B
                acc[i][j][e] *= b_keep;
#endif
                if (m < M && n < N) P[((size_t)zb * M + m) * N + n] = acc[i][j][e];
            }
}
