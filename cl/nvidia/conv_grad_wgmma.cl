/* P[z][O][taps * channels] = dy^T patches over the z-th part of the outputs: the gradient of a convolution's kernel on Hopper (wgmma.h).
 * Rewritten PTX. 16-bit storage (ACT), float32 sums, which gemm_sum ends. dy [images * h * w, O] and the images pass through local
 * memory as the copy engine cuts them (patches.h), 64 places of the grid at a time; both are turned by the matrix unit.
 *
 *   BN, MI, DEPTH: channels of a tile, 64 outputs times MI, stages in local memory.   O and channels are multiples of 8.
 *
 * Groups: one a multiprocessor, `units` of them; each walks over its share of the tiles (z, tap, channels, outputs), the last one
 * fastest: those that run together read the same places. */
#include "common.h"
#include "ptx.h"
#define TA 1
#define TB 0
#include "copy_engine.h"
#include "wgmma.h"
#include "patches.h"
#define BLOCK 8192 /* bytes of 64 places of 64 columns */

/* A tile: its part of the blocks, where in the kernel it lies. */
typedef struct {
    int z, tap, n, m;
} grad_tile;

inline grad_tile grad_tile_at(int t, int taps, int across, int down)
{
    const grad_tile g = {t / (down * across * taps), t / (down * across) % taps, t / down % across * BN, t % down * BM};
    return g;
}

/* maps_y: of dy as an image of the grid's size; maps_x: of the images. A part is `steps` blocks of the grid. Items THREADS * units. */
__kernel GROUP(THREADS) void conv_grad_wgmma(const __global uchar *maps_y, uint map_y, const __global uchar *maps_x, uint map_x,
                                             __global float *restrict P, int O, int taps, int splits, int steps, int units,
                                             patch_grid grid)
{
    __local uchar __attribute__((aligned(1024))) space[STAGE * DEPTH + RING_BARRIERS];
    MIN_GROUPS(1);
    const uint base = LOCAL_ADDRESS(space);
    const ring p = ring_at(base, base + STAGE * DEPTH);
    const int id = (int)get_local_id(0), warp = id >> 5, lane = id & 31, unit = (int)get_global_id(0) / THREADS;
    const int down = (O + BM - 1) / BM, across = (grid.channels + BN - 1) / BN, all = splits * taps * across * down;
    if (id == 0) {
        open_ring(p);
        show_barriers();
    }
    barrier(CLK_LOCAL_MEM_FENCE);

    if (warp >= 8) { /* load */
        FEW_REGISTERS();
        if (id == LOADER) {
            const __global uchar *at_y = maps_y + map_y * 128, *at_x = maps_x + map_x * 128;
            for (int t = unit, i = 0; t < all; t += units) {
                const grad_tile g = grad_tile_at(t, taps, across, down);
                const int left = grid.left + g.tap % grid.kw, top = grid.top + g.tap / grid.kw;
                block_of b = block_at(&grid, g.z * steps);
                for (int kt = 0; kt < steps; kt++, i++) {
                    const uint to = stage_to_fill(p, i, STAGE);
                    for (int j = 0; j < MI; j++) load_patch(to + j * BLOCK, at_y, g.m + j * 64, b.j, b.i, b.image, FULL(i));
                    for (int j = 0; j < BN / 64; j++)
                        load_patch(to + A_BYTES + j * BLOCK, at_x, g.n + j * 64, b.j * grid.stride + left, b.i * grid.stride + top,
                                   b.image, FULL(i));
                    b.j += grid.wide;
                    if (b.j >= grid.w) b.j = 0, b.i += grid.tall;
                    if (b.i >= grid.h) b.i = 0, b.image++; /* beyond the last one there are zeros */
                }
            }
        }
    } else { /* multiply */
        MANY_REGISTERS();
        const int group = warp >> 2;
        float acc[MI][BN / 2];
        int i = group * steps, turn = 0, turns = 0;
        for (int t = unit; t < all; t += units, turn ^= 1) {
            if (turn != group) continue;
            const grad_tile g = grad_tile_at(t, taps, across, down);
            WAIT_TURN(turns);
            turns++;
            for (int kt = 0; kt < steps; kt++, i++) {
                USE(multiply64, MI, i, kt, false);
                if (kt > 0) RELEASE(i - 1);
            }
            PASS_TURN();
            WAIT_SUMS(MI);
            RELEASE(i - 1);
            i += steps;
            const int q = lane & 3, r = (warp & 3) * 16 + (lane >> 2);
            UNROLL for (int x = 0; x < MI; x++)
                UNROLL for (int h = 0; h < 2; h++)
                {
                    const int o = g.m + x * 64 + r + 8 * h;
                    __global float *row = P + (((size_t)g.z * O + o) * taps + g.tap) * grid.channels;
                    UNROLL for (int j = 0; j < BN / 8; j++)
                    {
                        const int c = g.n + 8 * j + 2 * q;
                        if (o < O && c < grid.channels)
                            *(__global float2 *)(row + c) = (float2)(acc[x][4 * j + 2 * h], acc[x][4 * j + 2 * h + 1]);
                    }
                }
        }
    }
}
