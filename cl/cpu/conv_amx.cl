/* Convolutions on AMX tiles, for CPU devices: bfloat16, sums in float32. The rows of pixels that a band of outputs depends on are cut into
 * an item's own scratch, where tiles take them from as they lie; the kernel is made into tiles first (tiles_pack of gemm_amx.cl). */
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

/* C = rows P^T (+ bias). Items (bands of `band` rows, groups of `cols` columns); band is a multiple of 32, cols of WIDTH. Scratch, in
 * words: the tiles' configuration 16, a block 32 x WIDTH, and the band's rows, `pitch` words each. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
conv_amx(P_PATCHES, const __global uint *P, __global act_t *C, uint c_off, int ldc, int M, int N, int band, int cols,
         int pitch P_PLACE P_BIAS P_SCRATCH)
{
    const patches p = PATCHES;
    const int K = kh * kw * channels, depth = (K + 31) / 32, m0 = (int)get_global_id(0) * band, rows = min(band, M - m0);
    const int n_first = (int)get_global_id(1) * cols, n_last = min(N, n_first + cols), slot = slot_take(busy, slots);
    __global uint *config = (__global uint *)slot_at(scratch, (size_t)slot * slot_floats), *left = config + 16 + 32 * WIDTH;
    __global float *block = (__global float *)(config + 16);
    patch_place at = place_of(&p, m0);
    tiles_begin(config);
    for (int r = 0; r < rows; r++) {
        __global piece *to = (__global piece *)(left + (size_t)r * pitch);
        cut_row(to, &p, at, (patch_column){0, 0, 0}, K);
        for (int k = K; k < 32 * depth; k++) to[k] = 0;
        next_place(&p, &at);
    }
    for (int n0 = n_first; n0 < n_last; n0 += WIDTH) {
        at = place_of(&p, m0);
        for (int i = 0; i < rows; i += 32) {
            for (int h = 0; h < 2 && n0 + 32 * h < N; h++) {
                const __global uint *right = P + (size_t)(n0 / 16 + 2 * h) * depth * TILE;
                TILES_ZERO();
                TILES_PRODUCT_ROWS(left + (size_t)i * pitch, pitch, right, depth, depth)
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
