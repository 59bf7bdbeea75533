/* Convolutions on AMX tiles, for CPU devices: bfloat16, sums in float32. The pixels that a band of outputs depends on are cut into left
 * tiles in an item's own scratch; the kernel is made into right ones first (tiles_pack of gemm_amx.cl). */
#define VW 16
#define ACT 1
#include "common.h"
#include "act.h"
#include "step.h"
#include "gemm.h"
#include "vectors.h"
#include "tiles.h"
#define PIECE_16
#include "patches.h"
#define WIDTH 64 /* columns that are ended together */

/* Up to 16 rows of the band from a place on become left tiles [depth]; rows beyond stay what they were. `spare`: 16 rows of 32 * depth
 * channels, for those that are no whole tiles' rows. */
inline void cut_tiles(__global uint *to, __global piece *spare, const patches *p, patch_place *at, int rows, int depth)
{
    const int K = p->kh * p->kw * p->channels;
    if (p->channels % 32) {
        for (int r = 0; r < rows; r++, next_place(p, at)) {
            cut_row(spare + r * 32 * depth, p, *at, (patch_column){0, 0, 0}, K);
            for (int k = K; k < 32 * depth; k++) spare[r * 32 * depth + k] = 0;
        }
        for (int k = 0; k < depth; k++)
            for (int r = 0; r < rows; r++) PAIRS(to + k * TILE, r) = first_pairs(spare + r * 32 * depth + 32 * k, 32);
        return;
    }
    const __global act_t *pixel[16]; /* of each row's first tap, be it there or not */
    int y[16], x[16];
    for (int r = 0; r < rows; r++, next_place(p, at)) {
        y[r] = at->i * p->stride + p->first_y, x[r] = at->j * p->stride + p->first_x;
        pixel[r] = p->x + (((ptrdiff_t)at->image * p->in_h + y[r]) * p->in_w + x[r]) * p->width;
    }
    for (int ky = 0; ky < p->kh; ky++)
        for (int kx = 0; kx < p->kw; kx++, to += p->channels / 32 * TILE)
            for (int r = 0; r < rows; r++) {
                const __global act_t *from = pixel[r] + ((ptrdiff_t)ky * p->in_w + kx) * p->width;
                const bool there = y[r] + ky >= 0 && y[r] + ky < p->in_h && x[r] + kx >= 0 && x[r] + kx < p->in_w;
                for (int c = 0; c < p->channels / 32; c++)
                    PAIRS(to + c * TILE, r) = there ? first_pairs(from + 32 * c, 32) : (uint16)(0);
            }
}

/* C = rows P^T (+ bias). Items (bands of `band` rows, groups of `cols` columns); band is a multiple of 32, cols of WIDTH. Scratch, in
 * words: the tiles' configuration 16, a block 32 x WIDTH, 16 rows of 16 * depth, and the band's tiles. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv_amx(P_PATCHES, const __global uint *P, __global act_t *C, uint c_off, int ldc, int M, int N, int band, int cols P_PLACE P_BIAS P_SCRATCH)
{
    const patches p = PATCHES;
    const int depth = (kh * kw * channels + 31) / 32, m0 = (int)get_global_id(0) * band, rows = min(band, M - m0);
    const int n_first = (int)get_global_id(1) * cols, n_last = min(N, n_first + cols), slot = slot_take(busy, slots);
    __global uint *config = (__global uint *)slot_at(scratch, (size_t)slot * slot_floats), *spare = config + 16 + 32 * WIDTH;
    __global uint *tiles = spare + 16 * 16 * depth;
    __global float *block = (__global float *)(config + 16);
    patch_place at = place_of(&p, m0);
    tiles_begin(config);
    for (int r = 0; r < rows; r += 16)
        cut_tiles(tiles + (size_t)(r / 16) * depth * TILE, (__global piece *)spare, &p, &at, min(16, rows - r), depth);
    for (int n0 = n_first; n0 < n_last; n0 += WIDTH) {
        at = place_of(&p, m0);
        for (int i = 0; i < rows; i += 32) {
            for (int h = 0; h < 2 && n0 + 32 * h < N; h++) {
                const __global uint *right = P + (size_t)(n0 / 16 + 2 * h) * depth * TILE;
                TILES_ZERO();
                TILES_PRODUCT(tiles + (size_t)(i / 16) * depth * TILE, depth, right, depth, depth)
                TILES_STORE(block + 32 * h, WIDTH);
            }
            for (int r = 0; r < min(32, rows - i); r++) {
                const size_t row = PLACE_AT(at) * ldc + c_off;
                next_place(&p, &at);
                UNROLL(j, WIDTH / 16)
                {
                    const int n = n0 + 16 * j, cnt = min(16, N - n);
                    float16 s = VEC(block + r * WIDTH, j);
                    if (cnt > 0) {
                        E_BIAS(s, n, cnt)
                        if (cnt == 16) ROUND(1, C, row + n, s);
                        else STN(1, C, row + n, s, cnt);
                    }
                }
            }
        }
    }
    TILES_END();
    slot_leave(busy, slot);
}
