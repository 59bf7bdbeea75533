/* C[M,N] = alpha * A[M,K] op(B) + bias for at most 64 columns, a batch of them in dimension 1. A, much the largest, is read once,
 * 16 bytes a lane. Along K any order will do as long as A and B agree: a lane takes 8 neighbouring elements where the matrix unit
 * expects 4 pairs, so nothing passes through local memory but the sums. The four warps of a group share 16 * RI * 4 / KW rows;
 * KW warps take turns along K, AHEAD * 32 elements each, whose loads are under way at once. Sums in a fixed order.
 *
 *   ACT: storage of A and B; CT: of C.   TB: as shared/gemm.h, which has MASK_A and BIAS too.   NT: tiles of 16 columns.
 * A's rows begin at 16-byte multiples, B's too with TB 1. K is a multiple of 8. */
#define VW 1
#include "ptx.h"
#include "common.h"
#include "drop.h"
#include "step.h"
#include "gemm.h"
#ifndef NT
#define NT 1
#endif
#ifndef RI
#define RI 1
#endif
#ifndef KW
#define KW 4
#endif
#define ITEMS 128
#define COLS  (NT * 16)
#define ROWS  (RI * 16) /* of a warp */
#define AHEAD (4 / RI)

/* The words of B that go with a lane's 8 elements of A: elements k to k + 7 of column n. */
inline uint4 right(const __global ushort *B, int ldb, int n, int k)
{
#if TB
    return *(const __global uint4 *)(B + (size_t)n * ldb + k);
#else
    const __global ushort *p = B + (size_t)k * ldb + n;
    const size_t ld = ldb;
    uint4 w;
    w.x = p[0] | (uint)p[ld] << 16, w.y = p[2 * ld] | (uint)p[3 * ld] << 16;
    w.z = p[4 * ld] | (uint)p[5 * ld] << 16, w.w = p[6 * ld] | (uint)p[7 * ld] << 16;
    return w;
#endif
}

__kernel GROUP(ITEMS)
void thin_product(const __global ushort *restrict A, uint a_off, int lda, const __global ushort *restrict B, uint b_off, int ldb,
                  __global TYPE(CT) *restrict C, uint c_off, int ldc, int M, int N, int K, float alpha, uint a_step, uint b_step,
                  uint c_step P_STEP P_MASK_A P_BIAS)
{
    __local float part[4][ROWS][COLS + 8]; /* 8 more keep rows off each other's banks */
    const int id = (int)get_local_id(0), warp = id / 32, lane = id % 32, r = lane / 4, q = lane % 4;
    const int m0 = (int)get_global_id(0) / ITEMS * (4 / KW) * ROWS, first = m0 + warp / KW * ROWS;
    const size_t item = get_global_id(1);
    const __global ushort *right_at = B + b_off + item * b_step;
    const __global ushort *left[RI][2]; /* rows and columns beyond the last are its copies, which nobody stores */
    float acc[RI][2 * NT][4];
    UNROLL for (int i = 0; i < RI; i++) {
        UNROLL for (int h = 0; h < 2; h++)
            left[i][h] = A + a_off + item * a_step + (size_t)min(first + i * 16 + h * 8 + r, M - 1) * lda;
        UNROLL for (int j = 0; j < 2 * NT; j++)
            UNROLL for (int e = 0; e < 4; e++) acc[i][j][e] = 0.0f;
    }
#ifdef MASK_A
    const uint seed = tn_hash(step->seed, a_salt);
    alpha *= a_keep;
#endif
    for (int k0 = warp % KW * AHEAD * 32; k0 < K; k0 += KW * AHEAD * 32) {
        uint4 a[AHEAD][RI][2];
        UNROLL for (int u = 0; u < AHEAD; u++)
            UNROLL for (int i = 0; i < RI; i++)
                UNROLL for (int h = 0; h < 2; h++)
                    a[u][i][h] = *(const __global uint4 *)(left[i][h] + min(k0 + u * 32 + q * 8, K - 8));
        UNROLL for (int u = 0; u < AHEAD; u++) {
            const int k = k0 + u * 32 + q * 8;
            uint4 b[2 * NT];
            UNROLL for (int j = 0; j < 2 * NT; j++) b[j] = right(right_at, ldb, min(j * 8 + r, N - 1), min(k, K - 8));
            UNROLL for (int i = 0; i < RI; i++) {
                UNROLL for (int h = 0; h < 2; h++) {
                    const uint in = k < K ? ~0u : 0u;
                    a[u][i][h].x &= in, a[u][i][h].y &= in, a[u][i][h].z &= in, a[u][i][h].w &= in;
#ifdef MASK_A
                    const uint at = (uint)(first + i * 16 + h * 8 + r) * a_width + (uint)k;
                    a[u][i][h].x = drop_neighbours(a[u][i][h].x, seed, at, a_threshold);
                    a[u][i][h].y = drop_neighbours(a[u][i][h].y, seed, at + 2, a_threshold);
                    a[u][i][h].z = drop_neighbours(a[u][i][h].z, seed, at + 4, a_threshold);
                    a[u][i][h].w = drop_neighbours(a[u][i][h].w, seed, at + 6, a_threshold);
#endif
                }
                UNROLL for (int j = 0; j < 2 * NT; j++) {
                    MMA16816(acc[i][j], a[u][i][0].x, a[u][i][1].x, a[u][i][0].y, a[u][i][1].y, b[j].x, b[j].y);
                    MMA16816(acc[i][j], a[u][i][0].z, a[u][i][1].z, a[u][i][0].w, a[u][i][1].w, b[j].z, b[j].w);
                }
            }
        }
    }
    UNROLL for (int i = 0; i < RI; i++)
        UNROLL for (int j = 0; j < 2 * NT; j++)
            UNROLL for (int e = 0; e < 4; e++) part[warp][i * 16 + e / 2 * 8 + r][j * 8 + 2 * q + e % 2] = acc[i][j][e];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int e = id; e < 4 / KW * ROWS * COLS; e += ITEMS) {
        const int m = e / COLS, n = e % COLS;
        if (m0 + m >= M || n >= N) continue;
        float s = 0.0f;
        UNROLL for (int w = 0; w < KW; w++) s += part[m / ROWS * KW + w][m % ROWS][n];
        s *= alpha;
        E_BIAS(s, n, 1)
        ST(CT, C, c_off + item * c_step + (size_t)(m0 + m) * ldc + n, s);
    }
}
