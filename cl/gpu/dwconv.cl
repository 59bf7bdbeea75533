/* Depthwise convolutions on GPUs: K x K taps, 3, 5 or 7, around each pixel, channels last [B*H*W, CHANNELS]. An item walks down COLS columns
 * of VW channels and keeps the sums of the K rows that are in work in registers, so that it loads each row once, a step ahead; what
 * neighbours in x load as well comes from the cache. More columns and fewer channels an item: the weights of each channel take
 * registers as well. A group is SLOTS items in x times TILE vectors of channels, these next to each other.
 * The taps of a tile's channels lie together in w [CHANNELS, 1, K, K]: a group reads them into local memory first.
 * CHANNELS is a multiple of VW, 1 or 2. Items (groups of columns, tile by tile; batch * chunks of `span` rows). */
#ifndef VW
#define VW 2
#endif
#include "common.h"
#include "dwconv.h"

#define FORWARD  1
#define GRADIENT 2
#define SUM      4
#ifndef PARTS
#define PARTS 7 /* the kernels that are built: each takes a compiler seconds */
#endif

#ifndef EVEN
#define EVEN 0 /* 1: COLS divides W */
#endif

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
        const int col = p.j + (EVEN && k >= PAD && k < PAD + COLS ? 0 : k - PAD);
        p.there[k] = p.mine && col >= 0 && col < W;
    }
    return p;
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

/* The item's taps; turned: the kernel turned round, as the backward towards the input has it. */
inline void weights(const __global TYPE(WT) *w, bool turned, __local float *all, vec *to)
{
    const __local float *own = group_taps(w, all);
#pragma unroll
    for (int k = 0; k < TAPS; k++) to[k] = tap_of(own, turned ? TAPS - 1 - k : k);
}

inline void store(__global act_t *y, const bool *there, const vec *v)
{
#pragma unroll
    for (int q = 0; q < COLS; q++)
        if (there[q + PAD]) *(__global RAW(ACT) *)(y + q * CHANNELS) = STORED(ACT, v[q]);
}

/* Row r of the kernel (`first`: which begins the sums) meets a row of the input. */
inline void convolve(const vec *v, const vec *w, vec bias, bool first, vec *sums)
{
#pragma unroll
    for (int q = 0; q < COLS; q++) {
        if (first) sums[q] = bias;
#pragma unroll
        for (int k = 0; k < K; k++) sums[q] += w[k] * v[q + k];
    }
}

/* Input row i is the last of output row i - PAD, ... the first of output row i + PAD; u: i's place in the turn of K steps. Rows of
 * sums that are none of the item's are left out, all of a group's alike. Out of the loop behind the last. */
#define STEP(u) \
    { \
        if (i >= p.last + PAD) break; \
        vec v[SEEN]; \
        values(next, v); \
        from += W * CHANNELS; \
        load(from, i + 1 < p.last + PAD && i + 1 >= 0 && i + 1 < H, p.there, next); \
        _Pragma("unroll") for (int r = 0; r < K; r++) { \
            const int row = i + PAD - r; \
            if (row >= p.first && row < p.last) convolve(v, w + r * K, bias, r == 0, acc[((u) + K - r) % K]); \
        } \
        if (i - PAD >= p.first) store(to, p.there, acc[((u) + 1) % K]); \
        to += W * CHANNELS; \
        i++; \
    }
#if K == 3
#define STEPS(S) S(0) S(1) S(2)
#elif K == 5
#define STEPS(S) S(0) S(1) S(2) S(3) S(4)
#else
#define STEPS(S) S(0) S(1) S(2) S(3) S(4) S(5) S(6)
#endif

#if PARTS & FORWARD
/* y[b,i,j,c] = bias + sum over k of kernel[c][k] x[b,i+dy,j+dx,c]. */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void dwconv(const __global act_t *restrict x, const __global TYPE(WT) *restrict kern, const __global float *restrict shift,
            __global act_t *restrict y, int H, int W, int span, int chunks, int biased, int turned)
{
    __local float taps[GROUP_TAPS];
    const place p = my_place(H, W, span, chunks);
    vec w[TAPS], acc[K][COLS], bias = TO_VEC(0.0f);
    RAW(ACT) next[SEEN];
    weights(kern, turned, taps, w);
    if (biased) bias = *(const __global vec *)(shift + p.c);
    for (int r = 0; r < K; r++)
        for (int q = 0; q < COLS; q++) acc[r][q] = bias;
    const __global act_t *from = x + p.at + ((ptrdiff_t)(p.first - PAD) * W - PAD) * CHANNELS;
    __global act_t *to = y + p.at + (ptrdiff_t)(p.first - 2 * PAD) * W * CHANNELS;
    load(from, p.first - PAD >= 0, p.there, next);
    for (int i = p.first - PAD;;) { STEPS(STEP) }
}
#endif

#if PARTS & GRADIENT
/* ---- gradients. DX 1: dx from dy too, as by the convolution's backward ---- */

#ifndef DX
#define DX 1
#endif
#if DX
#define P_DX        , const __global TYPE(WT) *restrict kern, __global act_t *restrict dx
#define IF_DX(what) what
#else
#define P_DX
#define IF_DX(what)
#endif

/* The item's own columns alone. */
inline void load_own(const __global act_t *x, bool row, const bool *there, RAW(ACT) *to)
{
#pragma unroll
    for (int q = 0; q < COLS; q++) to[q] = column(x + q * CHANNELS, row && there[q + PAD]);
}

inline void values_own(const RAW(ACT) *from, vec *v)
{
#pragma unroll
    for (int q = 0; q < COLS; q++) v[q] = VALUES(ACT, from[q]);
}

/* A row of dy meets the item's columns of a row of x, which that row's taps took to it. */
inline void correlate(const vec *v, const vec *x, vec *g)
{
#pragma unroll
    for (int k = 0; k < K; k++)
#pragma unroll
        for (int q = 0; q < COLS; q++) g[k] += x[q] * v[q + K - 1 - k];
}

/* Row i of dy, with the rows i - PAD to i + PAD of x that are the item's; u as STEP's. */
#define BACK(u) \
    { \
        if (i >= p.last + PAD) break; \
        vec v[SEEN]; \
        values(next, v); \
        values_own(next_x, xs[((u) + K - 1) % K]); \
        from += W * CHANNELS; \
        x += W * CHANNELS; \
        load(from, i + 1 < p.last + PAD && i + 1 >= 0 && i + 1 < H, p.there, next); \
        load_own(x, i + 1 + PAD < p.last, p.there, next_x); \
        _Pragma("unroll") for (int r = 0; r < K; r++) { \
            const int row = i + r - PAD; \
            if (row >= p.first && row < p.last) { \
                correlate(v, xs[((u) + r) % K], g + r * K); \
                IF_DX(convolve(v, w + (K - 1 - r) * K, TO_VEC(0.0f), r == K - 1, acc[((u) + 1 + r) % K]);) \
            } \
        } \
        if (i >= p.first && i < p.last) \
            _Pragma("unroll") for (int q = 0; q < COLS; q++) g[TAPS] += v[q + PAD]; \
        IF_DX(if (i - PAD >= p.first) store(dx, p.there, acc[((u) + 1) % K]); dx += W * CHANNELS;) \
        i++; \
    }

/* partial [batch*chunks][blocks][TAPS + 1][CHANNELS]: what each group's pixels of x give to dw, and of dy to the bias. An item's columns
 * of x are its own, so that x is read once and without neighbours. */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void dwconv_backward(const __global act_t *restrict x, const __global act_t *restrict dy, __global float *restrict partial, int H, int W,
                     int span, int chunks, int blocks P_DX)
{
    __local vec_t all[K * WG];
    const place p = my_place(H, W, span, chunks);
    vec g[TAPS + 1], xs[K][COLS];
    RAW(ACT) next[SEEN], next_x[COLS];
    for (int k = 0; k <= TAPS; k++) g[k] = TO_VEC(0.0f);
    for (int r = 0; r < K; r++)
        for (int q = 0; q < COLS; q++) xs[r][q] = TO_VEC(0.0f);
#if DX
    vec w[TAPS], acc[K][COLS];
    __local float taps[GROUP_TAPS];
    weights(kern, true, taps, w);
    for (int r = 0; r < K; r++)
        for (int q = 0; q < COLS; q++) acc[r][q] = TO_VEC(0.0f);
    dx += p.at + (ptrdiff_t)(p.first - 2 * PAD) * W * CHANNELS;
#endif
    const __global act_t *from = dy + p.at + ((ptrdiff_t)(p.first - PAD) * W - PAD) * CHANNELS;
    x += p.at + (size_t)p.first * W * CHANNELS;
    load(from, p.first - PAD >= 0, p.there, next);
    load_own(x, true, p.there, next_x);
    for (int i = p.first - PAD;;) { STEPS(BACK) }
    partial += ((size_t)get_global_id(1) * blocks + p.block) * (TAPS + 1) * CHANNELS;
    for (int r = 0; r < K; r++) share(g + r * K, K, all, p.slot, partial + r * K * CHANNELS);
    share(g + TAPS, 1, all, p.slot, partial + TAPS * CHANNELS);
}
#endif

#if PARTS & SUM
/* dw[c*TAPS+k] and, where wanted, db[c] += sum over parts, in a fixed order: OUTS neighbours of [LINES][CHANNELS] a group, summed by
 * LANES items each. */
#define OUTS  4
#ifndef LINES
#define LINES (TAPS + 1)
#endif
#ifndef LANES
#define LANES 32
#endif
__kernel __attribute__((reqd_work_group_size(OUTS * LANES, 1, 1)))
void dwconv_sum(const __global float *restrict partial, __global float *restrict dw, __global float *restrict db, int parts, int has_bias)
{
    __local float all[OUTS * LANES];
    const int outs = LINES * CHANNELS, l = (int)get_local_id(0), e = (int)get_global_id(0) / (OUTS * LANES) * OUTS + l % OUTS;
    const __global float *from = partial + min(e, outs - 1);
    float s = 0.0f;
    for (int first = l / OUTS; first < parts; first += 8 * LANES) {
        float v[8]; /* all on their way at once */
#pragma unroll
        for (int k = 0; k < 8; k++) v[k] = first + k * LANES < parts ? from[(size_t)(first + k * LANES) * outs] : 0.0f;
#pragma unroll
        for (int k = 0; k < 8; k++) s += v[k];
    }
    all[l] = s;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (l >= OUTS || e >= outs) return;
    for (int i = 1; i < LANES; i++) s += all[i * OUTS + l];
    if (e < TAPS * CHANNELS) dw[e % CHANNELS * TAPS + e / CHANNELS] += s;
    else if (has_bias) db[e % CHANNELS] += s;
}
#endif
