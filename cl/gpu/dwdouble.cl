/* Depthwise 3x3 convolutions, stride 1 and zeros around, of maps that are enlarged by 2 on the way: p [B*h*w, CHANNELS] is resized
 * bilinearly, align_corners=False, to U [B*2h*2w, CHANNELS], which nobody stores, and y [B*2h*2w, CHANNELS] is the convolution of
 * U. Channels last; K is 3. An item walks down COLS columns of p, which divide w, of VW channels; a group is SLOTS items in x times
 * TILE vectors of channels. Along an axis U is (3 p + its neighbour) / 4, the border repeated, so that with a border of zeros
 *   y[2r], y[2r + 1] = sums over p[r - 1 .. r + 1] with the taps of both put together,
 *   dp[r] = the sum over taps t of w[t] n[2r - t] / 4, n[i] = dy[i] + 3 dy[i + 1] + 3 dy[i + 2] + dy[i + 3],
 * but for the first and the last r: there U would go on behind the border where the convolution has zeros, and the difference is
 * taken off. Items (groups of columns, tile by tile; batch * chunks of `span` rows of p). */
#ifndef VW
#define VW 2
#endif
#include "common.h"
#include "dwconv.h"

#define FORWARD  1
#define GRADIENT 2
#ifndef PARTS
#define PARTS 3 /* the kernels that are built */
#endif

/* Where an item is: its channels, its first column, its rows of p, and whether its columns end at a border. */
typedef struct {
    int slot, block, c, j, first, last;
    size_t image;
    bool mine, left, right;
} place;

inline place my_place(int w, int h, int span, int chunks)
{
    place p;
    const int g = (int)get_global_id(0) / WG, l = (int)get_local_id(0), q = (int)get_global_id(1);
    const int c = (g % TILES * TILE + l % TILE) * VW;
    p.slot = l;
    p.block = g / TILES;
    p.j = (p.block * SLOTS + l / TILE) * COLS;
    p.mine = c < CHANNELS && p.j < w;
    p.c = p.mine ? c : 0;
    p.j = p.mine ? p.j : 0;
    p.left = p.j == 0;
    p.right = p.j + COLS == w;
    p.image = (size_t)(q / chunks);
    p.first = q % chunks * span;
    p.last = min(h, p.first + span);
    return p;
}

#if PARTS & FORWARD
#ifndef STATS
#define STATS 0 /* 1: the statistics of y, as it is stored, by group and channel */
#endif
#if STATS
#define P_STATS , __global float *restrict means, __global float *restrict squares
#else
#define P_STATS
#endif
#define WIDE (2 * COLS + 2) /* columns of U that an item's outputs depend on */

/* Columns j - 1 to j + COLS of p, from j on; before and behind: where the first and the last lie. */
inline void load(const __global act_t *p, int before, int behind, RAW(ACT) *to)
{
    to[0] = *(const __global RAW(ACT) *)(p + before);
#pragma unroll
    for (int k = 0; k < COLS; k++) to[k + 1] = *(const __global RAW(ACT) *)(p + k * CHANNELS);
    to[COLS + 1] = *(const __global RAW(ACT) *)(p + behind);
}

/* Columns 2j - 1 to 2j + 2 COLS of 4 U in a row of p; zeros outside. */
inline void widen(const RAW(ACT) *from, const place *p, vec *e)
{
    vec v[COLS + 2];
#pragma unroll
    for (int k = 0; k < COLS + 2; k++) v[k] = VALUES(ACT, from[k]);
#pragma unroll
    for (int k = 0; k <= COLS; k++) {
        e[2 * k] = 3.0f * v[k] + v[k + 1];
        e[2 * k + 1] = 3.0f * v[k + 1] + v[k];
    }
    if (p->left) e[0] = TO_VEC(0.0f);
    if (p->right) e[WIDE - 1] = TO_VEC(0.0f);
}

/* s += a row of taps over a row of U. */
inline void convolve(const vec *e, const vec *w, vec *s)
{
#pragma unroll
    for (int k = 0; k < K; k++)
#pragma unroll
        for (int q = 0; q < 2 * COLS; q++) s[q] += w[k] * e[q + k];
}

inline void begin(vec bias, vec *s)
{
#pragma unroll
    for (int q = 0; q < 2 * COLS; q++) s[q] = bias;
}

/* Sums of y less its first value, and of the square of that: n values make the first one's distance from the mean at most sqrt(n)
 * deviations, so n roundings are lost at worst. */
typedef struct {
    vec shift, sum, square;
} tally;

inline void store(__global act_t *y, const vec *s, bool first, tally *t)
{
#pragma unroll
    for (int q = 0; q < 2 * COLS; q++) {
        const RAW(ACT) w = STORED(ACT, s[q]);
        *(__global RAW(ACT) *)(y + q * CHANNELS) = w;
#if STATS
        const vec v = VALUES(ACT, w);
        if (q == 0 && first) t->shift = v;
        t->sum += v - t->shift;
        t->square += (v - t->shift) * (v - t->shift);
#endif
    }
}

#if STATS
/* An item's count of values, their mean and the sum of their squared deviations -> the group's, by channel: means, squares [CHANNELS]. */
inline void put_stats(const tally *t, const place *p, int w, int each, __local vec_t *all, __global float *means, __global float *squares)
{
    const int slots = min(SLOTS, (w - p->block * SLOTS * COLS) / COLS);
    const float inv = 1.0f / each;
    all[p->slot] = t->shift + t->sum * inv;
    all[WG + p->slot] = t->square - t->sum * t->sum * inv;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (p->slot >= TILE || !p->mine) return;
    vec mean = TO_VEC(0.0f), square = TO_VEC(0.0f);
    for (int i = 0; i < slots; i++) mean += all[i * TILE + p->slot];
    mean /= (float)slots;
    for (int i = 0; i < slots; i++) {
        const vec d = all[i * TILE + p->slot] - mean;
        square += all[WG + i * TILE + p->slot] + each * d * d;
    }
    *(__global vec *)(means + p->c) = mean;
    *(__global vec *)(squares + p->c) = fmax(square, 0.0f);
}
#endif

/* What rows r - 1 to r + 1 of 4 U [in columns only] give to row 2r and to row 2r + 1: the taps of both axes' resizing. */
inline void put_together(const __local float *own, vec *even, vec *odd)
{
#pragma unroll
    for (int k = 0; k < K; k++) {
        const vec a = tap_of(own, k) * 0.0625f, b = tap_of(own, K + k) * 0.0625f, c = tap_of(own, 2 * K + k) * 0.0625f;
        even[k] = 3.0f * a + b;
        even[K + k] = a + 3.0f * (b + c);
        even[2 * K + k] = c;
        odd[k] = a;
        odd[K + k] = 3.0f * (a + b) + c;
        odd[2 * K + k] = b + 3.0f * c;
    }
}

/* Takes off what row `row` of the taps made of U behind the border, which repeats it. */
inline void take_off(const __local float *own, int row, const vec *e, vec *s)
{
    vec w[K];
#pragma unroll
    for (int k = 0; k < K; k++) w[k] = tap_of(own, row * K + k) * -0.25f;
    convolve(e, w, s);
}

/* Row r of p is e[u + 1], the one before it e[u]. Out of the loop behind the last. */
#define STEP(u) \
    { \
        if (r >= p.last) break; \
        const vec *above = e[u], *here = e[((u) + 1) % 3]; \
        vec *below = e[((u) + 2) % 3], s[2 * COLS]; \
        widen(next, &p, below); \
        load(from + min(r + 2, h - 1) * row, before, behind, next); \
        begin(bias, s); \
        convolve(above, even, s); \
        convolve(here, even + K, s); \
        convolve(below, even + 2 * K, s); \
        if (r == 0) take_off(own, 0, here, s); \
        store(to, s, r == p.first, &stats); \
        begin(bias, s); \
        convolve(above, odd, s); \
        convolve(here, odd + K, s); \
        convolve(below, odd + 2 * K, s); \
        if (r == h - 1) take_off(own, 2, here, s); \
        store(to + 2 * row, s, false, &stats); \
        to += 4 * row; \
        r++; \
    }

/* y[b,i,j,c] = bias + sum over k of kernel[c][k] U[b,i+dy,j+dx,c]; means, squares [batch*chunks][groups in x][CHANNELS]. */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void dwdouble(const __global act_t *restrict x, const __global TYPE(WT) *restrict kern, const __global float *restrict shift,
              __global act_t *restrict y, int h, int w, int span, int chunks, int biased P_STATS)
{
    __local float taps[GROUP_TAPS];
    const place p = my_place(w, h, span, chunks);
    const __local float *own = group_taps(kern, taps);
    tally stats = {TO_VEC(0.0f), TO_VEC(0.0f), TO_VEC(0.0f)};
    const int row = w * CHANNELS, before = p.left ? 0 : -CHANNELS, behind = (COLS - (p.right ? 1 : 0)) * CHANNELS;
    const __global act_t *from = x + (p.image * h * w + p.j) * CHANNELS + p.c;
    __global act_t *to = y + (p.image * h * w * 4 + (size_t)p.first * 4 * w + 2 * p.j) * CHANNELS + p.c;
    vec even[TAPS], odd[TAPS], e[3][WIDE], bias = TO_VEC(0.0f);
    RAW(ACT) next[COLS + 2];
    put_together(own, even, odd);
    if (biased) bias = *(const __global vec *)(shift + p.c);
    load(from + max(p.first - 1, 0) * row, before, behind, next);
    widen(next, &p, e[0]);
    load(from + p.first * row, before, behind, next);
    widen(next, &p, e[1]);
    load(from + min(p.first + 1, h - 1) * row, before, behind, next);
    for (int r = p.mine ? p.first : p.last;;) { STEP(0) STEP(1) STEP(2) }
#if STATS
    __local vec_t all[2 * WG];
    const size_t line = (size_t)get_global_id(1) * ((w + SLOTS * COLS - 1) / (SLOTS * COLS)) + p.block;
    put_stats(&stats, &p, w, 4 * COLS * (p.last - p.first), all, means + line * CHANNELS, squares + line * CHANNELS);
#endif
}
#endif

#if PARTS & GRADIENT
/* ---- gradients. DX 1: dp; DW 1: partial sums of dw ---- */

#ifndef DX
#define DX 1
#endif
#ifndef DW
#define DW 1
#endif
#if DX
#define P_DX        , const __global TYPE(WT) *restrict kern, __global act_t *restrict dx
#define IF_DX(what) what
#else
#define P_DX
#define IF_DX(what)
#endif
#if DW
#define P_DW        , const __global act_t *restrict x, __global float *restrict partial, int blocks
#define IF_DW(what) what
#else
#define P_DW
#define IF_DW(what)
#endif
#define SPREAD (2 * COLS + 4) /* columns of dy that an item's columns of dp depend on: 2j - 2 ... */
#define SUMS   (2 * COLS + 1) /* places of n at which they do */

#if COLS > 1
#define AT_BORDER 1 /* an even place of n is two columns', of which one lies at the border: that one's lies apart */
#else
#define AT_BORDER 0
#endif
#define STATE (SUMS + AT_BORDER)

/* What sums down the columns have of earlier rows: n of the last, of two and of three, of which four make the weights 1 3 3 1. */
typedef struct {
    vec one[STATE], two[STATE], three[STATE];
} rows_before;

inline void load_row(const __global act_t *dy, bool row, const place *p, RAW(ACT) *to)
{
#pragma unroll
    for (int k = 0; k < SPREAD; k++)
        to[k] = column(dy + k * CHANNELS, k < 2 ? row && !p->left : k < SPREAD - 2 ? row : row && !p->right);
}

inline void store_own(__global act_t *dx, const vec *v)
{
#pragma unroll
    for (int q = 0; q < COLS; q++) *(__global RAW(ACT) *)(dx + q * CHANNELS) = STORED(ACT, v[q]);
}

inline void load_own(const __global act_t *x, bool row, RAW(ACT) *to)
{
#pragma unroll
    for (int q = 0; q < COLS; q++) to[q] = column(x + q * CHANNELS, row);
}

/* n[k] = v[k] + 3 v[k + 1] + 3 v[k + 2] + v[k + 3] */
inline void narrow(const vec *v, vec *n)
{
    vec s[SPREAD];
#pragma unroll
    for (int k = 0; k < SPREAD - 1; k++) s[k] = v[k] + v[k + 1];
#pragma unroll
    for (int k = 0; k < SPREAD - 2; k++) s[k] += s[k + 1];
#pragma unroll
    for (int k = 0; k < SUMS; k++) n[k] = s[k] + s[k + 1];
}

/* U behind the border has no gradient, that on it has it twice: what this adds to n, of the middle tap and the outermost. */
inline void end_columns(const vec *v, const place *p, vec *n)
{
    if (p->left) {
        n[1] += v[2];
#if AT_BORDER
        n[SUMS] = v[3] - v[2];
#else
        n[2] += v[3] - v[2];
#endif
    }
    if (p->right) {
        n[SUMS - 2] += v[SPREAD - 3];
#if AT_BORDER
        n[SUMS] = v[SPREAD - 4] - v[SPREAD - 3];
#else
        n[0] += v[SPREAD - 4] - v[SPREAD - 3];
#endif
    }
}

/* The next row: n becomes 1 3 3 1 of the last four. */
inline void advance_one(rows_before *before, int k, vec *n)
{
    const vec one = n[k], two = one + before->one[k], three = two + before->two[k];
    n[k] = three + before->three[k];
    before->one[k] = one;
    before->two[k] = two;
    before->three[k] = three;
}

inline void advance(rows_before *before, bool border, vec *n)
{
#pragma unroll
    for (int k = 0; k < SUMS; k++) advance_one(before, k, n);
    if (AT_BORDER && border) advance_one(before, STATE - 1, n);
}

/* Row t of the taps meets n and the item's pixels of a row of p. */
inline void meet(int t, const place *p, const vec *n, const vec *w, const vec *x, vec *acc, vec *g)
{
#pragma unroll
    for (int k = 0; k < K; k++)
#pragma unroll
        for (int q = 0; q < COLS; q++) {
            IF_DX(acc[q] += w[t * K + k] * n[2 * q + 2 - k];)
            IF_DW(g[t * K + k] += x[q] * n[2 * q + 2 - k];)
        }
#if AT_BORDER
    if (p->left) {
        IF_DX(acc[0] += w[t * K] * n[SUMS];)
        IF_DW(g[t * K] += x[0] * n[SUMS];)
    }
    if (p->right) {
        IF_DX(acc[COLS - 1] += w[t * K + 2] * n[SUMS];)
        IF_DW(g[t * K + 2] += x[COLS - 1] * n[SUMS];)
    }
#endif
}
#define MEET(t, n) meet(t, &p, n, w9, here, acc, g);

/* The next row of dy, by way of what stands in `row`, becomes 1 3 3 1 of the last four rows. */
#define TAKE(row) \
    { \
        vec v[SPREAD]; \
        _Pragma("unroll") for (int k = 0; k < SPREAD; k++) v[k] = VALUES(ACT, row[k]); \
        narrow(v, n); \
        if (border) end_columns(v, &p, n); \
        advance(&before, border, n); \
    }

/* What the first or the last row adds, as end_columns has it: of the last two rows of n there are the sum and the second. */
#define FIRST_OF(two, second)  (two - second)
#define SECOND_OF(two, second) (second)
#define DOWN(two, second)      (2.0f * second - two)
#define UP(two, second)        (two - 2.0f * second)
#define MEET_END(t, at, in) \
    { \
        vec a[STATE]; \
        _Pragma("unroll") for (int k = 0; k < STATE; k++) a[k] = in(before.two[k], before.one[k]); \
        MEET(t, a) \
        _Pragma("unroll") for (int k = 0; k < STATE; k++) a[k] = at(before.two[k], before.one[k]); \
        MEET(1, a) \
    }

/* partial [batch*chunks][blocks][TAPS][CHANNELS]: what each group's pixels of p give to dw. Rows 2m and 2m + 1 of dy end row m - 1
 * of dp and begin row m. */
__kernel __attribute__((reqd_work_group_size(WG, 1, 1)))
void dwdouble_backward(const __global act_t *restrict dy, int h, int w, int span, int chunks P_DX P_DW)
{
    const place p = my_place(w, h, span, chunks);
    const bool border = p.left || p.right;
    const int row = w * CHANNELS;
    rows_before before;
    vec w9[TAPS], g[TAPS], acc[COLS], here[COLS], n[STATE];
    RAW(ACT) even[SPREAD], odd[SPREAD], next_x[COLS];
    for (int k = 0; k < STATE; k++) n[k] = before.one[k] = before.two[k] = before.three[k] = TO_VEC(0.0f);
    for (int k = 0; k < TAPS; k++) w9[k] = g[k] = TO_VEC(0.0f);
    for (int q = 0; q < COLS; q++) here[q] = acc[q] = TO_VEC(0.0f);
#if DX
    __local float taps[GROUP_TAPS];
    const __local float *own = group_taps(kern, taps);
    for (int k = 0; k < TAPS; k++) w9[k] = tap_of(own, k) * 0.0625f;
    dx += ((p.image * h + p.first) * w + p.j) * CHANNELS + p.c;
#endif
    const __global act_t *from =
        dy + (p.image * h * w * 4 + 2 * p.j) * CHANNELS + p.c + (ptrdiff_t)(p.first - 1) * 4 * row - 2 * CHANNELS;
    load_row(from, p.mine && p.first > 0, &p, even);
    load_row(from + 2 * row, p.mine && p.first > 0, &p, odd);
    IF_DW(x += ((p.image * h + p.first) * w + p.j) * CHANNELS + p.c; load_own(x, true, next_x);)
    for (int m = p.first - 1; m <= p.last; m++) {
        const bool more = p.mine && m < p.last && m + 1 < h;
        from += 4 * row;
        TAKE(even)
        load_row(from, more, &p, even);
        if (m > p.first) MEET(1, n)
        TAKE(odd)
        load_row(from + 2 * row, more, &p, odd);
        if (m > p.first) {
            MEET(0, n)
            IF_DX(if (p.mine) store_own(dx, acc); dx += row;)
        }
        if (m < p.first || m >= p.last) continue;
        for (int q = 0; q < COLS; q++) acc[q] = TO_VEC(0.0f);
#if DW
        for (int q = 0; q < COLS; q++) here[q] = VALUES(ACT, next_x[q]);
        x += row;
        load_own(x, m + 1 < p.last, next_x);
#endif
        MEET(2, n)
        if (m == 0) MEET_END(0, FIRST_OF, DOWN)
        if (m == h - 1) MEET_END(2, SECOND_OF, UP)
    }
#if DW
    __local vec_t all[K * WG];
    for (int k = 0; k < TAPS; k++) g[k] *= 0.0625f;
    partial += ((size_t)get_global_id(1) * blocks + p.block) * TAPS * CHANNELS;
    for (int r = 0; r < K; r++) share(g + r * K, K, all, p.slot, partial + r * K * CHANNELS);
#endif
}
#endif
