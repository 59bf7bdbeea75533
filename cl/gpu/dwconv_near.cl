/* Depthwise convolutions of small maps on GPUs, where walking down a column (dwconv.cl) leaves most of the device idle and waits for
 * each row: an item makes ROWS x COLS pixels of VW channels, and everything that these depend on is on its way at once.
 * Channels last [B*H*W, CHANNELS], taps w [CHANNELS, 1, K, K], K odd, stride 1, padding K / 2; bias [CHANNELS]. A group is SLOTS items
 * in x times TILE vectors of channels, whose taps it reads into local memory. Items (groups of columns, tile by tile; batch * runs of
 * ROWS rows). */
#ifndef VW
#define VW 2
#endif
#include "common.h"
#include "dwconv.h"

#ifndef ROWS
#define ROWS 1
#endif
#define DOWN (ROWS + K - 1) /* rows that an item's pixels depend on */

/* to[tap][LINE]: of the group's channels from `first` on, those that there are. All loads are on their way before the first store. */
#define LINE (TILE + 1) /* neighbours in w are of neighbouring taps: they go to different banks */
#define EACH ((TILE * VW * TAPS + WG - 1) / WG)
static void taps_of(const __global TYPE(WT) *w, int first, __local vec_t *to)
{
    __local float *all = (__local float *)to;
    const int l = (int)get_local_id(0);
    float v[EACH];
#pragma unroll
    for (int k = 0; k < EACH; k++) v[k] = LD(WT, w, min(first * TAPS + k * WG + l, CHANNELS * TAPS - 1));
#pragma unroll
    for (int k = 0; k < EACH; k++) {
        const int i = k * WG + l;
        if (i < TILE * VW * TAPS) all[i % TAPS * LINE * VW + i / TAPS] = v[k];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

/* y[b,i,j,c] = bias + sum over k of w[c][k] x[b,i+dy,j+dx,c]; turned: the kernel turned round, for the gradient of the input. */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void dwconv_near(const __global act_t *restrict x, const __global TYPE(WT) *restrict w, const __global float *restrict shift,
                 __global act_t *restrict y, int H, int W, int runs, int biased, int turned)
{
    __local vec_t all[LINE * TAPS];
    const int g = (int)get_global_id(0) / WG, l = (int)get_local_id(0), q = (int)get_global_id(1);
    const int tile = g % TILES * TILE, lane = l % TILE, c = (tile + lane) * VW;
    const int j = (g / TILES * SLOTS + l / TILE) * COLS, i = q % runs * ROWS;
    const bool mine = c < CHANNELS && j < W;
    const size_t at = (size_t)(q / runs) * H * W * CHANNELS + (mine ? c : 0);
    RAW(ACT) seen[DOWN][SEEN];
    x += at; /* outside of the map its edge is loaded, which takes no branch, and is no part of the sums */
#pragma unroll
    for (int r = 0; r < DOWN; r++)
#pragma unroll
        for (int k = 0; k < SEEN; k++)
            seen[r][k] = *(const __global RAW(ACT) *)(x + clamp(i + r - PAD, 0, H - 1) * W * CHANNELS + clamp(j + k - PAD, 0, W - 1) * CHANNELS);
    taps_of(w, tile * VW, all);
#pragma unroll
    for (int r = 0; r < DOWN; r++)
#pragma unroll
        for (int k = 0; k < SEEN; k++) {
            const int row = i + r - PAD, col = j + k - PAD;
            const bool there = (row >= 0) & (row < H) & (col >= 0) & (col < W);
            seen[r][k] = there ? seen[r][k] : (RAW(ACT))(0);
        }
    vec sum[ROWS][COLS], bias = TO_VEC(0.0f);
    if (biased && mine) bias = *(const __global vec *)(shift + c);
#pragma unroll
    for (int o = 0; o < ROWS; o++)
#pragma unroll
        for (int k = 0; k < COLS; k++) sum[o][k] = bias;
#pragma unroll
    for (int t = 0; t < TAPS; t++) {
        const vec tap = all[(turned ? TAPS - 1 - t : t) * LINE + lane];
#pragma unroll
        for (int o = 0; o < ROWS; o++)
#pragma unroll
            for (int k = 0; k < COLS; k++) sum[o][k] += tap * VALUES(ACT, seen[o + t / K][k + t % K]);
    }
#pragma unroll
    for (int o = 0; o < ROWS; o++)
#pragma unroll
        for (int k = 0; k < COLS; k++)
            if (mine && i + o < H && j + k < W)
                *(__global RAW(ACT) *)(y + at + ((size_t)(i + o) * W + j + k) * CHANNELS) = STORED(ACT, sum[o][k]);
}
