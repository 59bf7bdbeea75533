/* Both products of an adapter's gradient with its output's, dy [K, width] of some parts side by side, which is read once:
 *
 *   dt [K, r] = dt_alpha dy B, with B [width, r]      dB [width, r] += db_alpha dy^T T, with T [K, r]
 *
 * for each part; r is 8 or 16. A group takes WARPS * CW columns of a part (a slice) and a range of rows, ROWS at a time through local
 * memory; a warp has CW of the columns, their B in registers, their sums of dB too. thin_both leaves dB's sums of each range, and
 * dt's of each slice where a part has several; thin_both_sum adds them up, in their order.
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

/* Group (slice, range): slice of all parts fastest. sums [ranges][RANK][slices * COLS], halves [slices][K][RANK]. */
__kernel GROUP(ITEMS)
void thin_both(const __global ushort *restrict dy, uint dy_off, int dy_ld, const __global ushort *restrict B, uint b_off,
               const __global ushort *restrict T, uint t_off, int t_ld, __global ushort *restrict dt, uint dt_off, int dt_ld,
               __global float *restrict sums, __global float *restrict halves, int K, int width, int r, int slices, int of_part,
               int range, float alpha)
{
    __local uchar tiles[BYTES * DEPTH] __attribute__((aligned(128)));
    __local union {
        float of[2][WARPS][ROWS][SUM_ROW]; /* of dt */
        ushort b[COLS * RANK];             /* what comes before them, beside the first steps */
    } parts __attribute__((aligned(128)));
    const uint base = LOCAL_ADDRESS(tiles), b_at = LOCAL_ADDRESS(&parts);
    const int id = (int)get_local_id(0), warp = id / 32, lane = id % 32, group = GROUP_ID(0, ITEMS);
    const int slice = group % slices, z = group / slices, part = slice / of_part, x0 = slice % of_part * COLS, mine = warp * CW;
    const int begin = z * range, end = min(K, begin + range), steps = (end - begin + ROWS - 1) / ROWS, wide = width - x0;
    dy += dy_off + (uint)(part * width + x0);
    T += t_off + (uint)(part * r);
    uint b[CW / 16][4];
    float acc[CW / 8][4];
#define FETCH(s)                                                                                                                   \
    if ((s) < steps) {                                                                                                             \
        const uint to = base + (s) % DEPTH * BYTES;                                                                                \
        fetch(to, dy, dy_ld, ROWS, ACROSS, begin + (s)*ROWS, end, 0, wide, id);                                                    \
        fetch(to + T_AT, T, t_ld, ROWS, RANK / 8, begin + (s)*ROWS, end, 0, r, id);                                                \
    }                                                                                                                              \
    commit_copies();
    fetch(b_at, B + b_off + (size_t)(part * width + x0) * r, r, COLS, RANK / 8, 0, wide, 0, r, id);
    commit_copies();
    for (int s = 0; s < DEPTH - 1; s++) { FETCH(s) }
    UNROLL for (int t = 0; t < CW / 8; t++)
        UNROLL for (int e = 0; e < 4; e++) acc[t][e] = 0.0f;
    WAIT_COPIES(3); /* DEPTH - 1 */
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL for (int k = 0; k < CW / 16; k++)
        LDMATRIX(".trans", b[k][0], b[k][1], b[k][2], b[k][3], b_at + PIECE(mine + k * 16 + lane % 16, lane / 16, RANK / 8));
    for (int s = 0; s <= steps; s++) {
        WAIT_COPIES(2); /* DEPTH - 2 */
        barrier(CLK_LOCAL_MEM_FENCE);
        if (s > 0) /* dt of the step before, of all warps */
            for (int e = id; e < ROWS * RANK; e += ITEMS) {
                const int row = begin + (s - 1) * ROWS + e / RANK, n = e % RANK;
                float sum = 0.0f;
                UNROLL for (int w = 0; w < WARPS; w++) sum += parts.of[(s & 1) ^ 1][w][e / RANK][n];
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
                    *(__local float2 *)&parts.of[s & 1][warp][m + e * 8 + lane / 4][j * 8 + lane % 4 * 2] =
                        (float2)(d[j][2 * e], d[j][2 * e + 1]);
        }
    }
    __global float *to = sums + (size_t)z * RANK * (slices * COLS) + slice * COLS + mine;
    UNROLL for (int t = 0; t < CW / 8; t++)
        UNROLL for (int e = 0; e < 2; e++)
            *(__global float2 *)(to + (e * 8 + lane / 4) * (slices * COLS) + t * 8 + lane % 4 * 2) =
                (float2)(acc[t][2 * e], acc[t][2 * e + 1]);
}

/* Groups: for dB one of each rank's SUM_COLS columns, then, where SLICED, one of each 4 * ITEMS numbers of a part's dt. c_ld, c_part:
 * elements from row to row of dB, and from part to part. */
#define SUM_COLS 128
__kernel GROUP(ITEMS)
void thin_both_sum(const __global float *restrict sums, const __global float *restrict halves, __global ushort *restrict dt,
                   uint dt_off, int dt_ld, __global float *restrict dB, uint c_off, int c_ld, int c_part, int K, int width, int r,
                   int slices, int of_part, int ranges, float dt_alpha, float db_alpha)
{
    __local float4 half_sums[WARPS][32];
    const int id = (int)get_local_id(0), all = slices * COLS, across = all / SUM_COLS, first = across * RANK;
    const int group = GROUP_ID(0, ITEMS);
    if (group < first) {
        const int m = group / across, x0 = group % across * SUM_COLS, from = id / 32, lane = id % 32;
        const __global float *at = sums + (size_t)m * all + x0 + lane * 4;
        const int x = x0 + id, part = x / (of_part * COLS), column = x % (of_part * COLS);
        const bool mine = id < SUM_COLS && column < width && m < r;
        __global float *to = dB + c_off + (mine ? (size_t)part * c_part + (size_t)column * c_ld + m : 0);
        const float was = mine ? *to : 0.0f; /* on its way beside the sums */
        float4 s = (float4)(0.0f);
        _Pragma("unroll 8") for (int z = from; z < ranges; z += WARPS) s += *(const __global float4 *)(at + (size_t)z * RANK * all);
        half_sums[from][lane] = s;
        barrier(CLK_LOCAL_MEM_FENCE);
        if (!mine) return;
        const __local float *of = (const __local float *)half_sums;
        float sum = 0.0f;
        UNROLL for (int w = 0; w < WARPS; w++) sum += of[w * SUM_COLS + id];
        *to = fma(sum, db_alpha, was);
    }
#ifdef SLICED
    else {
        const int i = ((group - first) * ITEMS + id) * 4, part = i / (K * RANK), e = i % (K * RANK), row = e / RANK, n = e % RANK;
        if (part * of_part >= slices || n >= r) return;
        float4 s = (float4)(0.0f);
        for (int z = 0; z < of_part; z++) s += *(const __global float4 *)(halves + (size_t)(part * of_part + z) * K * RANK + e);
        const uint2 v = (uint2)(pack16(s.x * dt_alpha, s.y * dt_alpha), pack16(s.z * dt_alpha, s.w * dt_alpha));
        *(__global uint2 *)(dt + dt_off + (size_t)row * dt_ld + (uint)(part * r + n)) = v;
    }
#endif
}
