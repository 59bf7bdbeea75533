/* Multi-scale deformable self-attention for CPU devices: the samples of a pair (a query and a head) across the vectors, 16 a time,
 * then its columns. Layouts as in portable/deform.cl; HD is a multiple of 16.
 *
 * The gradient of value is a plain scatter: an item owns a band of rows of one level of one head and image, goes through all of that
 * plane's samples in their order and takes those that fall into its band, so that nothing depends on timing or on the bands. */
#undef VW
#define VW 16
#include "common.h"
#include "vectors.h"
#include "levels.h"
#include "deform.h"
#define HV     (HD / 16)
#define BLOCKS ((EACH + 15) / 16) /* vectors that hold the samples of a pair */
#define LOG2E  1.44269504088896341f

/* What a lane's sample needs to know of its level. */
typedef struct {
    float16 h, w;
    int16 first;
} levels_t;

inline levels_t levels_of(int block)
{
    int h[16], w[16], first[16];
    levels_t v;
    for (int i = 0; i < 16; i++) {
        const int level = min(16 * block + i, EACH - 1) / POINTS;
        h[i] = level_h[level], w[i] = level_w[level], first[i] = level_first[level];
    }
    v.h = convert_float16(vload16(0, h)), v.w = convert_float16(vload16(0, w)), v.first = vload16(0, first);
    return v;
}

/* Lanes of a block that are samples. */
inline int lanes_of(int block) { return min(16, EACH - 16 * block); }

/* Rows of samples begin anywhere, and PoCL has vload_half read whole aligned vectors: 16 values by way of ones that are. */
inline float16 load16(const __global act_t *p)
{
#if ACT == 2
    const ushort16 t = ((const __global loose_half *)p)->v;
    return vload_half16(0, (const half *)&t);
#else
    return LDV(ACT, p, 0);
#endif
}

inline void store16(__global act_t *p, float16 v)
{
#if ACT == 2
    ushort16 t;
    vstore_half16_rte(v, 0, (half *)&t);
    ((__global loose_half *)p)->v = t;
#else
    STV(ACT, p, 0, v);
#endif
}

/* n values; 0 in the other lanes. */
inline float16 load_some(const __global act_t *p, int n)
{
    float t[16];
    if (n == 16) return load16(p);
    for (int i = 0; i < 16; i++) t[i] = i < n ? LD(ACT, p, i) : 0.0f;
    return vload16(0, t);
}

inline void store_some(__global act_t *p, float16 v, int n)
{
    float t[16];
    if (n == 16) {
        store16(p, v);
        return;
    }
    vstore16(v, 0, t);
    for (int i = 0; i < n; i++) ST(ACT, p, i, t[i]);
}

/* The softmax of a pair's logits; 0 in lanes that are none. */
inline void softmax(float16 share[BLOCKS], const __global act_t *logits)
{
    float16 most = (float16)(-INFINITY), sum = (float16)(0.0f);
    UNROLL(k, BLOCKS)
    {
        share[k] = first_lanes(load_some(logits + 16 * k, lanes_of(k)), lanes_of(k), -INFINITY) * LOG2E;
        most = greater16(most, share[k]);
    }
    most = (float16)(max16(most));
    UNROLL(k, BLOCKS) sum += share[k] = first_lanes(exp2_fast(share[k] - most), lanes_of(k), 0.0f);
    const float all = 1.0f / sum16(sum);
    UNROLL(k, BLOCKS) share[k] *= all;
}

/* A query of an image and its own cell, (y, x) of h x w; the queries one after another. */
typedef struct {
    int n, level, y, x, h, w;
} query_t;

inline query_t query_at(int n)
{
    const int level = level_of(n), at = n - level_first[level], w = level_w[level];
    const query_t q = {n, level, at / w, at % w, level_h[level], w};
    return q;
}

inline void query_next(query_t *q)
{
    q->n++;
    if (++q->x < q->w) return;
    q->x = 0;
    if (++q->y == q->h && q->n < CELLS) *q = query_at(q->n);
}

/* Where the samples of a block lie: how they lie between their four cells, where in value (of one head) those cells are, and what
 * counts of them (all bits: inside). */
typedef struct {
    float16 lx, ly;
    int16 at[4], in[4];
} spots_t;

/* offsets: the block's, (x, y) each. */
inline void spots_of(spots_t *s, const levels_t *v, const __global act_t *offsets, int n, const query_t *q)
{
    const float16 lo = load_some(offsets, min(16, 2 * n)), hi = load_some(offsets + min(16, 2 * n), max(0, 2 * n - 16));
    const float16 px = (float)(2 * q->x + 1) * v->w / (float16)(2.0f * q->w) - 0.5f + (float16)(lo.even, hi.even);
    const float16 py = (float)(2 * q->y + 1) * v->h / (float16)(2.0f * q->h) - 0.5f + (float16)(lo.odd, hi.odd);
    const int16 near = (px >= -1.0f) & (py >= -1.0f) & (px < v->w) & (py < v->h) & (LANE < n);
    const float16 fx = select((float16)(0.0f), floor(px), near), fy = select((float16)(0.0f), floor(py), near);
    const int16 x0 = __builtin_convertvector(fx, int16), y0 = __builtin_convertvector(fy, int16);
    const int16 wide = __builtin_convertvector(v->w, int16), last_x = wide - 1, last_y = __builtin_convertvector(v->h, int16) - 1;
    const int16 left = near & (x0 >= 0), right = near & (x0 < last_x), above = y0 >= 0, below = y0 < last_y;
    const int16 x_left = max(x0, 0), x_right = min(x0 + 1, last_x), top = v->first + max(y0, 0) * wide,
                bottom = v->first + min(y0 + 1, last_y) * wide;
    s->lx = select((float16)(0.0f), px - fx, near), s->ly = select((float16)(0.0f), py - fy, near);
    s->in[0] = above & left, s->in[1] = above & right, s->in[2] = below & left, s->in[3] = below & right;
    s->at[0] = (top + x_left) * WIDTH, s->at[1] = (top + x_right) * WIDTH;
    s->at[2] = (bottom + x_left) * WIDTH, s->at[3] = (bottom + x_right) * WIDTH;
}

inline float16 only(float16 v, int16 in) { return as_float16(as_int16(v) & in); }

/* The cells' parts in a sample. */
inline void parts_of(float16 part[4], const spots_t *s)
{
    const float16 right = s->lx, left = 1.0f - right, below = s->ly, above = 1.0f - below;
    part[0] = only(above * left, s->in[0]), part[1] = only(above * right, s->in[1]);
    part[2] = only(below * left, s->in[2]), part[3] = only(below * right, s->in[3]);
}

/* Items (runs of queries, B * HEADS). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void deform_forward(const __global act_t *value,
                                                                            const __global act_t *samples, __global act_t *o,
                                                                            int run)
{
    const int first = (int)get_global_id(0) * run, last = min(CELLS, first + run), head = (int)get_global_id(1) % HEADS;
    const size_t image = get_global_id(1) / HEADS * CELLS;
    const __global act_t *from = value + image * WIDTH + head * HD;
    levels_t level[BLOCKS];
    UNROLL(k, BLOCKS) level[k] = levels_of(k);
    for (query_t q = query_at(first); q.n < last; query_next(&q)) {
        const __global act_t *own_samples = samples + (image + q.n) * ROW;
        float16 share[BLOCKS], sum[HV];
        UNROLL(j, HV) sum[j] = (float16)(0.0f);
        softmax(share, own_samples + (2 * HEADS + head) * EACH);
        for (int k = 0; k < BLOCKS; k++) {
            spots_t s;
            float16 part[4];
            float weight[4][16];
            int at[4][16];
            spots_of(&s, &level[k], own_samples + 2 * (head * EACH + 16 * k), lanes_of(k), &q);
            parts_of(part, &s);
            UNROLL(c, 4)
            {
                vstore16(part[c] * share[k], 0, weight[c]);
                vstore16(s.at[c], 0, at[c]);
            }
            for (int i = 0; i < lanes_of(k); i++)
                UNROLL(c, 4)
                {
                    UNROLL(j, HV) sum[j] = fma((float16)(weight[c][i]), LDV(ACT, from, at[c][i] + 16 * j), sum[j]);
                }
        }
        UNROLL(j, HV) STV(ACT, o, (image + q.n) * WIDTH + head * HD + 16 * j, sum[j]);
    }
}

/* slope [4]: d times the columns of each sample's four cells, 0 where a cell is outside. */
inline void corner_slopes(float16 slope[4], const __global act_t *from, const float16 d[HV], const spots_t *s, int n)
{
    for (int c = 0; c < 4; c++) {
        float16 t[16];
        int at[16];
        vstore16(s->at[c], 0, at);
        for (int i = 0; i < 16; i++) {
            t[i] = (float16)(0.0f);
            if (i < n) UNROLL(j, HV) t[i] = fma(d[j], LDV(ACT, from, at[i] + 16 * j), t[i]);
        }
        transpose16(t);
        float16 sum = (float16)(0.0f);
        UNROLL(i, 16) sum += t[i];
        slope[c] = only(sum, s->in[c]);
    }
}

/* dsamples like samples. Items (runs of queries, B * HEADS). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void deform_dsamples(const __global act_t *value,
                                                                             const __global act_t *samples,
                                                                             const __global act_t *d_o, __global act_t *dsamples,
                                                                             int run)
{
    const int first = (int)get_global_id(0) * run, last = min(CELLS, first + run), head = (int)get_global_id(1) % HEADS;
    const size_t image = get_global_id(1) / HEADS * CELLS;
    const __global act_t *from = value + image * WIDTH + head * HD;
    levels_t level[BLOCKS];
    UNROLL(k, BLOCKS) level[k] = levels_of(k);
    for (query_t q = query_at(first); q.n < last; query_next(&q)) {
        const size_t offsets = (image + q.n) * ROW + 2 * head * EACH, logits = (image + q.n) * ROW + (2 * HEADS + head) * EACH;
        float16 share[BLOCKS], slope[BLOCKS], d[HV], mean = (float16)(0.0f);
        UNROLL(j, HV) d[j] = LDV(ACT, d_o, (image + q.n) * WIDTH + head * HD + 16 * j);
        softmax(share, samples + logits);
        for (int k = 0; k < BLOCKS; k++) {
            const int lanes = lanes_of(k);
            spots_t s;
            float16 part[4], g[4];
            spots_of(&s, &level[k], samples + offsets + 32 * k, lanes, &q);
            parts_of(part, &s);
            corner_slopes(g, from, d, &s, lanes);
            slope[k] = part[0] * g[0] + part[1] * g[1] + (part[2] * g[2] + part[3] * g[3]);
            mean += share[k] * slope[k];
            const float16 dx = share[k] * ((1.0f - s.ly) * (g[1] - g[0]) + s.ly * (g[3] - g[2]));
            const float16 dy = share[k] * ((1.0f - s.lx) * (g[2] - g[0]) + s.lx * (g[3] - g[1]));
            float16 lo, hi;
            lo.even = dx.lo, lo.odd = dy.lo, hi.even = dx.hi, hi.odd = dy.hi;
            store_some(dsamples + offsets + 32 * k, lo, min(16, 2 * lanes));
            store_some(dsamples + offsets + 32 * k + 16, hi, max(0, 2 * lanes - 16));
        }
        const float all = sum16(mean);
        UNROLL(k, BLOCKS) store_some(dsamples + logits + 16 * k, share[k] * (slope[k] - all), lanes_of(k));
    }
}

/* shares [images*CELLS, HEADS*EACH] float32 of images from row `row` on: the softmax. Items (rows). */
__kernel void deform_shares(const __global act_t *samples, __global float *shares, int row, int rows)
{
    const int r = (int)get_global_id(0);
    if (r >= rows) return;
    for (int head = 0; head < HEADS; head++) {
        float16 share[BLOCKS];
        softmax(share, samples + (size_t)(row + r) * ROW + (2 * HEADS + head) * EACH);
        for (int k = 0; k < BLOCKS; k++) {
            float t[16];
            vstore16(share[k], 0, t);
            for (int i = 0; i < lanes_of(k); i++) shares[((size_t)r * HEADS + head) * EACH + 16 * k + i] = t[i];
        }
    }
}

/* sums + weight * d */
inline void add_row(__global float *sums, float weight, const float16 d[HV])
{
    UNROLL(j, HV) VEC(sums, j) = fma((float16)(weight), d[j], VEC(sums, j));
}

/* What a sample of a query adds to rows top to bottom - 1 of its level; a cell's sums are [HD]. */
inline void add_sample(__global float *sums, const place_t *p, float share, const float16 d[HV], int top, int bottom, int w)
{
    __global float *above = sums + ((p->y - top) * w + p->x) * HD, *below = above + w * HD;
    const float down = share * p->ly, up = share - down;
    if (p->y >= top && p->x >= 0) add_row(above, up - p->lx * up, d);
    if (p->y >= top && p->x + 1 < w) add_row(above + HD, p->lx * up, d);
    if (p->y + 1 < bottom && p->x >= 0) add_row(below, down - p->lx * down, d);
    if (p->y + 1 < bottom && p->x + 1 < w) add_row(below + HD, p->lx * down, d);
}

/* dvalue of bands of `band` rows of one level, of images from row `row` on. Scratch holds a band's sums. Items (bands, images *
 * HEADS). */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void deform_dvalue(const __global act_t *samples,
                                                                           const __global float *shares, const __global act_t *d_o,
                                                                           __global act_t *dvalue, int row, int level,
                                                                           int band P_SCRATCH)
{
    const int h = level_h[level], w = level_w[level], top = (int)get_global_id(0) * band, bottom = min(h, top + band);
    const int head = (int)get_global_id(1) % HEADS, image = (int)get_global_id(1) / HEADS * CELLS;
    const int slot = slot_take(busy, slots);
    __global float *sums = slot_at(scratch, (size_t)slot * slot_floats);
    for (int i = 0; i < (bottom - top) * w * HV; i++) VEC(sums, i) = (float16)(0.0f);
    for (query_t q = query_at(0); q.n < CELLS; query_next(&q)) {
        const float y = middle(q.y, q.h, h), x = middle(q.x, q.w, w);
        const size_t r = (size_t)row + image + q.n;
        const int at = head * EACH + level * POINTS;
        float16 d[HV];
        bool loaded = false;
        for (int k = 0; k < POINTS; k++) {
            const float py = y + LD(ACT, samples, r * ROW + 2 * (at + k) + 1), px = x + LD(ACT, samples, r * ROW + 2 * (at + k));
            if (!(py >= (float)(top - 1) && py < (float)bottom && px >= -1.0f && px < (float)w)) continue;
            const place_t p = {(int)floor(py), (int)floor(px), py - floor(py), px - floor(px)};
            if (!loaded) UNROLL(j, HV) d[j] = LDV(ACT, d_o, r * WIDTH + head * HD + 16 * j);
            loaded = true;
            add_sample(sums, &p, shares[(size_t)(image + q.n) * HEADS * EACH + at + k], d, top, bottom, w);
        }
    }
    const size_t first = (size_t)row + image + level_first[level] + top * w;
    for (int i = 0; i < (bottom - top) * w; i++)
        UNROLL(j, HV) STV(ACT, dvalue, (first + i) * WIDTH + head * HD + 16 * j, VEC(sums + i * HD, j));
    slot_leave(busy, slot);
}
