/* Depthwise 3x3 convolutions on GPUs, padding 1, channels last [B*H*W, CHANNELS]. An item walks down COLS columns of VW channels and
 * keeps what it needs of the rows above in registers, so that it loads each row once, a step ahead; what neighbours in x load as well
 * comes from the cache. More columns and fewer channels an item: the weights of each channel take registers as well. A group is
 * SLOTS items in x times TILE vectors of channels, these next to each other.
 * CHANNELS is a multiple of VW, 1 or 2. Items (groups of columns, tile by tile; batch * chunks of `span` rows). */
#ifndef VW
#define VW 2
#endif
#include "common.h"

/* VW channels as they lie in memory, in one access: RAW(t), to floats and back. */
#define RAW(t)       CAT(RAW_, t)
#define VALUES(t, w) CAT(values_, t)(w)
#define STORED(t, v) CAT(stored_, t)(v)
typedef vec vec_t; /* CAT does not expand inside CAT */
#define RAW_0 vec_t
inline vec values_0(vec w) { return w; }
inline vec stored_0(vec v) { return v; }
#if VW == 1
#define RAW_1 ushort
#define RAW_2 ushort
inline float values_1(ushort w) { return as_float((uint)w << 16); }
inline float values_2(ushort w) { return vload_half(0, (const half *)&w); }
inline ushort stored_1(float v) { return tn_bf16(v); }
inline ushort stored_2(float v)
{
    ushort h;
    vstore_half_rte(v, 0, (half *)&h);
    return h;
}
#else
#define RAW_1 uint
#define RAW_2 uint
inline float2 values_1(uint w) { return (float2)(as_float(w << 16), as_float(w & 0xffff0000u)); }
inline float2 values_2(uint w)
{
    const ushort h[2] = {(ushort)w, (ushort)(w >> 16)};
    return vload_half2(0, (const half *)h);
}
/* As tn_bf16; one test for NaN serves both. */
inline uint stored_1(float2 v)
{
    const uint2 u = as_uint2(v);
    uint2 r = u + 0x7fffu + ((u >> 16) & 1u);
    if (isunordered(v.x, v.y)) r = select(r, u | 0x400000u, isnan(v));
    return r.x >> 16 | (r.y & 0xffff0000u);
}
inline uint stored_2(float2 v)
{
    ushort h[2];
    vstore_half2_rte(v, 0, (half *)h);
    return h[0] | (uint)h[1] << 16;
}
#endif

#ifndef CHANNELS
#define CHANNELS 64
#endif
#ifndef TILE
#define TILE 16
#endif
#ifndef SLOTS
#define SLOTS 8
#endif
#ifndef FLIP
#define FLIP 0 /* 1: the kernel turned round, which is the backward towards the input */
#endif
#ifndef COLS
#define COLS 4
#endif
#ifndef EVEN
#define EVEN 0 /* 1: COLS divides W */
#endif
#define SEEN  (COLS + 2) /* columns that an item's outputs depend on */
#define WG    (TILE * SLOTS)
#define TILES ((CHANNELS / VW + TILE - 1) / TILE)

/* Where an item is: its channels, its first column and rows, and which of the columns it sees are there. */
typedef struct {
    int slot, block, c, j, first, last;
    size_t at; /* of its first column in row 0 of its image */
    bool mine, there[SEEN];
} place;

inline place my_place(int H, int W, int span, int chunks)
{
    place p;
    const int g = (int)get_global_id(0) / WG, l = (int)get_local_id(0), q = (int)get_global_id(1);
    const int c = (g % TILES * TILE + l % TILE) * VW;
    p.slot = l;
    p.block = g / TILES;
    p.mine = c < CHANNELS;
    p.c = p.mine ? c : 0;
    p.j = (p.block * SLOTS + l / TILE) * COLS;
    p.first = q % chunks * span;
    p.last = min(H, p.first + span);
    p.at = ((size_t)(q / chunks) * H * W + p.j) * CHANNELS + p.c;
    for (int k = 0; k < SEEN; k++) {
        const int col = p.j + (EVEN && k > 0 && k <= COLS ? 0 : k - 1);
        p.there[k] = p.mine && col >= 0 && col < W;
    }
    return p;
}

inline RAW(ACT) column(const __global act_t *x, bool there)
{
    RAW(ACT) w = 0;
    if (there) w = *(const __global RAW(ACT) *)x;
    return w;
}

/* The columns that an item sees in a row, from the one at x on; nothing outside of the image. */
inline void load(const __global act_t *x, bool row, const bool *there, RAW(ACT) *to)
{
#pragma unroll
    for (int k = 0; k < SEEN; k++) to[k] = column(x + k * CHANNELS, row && there[k]);
}

inline void values(const RAW(ACT) *from, vec *v)
{
#pragma unroll
    for (int k = 0; k < SEEN; k++) v[k] = VALUES(ACT, from[k]);
}

/* From [CHANNELS,1,3,3]. */
inline void weights(const __global float *from, int c, vec *w)
{
    from += c * 9;
#pragma unroll
    for (int k = 0; k < 9; k++) {
        const int at = FLIP ? 8 - k : k;
#if VW == 1
        w[k] = from[at];
#else
        w[k] = (vec)(from[at], from[9 + at]);
#endif
    }
}

inline void store(__global act_t *y, const bool *there, const vec *v)
{
#pragma unroll
    for (int q = 0; q < COLS; q++)
        if (there[q + 1]) *(__global RAW(ACT) *)(y + q * CHANNELS) = STORED(ACT, v[q]);
}

/* A row of the input, v, is the last of the output row above it (top), the middle of its own and the first of the one below. */
inline void convolve(const vec *v, const vec *w, vec *top, vec *middle, vec *bottom)
{
#pragma unroll
    for (int q = 0; q < COLS; q++) bottom[q] = w[0] * v[q];
#pragma unroll
    for (int k = 0; k < 3; k++)
#pragma unroll
        for (int q = 0; q < COLS; q++) {
            top[q] += w[6 + k] * v[q + k];
            middle[q] += w[3 + k] * v[q + k];
            if (k > 0) bottom[q] += w[k] * v[q + k];
        }
}

/* Input row i; out of the loop behind the last. */
#define STEP(top, middle, bottom) \
    { \
        if (i > p.last) break; \
        vec v[SEEN]; \
        values(next, v); \
        from += W * CHANNELS; \
        load(from, i < p.last && i + 1 < H, p.there, next); \
        convolve(v, w, top, middle, bottom); \
        if (i > p.first) store(to, p.there, top); \
        to += W * CHANNELS; \
        i++; \
    }

/* y[b,i,j,c] = sum over k of kernel[c][k] x[b,i+dy,j+dx,c]. */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void dwconv(const __global act_t *restrict x, const __global float *restrict kernel3, __global act_t *restrict y, int H, int W, int span,
            int chunks)
{
    const place p = my_place(H, W, span, chunks);
    vec w[9], a[COLS], b[COLS], d[COLS];
    RAW(ACT) next[SEEN];
    weights(kernel3, p.c, w);
    for (int q = 0; q < COLS; q++) a[q] = b[q] = TO_VEC(0.0f);
    const __global act_t *from = x + p.at + ((ptrdiff_t)(p.first - 1) * W - 1) * CHANNELS;
    __global act_t *to = y + p.at + (ptrdiff_t)(p.first - 2) * W * CHANNELS;
    load(from, p.first > 0, p.there, next);
    for (int i = p.first - 1;;) {
        STEP(a, b, d)
        STEP(b, d, a)
        STEP(d, a, b)
    }
}

/* A row of dy is turned into dx by the kernel turned round (FLIP 1: w), and meets the rows of x above it, beside it and below it in
 * g, the gradient of w as it lies here. */
inline void correlate(const vec *v, const vec *above, const vec *beside, const vec *below, vec *g)
{
#pragma unroll
    for (int k = 0; k < 3; k++)
#pragma unroll
        for (int q = 0; q < COLS; q++) {
            g[6 + k] += above[q] * v[q + k];
            g[3 + k] += beside[q] * v[q + k];
            g[k] += below[q] * v[q + k];
        }
}

/* The item's own columns alone. */
inline void load_own(const __global act_t *x, bool row, const bool *there, RAW(ACT) *to)
{
#pragma unroll
    for (int q = 0; q < COLS; q++) to[q] = column(x + q * CHANNELS, row && there[q + 1]);
}

inline void values_own(const RAW(ACT) *from, vec *v)
{
#pragma unroll
    for (int q = 0; q < COLS; q++) v[q] = VALUES(ACT, from[q]);
}

#define BACK(top, middle, bottom, above, beside, below) \
    { \
        if (i > p.last) break; \
        vec v[SEEN]; \
        values(next, v); \
        values_own(next_x, below); \
        from += W * CHANNELS; \
        x += W * CHANNELS; \
        load(from, i < p.last && i + 1 < H, p.there, next); \
        load_own(x, i + 2 < p.last, p.there, next_x); \
        convolve(v, w, top, middle, bottom); \
        correlate(v, above, beside, below, g); \
        if (i > p.first) store(dx, p.there, top); \
        dx += W * CHANNELS; \
        i++; \
    }

/* The group's sums of three g over its slots -> partial [3][CHANNELS]. */
inline void share(const vec *g, __local vec_t *all, const place *p, __global float *partial)
{
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
    for (int k = 0; k < 3; k++) all[k * WG + p->slot] = g[k];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int o = p->slot; o < 3 * TILE; o += WG) {
        const int k = o / TILE, lane = o % TILE, c = ((int)get_global_id(0) / WG % TILES * TILE + lane) * VW;
        vec s = TO_VEC(0.0f);
        for (int i = 0; i < SLOTS; i++) s += all[k * WG + i * TILE + lane];
        if (c < CHANNELS) *(__global vec *)(partial + (FLIP ? 2 - k : k) * CHANNELS + c) = s;
    }
}

/* dx from dy as by the convolution's backward, and partial [batch*chunks][blocks][9][CHANNELS]: what each group's pixels give to dw.
 * An item's columns of x are its own, so that x is read once and without neighbours. */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void dwconv_backward(const __global act_t *restrict x, const __global act_t *restrict dy, const __global float *restrict kernel3,
                     __global act_t *restrict dx, __global float *restrict partial, int H, int W, int span, int chunks, int blocks)
{
    __local vec_t all[3 * WG];
    const place p = my_place(H, W, span, chunks);
    vec w[9], g[9], a[COLS], b[COLS], d[COLS], xa[COLS], xb[COLS], xd[COLS];
    RAW(ACT) next[SEEN], next_x[COLS];
    weights(kernel3, p.c, w);
    for (int k = 0; k < 9; k++) g[k] = TO_VEC(0.0f);
    for (int q = 0; q < COLS; q++) a[q] = b[q] = xa[q] = xb[q] = TO_VEC(0.0f);
    const __global act_t *from = dy + p.at + ((ptrdiff_t)(p.first - 1) * W - 1) * CHANNELS;
    dx += p.at + (ptrdiff_t)(p.first - 2) * W * CHANNELS;
    x += p.at + (size_t)p.first * W * CHANNELS;
    load(from, p.first > 0, p.there, next);
    load_own(x, true, p.there, next_x);
    for (int i = p.first - 1;;) {
        BACK(a, b, d, xa, xb, xd)
        BACK(b, d, a, xb, xd, xa)
        BACK(d, a, b, xd, xa, xb)
    }
    partial += ((size_t)get_global_id(1) * blocks + p.block) * 9 * CHANNELS;
    share(g, all, &p, partial + (FLIP ? 6 : 0) * CHANNELS);
    share(g + 3, all, &p, partial + 3 * CHANNELS);
    share(g + 6, all, &p, partial + (FLIP ? 0 : 6) * CHANNELS);
}

/* dw[c*9+k] += sum over parts, in a fixed order: OUTS neighbours of [9][CHANNELS] a group, summed by LANES items each. */
#define OUTS  4
#ifndef LANES
#define LANES 32
#endif
__kernel __attribute__((reqd_work_group_size(OUTS * LANES, 1, 1)))
void dwconv_sum(const __global float *restrict partial, __global float *restrict dw, int parts)
{
    __local float all[OUTS * LANES];
    const int l = (int)get_local_id(0), e = (int)get_global_id(0) / (OUTS * LANES) * OUTS + l % OUTS;
    const __global float *from = partial + min(e, 9 * CHANNELS - 1);
    float s = 0.0f;
    for (int first = l / OUTS; first < parts; first += 8 * LANES) {
        float v[8]; /* all on their way at once */
#pragma unroll
        for (int k = 0; k < 8; k++) v[k] = first + k * LANES < parts ? from[(first + k * LANES) * 9 * CHANNELS] : 0.0f;
#pragma unroll
        for (int k = 0; k < 8; k++) s += v[k];
    }
    all[l] = s;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (l >= OUTS || e >= 9 * CHANNELS) return;
    for (int i = 1; i < LANES; i++) s += all[i * OUTS + l];
    dw[e % CHANNELS * 9 + e / CHANNELS] += s;
}
