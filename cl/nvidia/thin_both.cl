/* Both products of an adapter's gradient with its output's, dy [K, width] of some parts side by side, which is read once:
 *
 *   dt [K, r] = dt_alpha dy B, with B [width, r]      dB [width, r] += db_alpha dy^T T, with T [K, r]
 *
 * for each part; r is 8 or 16. A group takes WARPS * CW columns of a part (a slice) and a range of rows, ROWS at a time through local
 * memory; a warp has CW of the columns, their B in registers, their sums of dB too. dB's sums of each range are left to thin_sums.cl.
 * Where a part has several slices, the last of a range's to end adds their shares of dt, in their order, whoever that is.
 *
 *   ACT: storage of dy, B, T and dt. Rows begin at 16-byte multiples. SLICED: a part has several slices. */
#define VW 1
#include "ptx.h"
#include "common.h"
#ifndef CW
#define CW 96
#endif
#ifndef ROWS
#define ROWS 16
#endif
#define WARPS   8
#define ITEMS   (WARPS * 32)
#define COLS    (WARPS * CW)
#define RANK    16
#define DEPTH   4
#define T_AT    (ROWS * COLS * 2)
#define BYTES   (T_AT + ROWS * RANK * 2) /* of a step */
#define ACROSS  (COLS / 8)               /* 16-byte pieces of a slice's row */
#define SUM_ROW 24                       /* floats from row to row of a warp's part of dt: no two lanes meet in a bank */

#include "pieces.h"

/* Group (slice, range): slice of all parts fastest. sums [ranges][RANK][slices * COLS], halves [slices][K][RANK]. counts: one for each
 * part of a range, zero before and after. */
__kernel GROUP(ITEMS)
void thin_both(const __global ushort *restrict dy, uint dy_off, int dy_ld, const __global ushort *restrict B, uint b_off,
               const __global ushort *restrict T, uint t_off, int t_ld, __global ushort *restrict dt, uint dt_off, int dt_ld,
               __global float *restrict sums, __global float *halves, volatile __global uint *counts, int K, int width, int r,
               int slices, int of_part, int range, float alpha)
{
#ifdef SLICED
    __local uint ended;
#endif
    __local uchar tiles[BYTES * DEPTH] __attribute__((aligned(128)));
    __local float parts[2][WARPS][ROWS][SUM_ROW];
    const uint base = LOCAL_ADDRESS(tiles);
    const int id = (int)get_local_id(0), warp = id / 32, lane = id % 32, group = GROUP_ID(0, ITEMS);
    const int slice = group % slices, z = group / slices, part = slice / of_part, x0 = slice % of_part * COLS, mine = warp * CW;
    const int begin = z * range, end = min(K, begin + range), steps = (end - begin + ROWS - 1) / ROWS, wide = width - x0;
    dy += dy_off + (uint)(part * width + x0);
    T += t_off + (uint)(part * r);
    uint b[CW / 16][4];
    float acc[CW / 8][4];
    fetch(base, B + b_off + (size_t)(part * width + x0) * r, r, COLS, RANK / 8, 0, wide, 0, r, id);
    commit_copies();
    WAIT_COPIES(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL for (int k = 0; k < CW / 16; k++)
        LDMATRIX(".trans", b[k][0], b[k][1], b[k][2], b[k][3], base + PIECE(mine + k * 16 + lane % 16, lane / 16, RANK / 8));
    UNROLL for (int t = 0; t < CW / 8; t++)
        UNROLL for (int e = 0; e < 4; e++) acc[t][e] = 0.0f;
    barrier(CLK_LOCAL_MEM_FENCE);
#define FETCH(s)                                                                                                                   \
    if ((s) < steps) {                                                                                                             \
        const uint to = base + (s) % DEPTH * BYTES;                                                                                \
        fetch(to, dy, dy_ld, ROWS, ACROSS, begin + (s)*ROWS, end, 0, wide, id);                                                    \
        fetch(to + T_AT, T, t_ld, ROWS, RANK / 8, begin + (s)*ROWS, end, 0, r, id);                                                \
    }                                                                                                                              \
    commit_copies();
    for (int s = 0; s < DEPTH - 1; s++) { FETCH(s) }
    for (int s = 0; s <= steps; s++) {
        WAIT_COPIES(2); /* DEPTH - 2 */
        barrier(CLK_LOCAL_MEM_FENCE);
        if (s > 0) /* dt of the step before, of all warps */
            for (int e = id; e < ROWS * RANK; e += ITEMS) {
                const int row = begin + (s - 1) * ROWS + e / RANK, n = e % RANK;
                float sum = 0.0f;
                UNROLL for (int w = 0; w < WARPS; w++) sum += parts[(s & 1) ^ 1][w][e / RANK][n];
                if (row < end) {
#ifdef SLICED
                    halves[((size_t)slice * K + row) * RANK + n] = sum;
#else
                    if (n < r) ST(ACT, dt, dt_off + (size_t)row * dt_ld + (uint)(part * r + n), sum * alpha);
#endif
                }
            }
        if (s == steps) break;
        FETCH(s + DEPTH - 1)
        const uint at = base + s % DEPTH * BYTES;
        UNROLL for (int m = 0; m < ROWS; m += 16) {
            float d[2][4];
            uint t[4];
            UNROLL for (int e = 0; e < 4; e++) d[0][e] = d[1][e] = 0.0f;
            LDMATRIX(".trans", t[0], t[1], t[2], t[3], at + T_AT + PIECE(m + lane % 8 + lane / 16 * 8, lane / 8 % 2, RANK / 8));
            UNROLL for (int k = 0; k < CW / 16; k++) {
                const uint from = at + PIECE(m + lane % 16, (mine + k * 16) / 8 + lane / 16, ACROSS);
                uint g[4], h[4];
                LDMATRIX("", g[0], g[1], g[2], g[3], from);
                LDMATRIX(".trans", h[0], h[1], h[2], h[3], from);
                MMA16816(d[0], g[0], g[1], g[2], g[3], b[k][0], b[k][1]);
                MMA16816(d[1], g[0], g[1], g[2], g[3], b[k][2], b[k][3]);
                MMA16816(acc[2 * k], t[0], t[1], t[2], t[3], h[0], h[1]);
                MMA16816(acc[2 * k + 1], t[0], t[1], t[2], t[3], h[2], h[3]);
            }
            UNROLL for (int j = 0; j < 2; j++)
                UNROLL for (int e = 0; e < 2; e++)
                    *(__local float2 *)&parts[s & 1][warp][m + e * 8 + lane / 4][j * 8 + lane % 4 * 2] =
                        (float2)(d[j][2 * e], d[j][2 * e + 1]);
        }
    }
    __global float *to = sums + (size_t)z * RANK * (slices * COLS) + slice * COLS + mine;
    UNROLL for (int t = 0; t < CW / 8; t++)
        UNROLL for (int e = 0; e < 2; e++)
            *(__global float2 *)(to + (e * 8 + lane / 4) * (slices * COLS) + t * 8 + lane % 4 * 2) =
                (float2)(acc[t][2 * e], acc[t][2 * e + 1]);
#ifdef SLICED
    groups_fence();
    barrier(CLK_LOCAL_MEM_FENCE);
    if (id == 0) ended = atomic_inc(&counts[group / of_part]);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (ended + 1 != (uint)of_part) return;
    groups_fence();
    if (id == 0) counts[group / of_part] = 0;
    for (int e = id * 4; e < (end - begin) * RANK; e += 4 * ITEMS) {
        const int row = begin + e / RANK, n = e % RANK;
        if (n >= r) continue;
        float4 sum = (float4)(0.0f);
        for (int k = 0; k < of_part; k++)
            sum += *(const __global float4 *)(halves + ((size_t)(part * of_part + k) * K + row) * RANK + n);
        const uint2 v = (uint2)(pack16(sum.x * alpha, sum.y * alpha), pack16(sum.z * alpha, sum.w * alpha));
        *(__global uint2 *)(dt + dt_off + (size_t)row * dt_ld + (uint)(part * r + n)) = v;
    }
#endif
}
