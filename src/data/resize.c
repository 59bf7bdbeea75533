/* Two passes as Pillow makes them, along rows first, with 8 bits between. Both are sums of vectors of 16 bytes with integer
 * weights: along rows the vector is a sample of 16 rows, which the block is turned for and turned back. */
#include "resize.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { BITS = 22, LANES = TN_RESIZE_ROWS, SUMS = 3 * LANES };

typedef uint8_t lanes_u8 __attribute__((vector_size(LANES)));

/* ---- an axis ---- */

static void axis_free(tn_resize_axis *a)
{
    free(a->first);
    free(a->count);
    free(a->k);
    *a = (tn_resize_axis){0};
}

/* The weights of target o; what weighs nothing at either end is left out. */
static void axis_weigh(tn_resize_axis *a, int o, double *w)
{
    const double scale = (double)a->in / a->out, support = TN_MAX(scale, 1), centre = (o + 0.5) * scale;
    int lo = (int)(centre - support + 0.5), hi = (int)(centre + support + 0.5), *k = a->k + (size_t)o * (size_t)a->width;
    lo = TN_MAX(lo, 0);
    hi = TN_MIN(hi, a->in);
    double sum = 0;
    for (int i = lo; i < hi; i++) {
        const double d = fabs((i - centre + 0.5) / support);
        sum += w[i - lo] = d < 1 ? 1 - d : 0;
    }
    int from = 0, n = hi - lo;
    while (n > 1 && w[n - 1] <= 0) n--;
    while (from < n - 1 && w[from] <= 0) from++;
    a->first[o] = lo + from;
    a->count[o] = n - from;
    for (int i = from; i < n; i++) k[i - from] = (int)floor(w[i] / sum * (1 << BITS) + 0.5);
}

/* Nothing is left to do where it is made for these sizes already. A failure leaves it empty. */
static int axis_make(tn_resize_axis *a, int in, int out, tn_error *err)
{
    if (a->in == in && a->out == out) return 0;
    axis_free(a);
    const size_t width = (size_t)ceil(TN_MAX((double)in / out, 1)) * 2 + 1, n = (size_t)out;
    a->first = malloc(sizeof *a->first * n);
    a->count = malloc(sizeof *a->count * n);
    a->k = malloc(sizeof *a->k * n * width);
    double *w = malloc(sizeof *w * width);
    const bool there = a->first && a->count && a->k && w;
    if (there) {
        a->in = in, a->out = out, a->width = (int)width;
        for (int o = 0; o < out; o++) axis_weigh(a, o, w);
    } else axis_free(a);
    free(w);
    return there ? 0 : tn_oom(err);
}

/* ---- the sums ---- */

/* 48 sums over n vectors, `stride` bytes from each other. */
static inline __attribute__((always_inline)) void weigh(uint8_t *to, const uint8_t *from, size_t stride, const int *k, int n)
{
    int sum[SUMS];
    for (int i = 0; i < SUMS; i++) sum[i] = 1 << (BITS - 1);
    for (int j = 0; j < n; j++, from += stride)
        for (int i = 0; i < SUMS; i++) sum[i] += from[i] * k[j];
    for (int i = 0; i < SUMS; i++) {
        const int v = sum[i] >> BITS; /* never negative */
        to[i] = (uint8_t)(v > 255 ? 255 : v);
    }
}

static inline __attribute__((always_inline)) void across(const tn_resizer *r)
{
    const tn_resize_axis *a = &r->x;
    for (int x = 0; x < a->out; x++)
        weigh(r->narrow + (size_t)x * SUMS, r->turned + (size_t)a->first[x] * SUMS, SUMS, a->k + (size_t)x * (size_t)a->width,
              a->count[x]);
}

/* Target y from the rows that mid holds. */
static inline __attribute__((always_inline)) void down(const tn_resizer *r, int y)
{
    const tn_resize_axis *a = &r->y;
    const size_t row = 3 * (size_t)r->x.out;
    const uint8_t *from = r->mid + (size_t)(a->first[y] - r->mid_first) * r->pitch;
    const int *k = a->k + (size_t)y * (size_t)a->width;
    uint8_t *to = r->out + (size_t)y * row, rest[SUMS];
    size_t i = 0;
    for (; i + SUMS <= row; i += SUMS) weigh(to + i, from + i, r->pitch, k, a->count[y]);
    if (i == row) return;
    weigh(rest, from + i, r->pitch, k, a->count[y]);
    memcpy(to + i, rest, row - i);
}

/* ---- a block of rows ---- */

/* Transposes 16 x 16: four times what lies in both halves is dealt out in turn. */
static inline __attribute__((always_inline)) void turn(lanes_u8 m[LANES])
{
    lanes_u8 t[LANES];
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < LANES / 2; i++) {
            t[2 * i] = __builtin_shufflevector(m[i], m[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            t[2 * i + 1] = __builtin_shufflevector(m[i], m[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        }
        memcpy(m, t, sizeof t);
    }
}

/* To columns; where rows are fewer than 16, the last stands for those that lack. */
static inline __attribute__((always_inline)) void turn_in(const tn_resizer *r, const uint8_t *rows, size_t stride, int n)
{
    lanes_u8 m[LANES];
    size_t b = 0;
    for (; b + LANES <= r->row; b += LANES) {
        for (int i = 0; i < LANES; i++) memcpy(&m[i], rows + (size_t)TN_MIN(i, n - 1) * stride + b, LANES);
        turn(m);
        memcpy(r->turned + b * LANES, m, sizeof m);
    }
    for (; b < r->row; b++)
        for (int i = 0; i < LANES; i++) r->turned[b * LANES + (size_t)i] = rows[(size_t)TN_MIN(i, n - 1) * stride + b];
}

/* Columns to rows, behind those that mid holds. */
static inline __attribute__((always_inline)) void turn_out(const tn_resizer *r)
{
    lanes_u8 m[LANES];
    uint8_t *to = r->mid + (size_t)r->mid_n * r->pitch;
    for (size_t b = 0; b < r->pitch; b += LANES) {
        memcpy(m, r->narrow + b * LANES, sizeof m);
        turn(m);
        for (int i = 0; i < LANES; i++) memcpy(to + (size_t)i * r->pitch + b, &m[i], LANES);
    }
}

/* Rows that no target to come reads go. */
static void drop_rows(tn_resizer *r)
{
    const int next = r->next_y < r->y.out ? r->y.first[r->next_y] : r->y.in, n = TN_MIN(next - r->mid_first, r->mid_n);
    r->mid_first += n;
    r->mid_n -= n;
    memmove(r->mid, r->mid + (size_t)n * r->pitch, (size_t)r->mid_n * r->pitch);
}

static inline __attribute__((always_inline)) void take(tn_resizer *r, const uint8_t *rows, size_t stride, int n)
{
    turn_in(r, rows, stride, n);
    across(r);
    drop_rows(r);
    turn_out(r);
    r->mid_n += n;
    for (; r->next_y < r->y.out; r->next_y++) {
        if (r->y.first[r->next_y] + r->y.count[r->next_y] > r->mid_first + r->mid_n) break;
        down(r, r->next_y);
    }
}

static void take_plain(tn_resizer *r, const uint8_t *rows, size_t stride, int n)
{
    take(r, rows, stride, n);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static void take_wide(tn_resizer *r, const uint8_t *rows, size_t stride, int n)
{
    take(r, rows, stride, n);
}

static bool has_wide(void)
{
    return __builtin_cpu_supports("avx2");
}
#else
#define take_wide take_plain

static bool has_wide(void)
{
    return false;
}
#endif

void tn_resizer_rows(tn_resizer *r, const uint8_t *rows, size_t stride, int n)
{
    (has_wide() && !r->plain ? take_wide : take_plain)(r, rows, stride, n);
}

/* ---- an image ---- */

static void free_rows(tn_resizer *r)
{
    free(r->turned);
    free(r->narrow);
    free(r->mid);
    r->turned = r->narrow = r->mid = NULL;
}

static int make_rows(tn_resizer *r, tn_error *err)
{
    free_rows(r);
    r->row = 3 * (size_t)r->x.in;
    r->pitch = TN_ROUND_UP(3 * (size_t)r->x.out, (size_t)SUMS);
    r->turned = malloc(r->row * LANES);
    r->narrow = calloc(r->pitch, LANES);
    r->mid = malloc(((size_t)r->y.width + LANES) * r->pitch);
    if (r->turned && r->narrow && r->mid) return 0;
    free_rows(r);
    return tn_oom(err);
}

int tn_resizer_begin(tn_resizer *r, int in_w, int in_h, int w, int h, uint8_t *out, tn_error *err)
{
    const bool same = r->mid && r->x.in == in_w && r->x.out == w && r->y.in == in_h && r->y.out == h;
    r->out = out;
    r->mid_first = r->mid_n = r->next_y = 0;
    if (same) return 0;
    TN_TRY(axis_make(&r->x, in_w, w, err));
    TN_TRY(axis_make(&r->y, in_h, h, err));
    return make_rows(r, err);
}

int tn_resizer_image(tn_resizer *r, const uint8_t *in, int in_w, int in_h, int w, int h, uint8_t *out, tn_error *err)
{
    const size_t row = 3 * (size_t)in_w;
    TN_TRY(tn_resizer_begin(r, in_w, in_h, w, h, out, err));
    for (int y = 0; y < in_h; y += TN_RESIZE_ROWS)
        tn_resizer_rows(r, in + (size_t)y * row, row, TN_MIN((int)TN_RESIZE_ROWS, in_h - y));
    return 0;
}

void tn_resizer_free(tn_resizer *r)
{
    axis_free(&r->x);
    axis_free(&r->y);
    free_rows(r);
}
