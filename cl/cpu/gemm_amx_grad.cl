/* Products over a long K on AMX tiles, for CPU devices: C = L^T R, both [K, ...] of bfloat16, as gradients of weights are. An item
 * sums a part of K for a block of C in its own scratch; the parts are summed by gemm_sum.cl. The left matrix's tiles cost a transpose:
 * it is the narrow one, be it A or B. MASK_A, MASK_B: dropout of L and of R; their scale is in alpha.
 * CUT: R's rows are cut out of images (patches.h), 32 at a time. */
#define VW 16
#ifdef CUT
#define ACT 1
#define PIECE_16
#endif
#include "common.h"
#include "act.h"
#include "step.h"
#include "gemm.h"
#include "vectors.h"
#include "tiles.h"
#ifdef CUT
#include "patches.h"
#define P_RIGHT P_PATCHES
#else
#define P_RIGHT const __global ushort *R, uint r_off, int ldr
#endif
#define DEPTH 8 /* tiles of K in scratch at once */

#ifdef MASK_A
#define A_KEPT tn_hash(step->seed, a_salt), a_threshold, a_width
#else
#define A_KEPT 0u, 0u, 0u
#endif
#ifdef MASK_B
#define B_KEPT tn_hash(step->seed, b_salt), b_threshold, b_width
#else
#define B_KEPT 0u, 0u, 0u
#endif

/* 32 columns of up to 32 rows of a matrix as two tiles, `next` words apart: columns c to c + 31 of `left` that there are, rows k0 to
 * `end` - 1; zeros else. threshold 0: nothing is dropped. */
inline void tiles_of_rows(__global uint *to, size_t next, const __global ushort *src, int ld, int k0, int end, int c, int cols,
                          bool transposed, uint seed, uint threshold, uint width)
{
    uint16 t[2][16];
    UNROLL(r, 16)
    {
        const int k = k0 + 2 * r, row = min(k, end - 1), below = min(k + 1, end - 1);
        uint16 x = first_pairs(src + (size_t)row * ld + c, k < end ? cols - c : 0);
        uint16 y = first_pairs(src + (size_t)below * ld + c, k + 1 < end ? cols - c : 0);
        if (threshold) {
            x = masked_pairs(x, kept32(seed, (uint)row * width + (uint)c, threshold));
            y = masked_pairs(y, kept32(seed, (uint)below * width + (uint)c, threshold));
        }
        pair_rows(&t[0][r], &t[1][r], x, y);
    }
    UNROLL(s, 2)
    {
        if (transposed) transpose_pairs(t[s]);
        tile_put(to + s * next, t[s]);
    }
}

/* `tall` by `wide` tiles of sums, in rows of 16 * wide floats, += DEPTH tiles of K at most. */
inline void add_products(__global float *sums, const __global uint *left, const __global uint *right, int tall, int wide, int depth,
                         bool first)
{
    for (int j = 0; j < wide; j += 2)
        for (int i = 0; i < tall; i += 2) {
            __global float *at = sums + ((size_t)i * 16 * wide + j) * 16;
            if (first) TILES_ZERO();
            else TILES_LOAD(at, 16 * wide);
            TILES_PRODUCT(left + i * DEPTH * TILE, DEPTH, right + j * DEPTH * TILE, DEPTH, depth)
            TILES_STORE(at, 16 * wide);
        }
}

inline void put_row(__global float *to, float16 v, int cnt)
{
    if (cnt >= 16) GVEC(to, 0) = v;
    else
        for (int k = 0; k < cnt; k++) to[k] = v[k];
}

/* Items (blocks of `wide` tiles of R's columns, blocks of `tall` tiles of L's, splits * batch); both even. P [batch][splits] of
 * [left_cols][right_cols], or of its transpose where `turned`. Scratch, in words: 16, 256 * tall * wide, and the tiles DEPTH *
 * (tall + wide); with CUT also 256 * wide. `rows` of K go to a split, a multiple of 32. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
gemm_amx_grad(P_RIGHT, const __global ushort *L, uint l_off, int ldl, __global float *P, int left_cols, int right_cols, int K, int rows, int splits, int tall, int wide, int turned, uint l_step,
              uint r_step P_STEP P_MASK_A P_MASK_B P_SCRATCH)
{
    const int j0 = (int)get_global_id(0) * 16 * wide, i0 = (int)get_global_id(1) * 16 * tall, z = (int)get_global_id(2);
    const int k_first = z % splits * rows, k_end = min(K, k_first + rows);
    const __global ushort *l = L + l_off + (size_t)(z / splits) * l_step;
    const int slot = slot_take(busy, slots);
    __global uint *config = (__global uint *)slot_at(scratch, (size_t)slot * slot_floats);
    __global float *sums = (__global float *)(config + 16);
    __global uint *left = (__global uint *)(sums + 256 * tall * wide), *right = left + tall * DEPTH * TILE;
#ifdef CUT
    const patches p = PATCHES;
    __global piece *r = (__global piece *)(right + wide * DEPTH * TILE);
    const patch_column column = column_of(&p, j0);
    patch_place at = place_of(&p, k_first);
#else
    const __global ushort *r = R + r_off + (size_t)(z / splits) * r_step;
#endif
    tall = min(tall, (left_cols - i0 + 31) / 32 * 2);
    wide = min(wide, (right_cols - j0 + 31) / 32 * 2);
    tiles_begin(config);
    for (int k0 = k_first; k0 < k_end; k0 += 32 * DEPTH) {
        const int depth = (min(32 * DEPTH, k_end - k0) + 31) / 32;
        for (int k = 0; k < depth; k++) {
            for (int i = 0; i < tall; i += 2)
                tiles_of_rows(left + (i * DEPTH + k) * TILE, DEPTH * TILE, l, ldl, k0 + 32 * k, k_end, i0 + 16 * i, left_cols, true,
                              A_KEPT);
#ifdef CUT
            const int cols = min(16 * wide, right_cols - j0), there = min(32, k_end - k0 - 32 * k);
            for (int i = 0; i < there; i++, next_place(&p, &at)) cut_row(r + (size_t)i * 16 * wide, &p, at, column, cols);
            for (int j = 0; j < wide; j += 2)
                tiles_of_rows(right + (j * DEPTH + k) * TILE, DEPTH * TILE, r, 16 * wide, 0, there, 16 * j, cols, false, B_KEPT);
#else
            for (int j = 0; j < wide; j += 2)
                tiles_of_rows(right + (j * DEPTH + k) * TILE, DEPTH * TILE, r, ldr, k0 + 32 * k, k_end, j0 + 16 * j, right_cols,
                              false, B_KEPT);
#endif
        }
        add_products(sums, left, right, tall, wide, depth, k0 == k_first);
    }
    TILES_END();
    __global float *to = P + (size_t)z * left_cols * right_cols;
    for (int i = 0; i < 16 * tall; i += 16)
        for (int j = 0; j < wide; j++) {
            float16 t[16];
            UNROLL(c, 16) t[c] = VEC(sums + (size_t)(i + c) * 16 * wide, j);
            if (turned) transpose16(t);
            const int row = turned ? j0 + 16 * j : i0 + i, col = turned ? i0 + i : j0 + 16 * j;
            const int n_rows = turned ? right_cols : left_cols, n_cols = turned ? left_cols : right_cols;
            for (int c = 0; c < 16 && row + c < n_rows; c++) put_row(to + (size_t)(row + c) * n_cols + col, t[c], n_cols - col);
        }
    slot_leave(busy, slot);
}
