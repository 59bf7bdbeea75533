/* Depthwise convolutions on CPU devices, stride 1, channels last: x [images * H * W, C], y [images * OH * OW, C], C a multiple of 16,
 * t [C / 16][K * K + 1][16] (dw_pack): the taps and the bias. An item takes up to BLOCKS blocks of 16 channels of up to TILE columns and
 * walks down `span` rows of y. It reads each row of x once, in pieces as long as its channels, and widens it into a ring of the K rows
 * that an output depends on, block by block: so they stay in a core's cache and are read from there in a line. DOUBLED: x is
 * [images * H/2 * W/2, C] and is enlarged by 2 on the way into the ring, as upsample.cl has it. */
#undef VW
#define VW 16
#include "common.h"
#include "vectors.h"
#ifndef K
#define K 7
#endif
#ifndef WT
#define WT 0
#endif
#ifndef DOUBLED
#define DOUBLED 0
#endif
#define TAPS (K * K)
#define TILE 64             /* columns of y, at most */
#define COLS (WIDE ? 8 : 4) /* of them in registers */
#define SEEN (TILE + 2 * K) /* columns of x that they depend on, in whole steps of COLS or K */
#define BLOCKS 4
/* What a caller's registers are handed to must not become a call. */
#define INLINE inline __attribute__((always_inline))

/* w [C, 1, K, K], turned round for the backward towards the input, and a bias [C] or zeros. Items (C, TAPS + 1). */
__kernel void dw_pack(const __global TYPE(WT) *w, const __global float *bias, __global float *t, int C, int has_bias, int turned)
{
    const int c = (int)get_global_id(0), k = (int)get_global_id(1);
    if (c >= C || k > TAPS) return;
    const float v = k < TAPS ? LD(WT, w, c * TAPS + (turned ? TAPS - 1 - k : k)) : has_bias ? bias[c] : 0.0f;
    t[((size_t)(c / 16) * (TAPS + 1) + k) * 16 + c % 16] = v;
}

/* Where an item is: its channels, its columns and rows of y, and columns of x from `from` on. */
typedef struct {
    int c, blocks, j, n, first, last, from;
    size_t part;
} place;

inline place my_place(int OH, int OW, int C, int pad, int span, int tile)
{
    place p;
    const int g = (int)get_global_id(0), groups = (C / 16 + BLOCKS - 1) / BLOCKS, runs = (OH + span - 1) / span,
              tiles = (OW + tile - 1) / tile;
    p.c = 16 * BLOCKS * (g % groups);
    p.blocks = min(BLOCKS, (C - p.c) / 16);
    p.j = g / groups * tile;
    p.n = min(tile, OW - p.j);
    p.first = (int)get_global_id(1) * span;
    p.last = min(OH, p.first + span);
    p.from = p.j - pad;
    p.part = (get_global_id(2) * runs + get_global_id(1)) * tiles + g / groups;
    return p;
}

/* A row of each block stands `step` vectors from that of the one before. */
#define RING_STEP (K * SEEN)
#define ROW(ring, k) ((ring) + (size_t)(k)*SEEN * 16)

/* Columns `first` to first + n - 1 of row i of an image at x; zeros outside of it. The row below is asked for. */
inline void widen(__global float *to, int step, const __global act_t *x, int i, int first, int n, int H, int W, int C, int blocks)
{
    const bool there = i >= 0 && i < H;
    const int begin = there ? clamp(-first, 0, n) : n, end = there ? clamp(W - first, begin, n) : n;
    const __global act_t *row = x + ((size_t)(there ? i : 0) * W + first) * C;
    for (int j = begin; i + 1 < H && j < end; j++)
        for (int b = 0; b < blocks; b += 32 / (int)sizeof(act_t)) PREFETCH(row + (size_t)(W + j) * C + 16 * b);
    for (int b = 0; b < blocks; b++) {
        for (int j = 0; j < begin; j++) VEC(to, b * step + j) = (float16)(0.0f);
        for (int j = end; j < n; j++) VEC(to, b * step + j) = (float16)(0.0f);
    }
    for (int j = begin; j < end; j++)
        for (int b = 0; b < blocks; b++) VEC(to, b * step + j) = LDV(ACT, row, (size_t)j * C + 16 * b);
}

#if DOUBLED
/* The same of an image of twice x's size. */
inline void enlarge(__global float *to, int step, const __global act_t *x, int i, int first, int n, int H, int W, int C, int blocks)
{
    const bool there = i >= 0 && i < H;
    const int begin = there ? clamp(-first, 0, n) : n, end = there ? clamp(W - first, begin, n) : n, w = W / 2;
    const int near = there ? i / 2 : 0, far = clamp(i & 1 ? near + 1 : near - 1, 0, H / 2 - 1);
    const __global act_t *a = x + (size_t)near * w * C, *b = x + (size_t)far * w * C;
    for (int k = 0; k < blocks; k++) {
        for (int j = 0; j < begin; j++) VEC(to, k * step + j) = (float16)(0.0f);
        for (int j = end; j < n; j++) VEC(to, k * step + j) = (float16)(0.0f);
        if (begin == end) continue;
#define DOWN(column) (0.75f * LDV(ACT, a, (size_t)(column)*C + 16 * k) + 0.25f * LDV(ACT, b, (size_t)(column)*C + 16 * k))
        int from = (first + begin) / 2;
        float16 left = DOWN(max(from - 1, 0)), here = DOWN(from);
        for (int j = 2 * from - first; j < end; j += 2, from++) {
            const float16 right = DOWN(min(from + 1, w - 1));
            if (j >= begin) VEC(to, k * step + j) = 0.75f * here + 0.25f * left;
            if (j + 1 < end) VEC(to, k * step + j + 1) = 0.75f * here + 0.25f * right;
            left = here;
            here = right;
        }
#undef DOWN
    }
}
#define X_IMAGE(H, W) ((size_t)(H / 2) * (W / 2))
#define TAKE_ROW      enlarge
#else
#define X_IMAGE(H, W) ((size_t)(H) * (W))
#define TAKE_ROW      widen
#endif

/* COLS sums from column j on over the rows of taps ky to end - 1; `oldest`: the ring's row for the first tap. */
INLINE void convolve(float16 *acc, const __global float *ring, const __global float *t, int j, int oldest, int ky, int end)
{
    for (; ky < end; ky++) {
        const __global float *from = ROW(ring, (oldest + ky) % K) + 16 * j;
        float16 v[COLS + K - 1];
        UNROLL(s, COLS + K - 1) v[s] = VEC(from, s);
        UNROLL(k, K)
        {
            const float16 w = VEC(t, ky * K + k);
            UNROLL(q, COLS) acc[q] = fma(w, v[q + k], acc[q]);
        }
    }
}

/* Items (groups of BLOCKS blocks * tiles, runs, images): `tile` columns of y to a tile. Scratch: the ring. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void dw_conv(const __global act_t *x, const __global float *t,
                                                                     __global act_t *y, int H, int W, int OH, int OW, int C, int pad,
                                                                     int span, int tile P_SCRATCH)
{
    const place p = my_place(OH, OW, C, pad, span, tile);
    const int seen = (p.n + COLS - 1) / COLS * COLS + K - 1, slot = slot_take(busy, slots);
    __global float *ring = slot_at(scratch, (size_t)slot * slot_floats);
    x += get_global_id(2) * X_IMAGE(H, W) * C + p.c;
    y += (get_global_id(2) * (size_t)OH * OW + p.j) * C + p.c;
    t += (size_t)(p.c / 16) * (TAPS + 1) * 16;
    for (int k = 0; k < K - 1; k++) TAKE_ROW(ROW(ring, k), RING_STEP, x, p.first - pad + k, p.from, seen, H, W, C, p.blocks);
    for (int i = p.first, oldest = 0; i < p.last; i++, oldest = (oldest + 1) % K) {
        TAKE_ROW(ROW(ring, (oldest + K - 1) % K), RING_STEP, x, i - pad + K - 1, p.from, seen, H, W, C, p.blocks);
        for (int b = 0; b < p.blocks; b++)
            for (int j = 0; j < p.n; j += COLS) {
                const __global float *w = t + (size_t)b * (TAPS + 1) * 16;
                float16 acc[COLS];
                UNROLL(q, COLS) acc[q] = VEC(w, TAPS);
                convolve(acc, ROW(ring, b * K), w, j, oldest, max(0, pad - i), min(K, H + pad - i));
                UNROLL(q, COLS)
                if (j + q < p.n) STV(ACT, y, ((size_t)i * OW + j + q) * C + 16 * b, acc[q]);
            }
    }
    slot_leave(busy, slot);
}

/* sums[r][k] += g[j] * row r of x[j + k] over n columns, for `rows` (known when this is compiled) of two rows. */
INLINE void correlate(__global float *sums, const __global float *upper, const __global float *lower, const __global float *g, int n,
                      int rows)
{
    float16 s[2][K], v[2][K]; /* v: column j + k stands at (j + k) % K */
    UNROLL(k, K)
    {
        s[0][k] = VEC(sums, k), v[0][k] = VEC(upper, k);
        if (rows > 1) s[1][k] = VEC(sums, K + k), v[1][k] = VEC(lower, k);
    }
    for (int j = 0; j < n; j += K) UNROLL(u, K)
        {
            const float16 d = VEC(g, j + u);
            v[0][(u + K - 1) % K] = VEC(upper, j + u + K - 1);
            if (rows > 1) v[1][(u + K - 1) % K] = VEC(lower, j + u + K - 1);
            UNROLL(k, K)
            {
                s[0][k] = fma(d, v[0][(u + k) % K], s[0][k]);
                if (rows > 1) s[1][k] = fma(d, v[1][(u + k) % K], s[1][k]);
            }
        }
    UNROLL(k, K)
    {
        VEC(sums, k) = s[0][k];
        if (rows > 1) VEC(sums, K + k) = s[1][k];
    }
}

/* A row of dy against the rows of x in the ring, and its sum. */
inline void correlate_row(__global float *sums, const __global float *ring, const __global float *g, int n, int oldest, int ky, int end)
{
    float16 bias[2] = {VEC(sums, TAPS), (float16)(0.0f)};
    for (int j = 0; j < n; j += 2) UNROLL(u, 2) bias[u] += VEC(g, j + u);
    VEC(sums, TAPS) = bias[0] + bias[1];
    n = (n + K - 1) / K * K;
    for (; ky + 1 < end; ky += 2)
        correlate(sums + ky * K * 16, ROW(ring, (oldest + ky) % K), ROW(ring, (oldest + ky + 1) % K), g, n, 2);
    if (ky < end) correlate(sums + ky * K * 16, ROW(ring, (oldest + ky) % K), g, g, n, 1);
}

/* partial [part][TAPS + 1][C], a part for each tile of each run of each image: what its pixels give to the taps and the bias.
 * Items as dw_conv's. Scratch: the ring, a row of dy, and the sums. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void dw_grad(const __global act_t *x, const __global act_t *dy,
                                                                     __global float *partial, int H, int W, int OH, int OW, int C,
                                                                     int pad, int span, int tile P_SCRATCH)
{
    const place p = my_place(OH, OW, C, pad, span, tile);
    const int seen = (p.n + K - 1) / K * K + K - 1, slot = slot_take(busy, slots);
    __global float *ring = slot_at(scratch, (size_t)slot * slot_floats), *g = ROW(ring, K * BLOCKS), *sums = ROW(g, BLOCKS);
    for (int k = 0; k < (TAPS + 1) * BLOCKS; k++) VEC(sums, k) = (float16)(0.0f);
    for (int k = 0; k < SEEN * BLOCKS; k++) VEC(g, k) = (float16)(0.0f);
    x += get_global_id(2) * X_IMAGE(H, W) * C + p.c;
    dy += (get_global_id(2) * (size_t)OH * OW + p.j) * C + p.c;
    for (int k = 0; k < K - 1; k++) TAKE_ROW(ROW(ring, k), RING_STEP, x, p.first - pad + k, p.from, seen, H, W, C, p.blocks);
    for (int i = p.first, oldest = 0; i < p.last; i++, oldest = (oldest + 1) % K) {
        TAKE_ROW(ROW(ring, (oldest + K - 1) % K), RING_STEP, x, i - pad + K - 1, p.from, seen, H, W, C, p.blocks);
        widen(g, SEEN, dy, i, 0, p.n, OH, OW, C, p.blocks);
        for (int b = 0; b < p.blocks; b++)
            correlate_row(sums + b * (TAPS + 1) * 16, ROW(ring, b * K), ROW(g, b), p.n, oldest, max(0, pad - i), min(K, H + pad - i));
    }
    partial += p.part * (TAPS + 1) * C + p.c;
    for (int b = 0; b < p.blocks; b++)
        for (int k = 0; k <= TAPS; k++) GVEC(partial + (size_t)k * C, b) = VEC(sums, b * (TAPS + 1) + k);
    slot_leave(busy, slot);
}

/* dw [C, 1, K, K] and, where wanted, db [C] += sums over the parts in their order. Items (C, TAPS + 1). */
__kernel void dw_sum(const __global float *partial, __global float *dw, __global float *db, int C, int parts, int has_bias)
{
    const int c = (int)get_global_id(0), k = (int)get_global_id(1);
    float s = 0.0f;
    if (c >= C || k > TAPS || (k == TAPS && !has_bias)) return;
    for (int i = 0; i < parts; i++) s += partial[((size_t)i * (TAPS + 1) + k) * C + c];
    if (k < TAPS) dw[c * TAPS + k] += s;
    else db[c] += s;
}
