#include "quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- codes by threshold ---- */

/* Where u lies just on the midpoint: nf4 and fp4 take the lower code (bitsandbytes, torch.bucketize), E2M1 the even one. */
static const tn_qladder ladders[] = {
    [TN_Q_NF4] = {.order = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
    [TN_Q_FP4] = {.order = {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3}},
    [TN_Q_MXFP4] = {.order = {15, 14, 13, 12, 11, 10, 9, 8, 0, 1, 2, 3, 4, 5, 6, 7}},
};

tn_qladder tn_qladder_of(tn_qtype type)
{
    const bool even = type == TN_Q_MXFP4 || type == TN_Q_NVFP4;
    tn_qladder l = ladders[even ? TN_Q_MXFP4 : type];
    const float *code = tn_qformats[type].code;
    for (int i = 0; i < 15; i++) {
        l.above[i] = (code[l.order[i]] + code[l.order[i + 1]]) / 2.0f;
        if (even && i == 7) l.above[i] = -0x1p-126f; /* between -0 and 0: zero is zero */
        else if (even && !(l.order[i + 1] & 1)) l.above[i] = nextafterf(l.above[i], -INFINITY);
    }
    return l;
}

static uint8_t looked_up(const tn_qladder *l, float u)
{
    int i = 0;
    for (int half = 8; half; half /= 2)
        if (u > l->above[i + half - 1]) i += half;
    return l->order[i];
}

static void put_code(tn_qmatrix *q, size_t i, uint8_t code)
{
    const bool low = (i % 2 == 0) == tn_qformats[q->s.type].low_first;
    q->packed[i / 2] |= (uint8_t)(low ? code : code << 4);
}

void tn_qencode(tn_qmatrix *q, const tn_qladder *l, const float *w, size_t b, size_t first, size_t end, float mul)
{
    const tn_qformat *f = &tn_qformats[q->s.type];
    const float lo = f->bits == 8 ? -127 : q->zero ? 0 : -8, hi = f->bits == 8 ? 127 : q->zero ? 15 : 7;
    const float zero = q->zero ? q->zero[b] : 0;
    /* bitsandbytes divides in a last, partial block */
    const bool divides = !f->rounds && end - first < (size_t)q->s.block && tn_qscale_of(&q->s) <= TN_QS_NESTED;
    for (size_t i = first; i < end; i++) {
        const float x = w[i - first], u = divides ? x / mul : x * mul;
        if (!f->rounds) {
            put_code(q, i, looked_up(l, u));
        } else {
            const int v = (int)fminf(fmaxf(rintf(u) + zero, lo), hi);
            if (f->bits == 8) q->packed[i] = (uint8_t)(int8_t)v;
            else put_code(q, i, (uint8_t)(q->zero ? v : v + 8));
        }
    }
}

/* ---- scales ---- */

static float top_of(tn_qrange r)
{
    return fmaxf(fabsf(r.min), fabsf(r.max)); /* never -0 */
}

static void absmax_scales(tn_qmatrix *q, const tn_qrange *r, float *absmax, float *mul)
{
    const size_t n = (size_t)q->s.rows * (size_t)q->s.cols;
    for (size_t b = 0; b < q->n_blocks; b++) {
        const bool partial = (b + 1) * (size_t)q->s.block > n;
        absmax[b] = top_of(r[b]);
        const float safe = fmaxf(absmax[b], 1e-38f);
        if (partial) absmax[b] = safe; /* as bitsandbytes stores it */
        mul[b] = partial ? safe : 1.0f / safe;
    }
}

static void int8_scales(tn_qmatrix *q, const tn_qrange *r, float *mul)
{
    for (size_t b = 0; b < q->n_blocks; b++) {
        q->absmax[b] = top_of(r[b]);
        mul[b] = q->absmax[b] > 0 ? fminf(127.0f / q->absmax[b], 3e38f) : 0;
    }
}

/* torchao: symmetric max|x| / 7.5 over [-8, 7]; asymmetric over the range widened to hold zero. */
static void int4_scales(tn_qmatrix *q, const tn_qrange *r, float *mul)
{
    for (size_t b = 0; b < q->n_blocks; b++) {
        const float mn = fminf(r[b].min, 0), mx = fmaxf(r[b].max, 0);
        float s = q->zero ? (mx - mn) / 15 : top_of(r[b]) / 7.5f;
        if (!isfinite(s)) s = mx / 15 - mn / 15;
        q->absmax[b] = s;
        mul[b] = s > 0 ? fminf(1.0f / s, 3e38f) : 0;
        if (q->zero) q->zero[b] = (uint8_t)fminf(fmaxf(0 - rintf(mn * mul[b]), 0), 15);
    }
}

/* OCP Microscaling: the exponent of the largest element less E2M1's own largest, 2. */
static void mx_scales(tn_qmatrix *q, const tn_qrange *r, float *mul)
{
    for (size_t b = 0; b < q->n_blocks; b++) {
        int e = 0;
        const float top = top_of(r[b]);
        if (top > 0) {
            frexpf(top, &e);
            e = TN_MIN(TN_MAX(e - 1 - 2 + 127, 0), 254);
        }
        q->scale_q[b] = (uint8_t)e;
        mul[b] = ldexpf(1, 127 - e);
    }
}

/* Two levels: a float brings the blocks' scales into E4M3's range. */
static void nv_scales(tn_qmatrix *q, const tn_qrange *r, float *mul)
{
    float top = 0;
    for (size_t b = 0; b < q->n_blocks; b++) top = fmaxf(top, top_of(r[b]));
    q->offset = top > 0 ? fmaxf(top / (448 * 6), 0x1p-126f) : 1;
    for (size_t b = 0; b < q->n_blocks; b++) {
        q->scale_q[b] = tn_f32_to_e4m3(fmaxf(top_of(r[b]) / 6 / q->offset, 0x1p-6f));
        mul[b] = 1.0f / (tn_e4m3_to_f32(q->scale_q[b]) * q->offset);
    }
}

int tn_qscales_set(tn_qmatrix *q, const tn_qrange *range, float *mul, tn_error *err)
{
    switch (q->s.type) {
    case TN_Q_INT8: int8_scales(q, range, mul); return 0;
    case TN_Q_INT4:
    case TN_Q_INT4_ASYM: int4_scales(q, range, mul); return 0;
    case TN_Q_MXFP4: mx_scales(q, range, mul); return 0;
    case TN_Q_NVFP4: nv_scales(q, range, mul); return 0;
    default: break;
    }
    float *absmax = q->s.nested ? malloc(q->n_blocks * sizeof *absmax) : q->absmax;
    if (!absmax) return tn_oom(err);
    absmax_scales(q, range, absmax, mul);
    if (q->s.nested) {
        tn_nest_scales(q, absmax);
        free(absmax);
        if (!isfinite(q->offset))
            return tn_fail(err, TN_ERR_NUMERIC, "the mean of the block scales overflows; quantise without double quantisation");
    }
    return 0;
}

/* ---- whole matrices ---- */

int tn_qmatrix_new(tn_qmatrix *q, const tn_qshape *shape, tn_error *err)
{
    *q = (tn_qmatrix){.s = *shape, .n_blocks = tn_qblocks(shape)};
    const bool f32 = tn_qscale_of(shape) == TN_QS_F32;
    q->packed = calloc(tn_qpacked_bytes(shape) + 1, 1);
    if (f32) q->absmax = malloc(tn_qscale_bytes(shape) + 4);
    else q->scale_q = malloc(tn_qscale_bytes(shape) + 1);
    if (shape->nested) q->nested_absmax = malloc(tn_qnested_count(shape) * 4 + 4);
    if (tn_qzero_bytes(shape)) q->zero = malloc(tn_qzero_bytes(shape));
    if (q->packed && (f32 ? (void *)q->absmax : q->scale_q) && (!shape->nested || q->nested_absmax) &&
        (!tn_qzero_bytes(shape) || q->zero))
        return 0;
    tn_qmatrix_free(q);
    return tn_oom(err);
}

static int find_ranges(const tn_qmatrix *q, const float *w, tn_qrange *r, const char *name, tn_error *err)
{
    const size_t n = (size_t)q->s.rows * (size_t)q->s.cols, block = (size_t)q->s.block;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(w[i]))
            return tn_fail(err, TN_ERR_NUMERIC, "%s: element %zu is %f and cannot be quantised; the weights are damaged", name, i,
                           (double)w[i]);
    for (size_t b = 0; b < q->n_blocks; b++) {
        tn_qrange m = {w[b * block], w[b * block]};
        for (size_t i = b * block; i < TN_MIN((b + 1) * block, n); i++) {
            m.min = fminf(m.min, w[i]);
            m.max = fmaxf(m.max, w[i]);
        }
        r[b] = m;
    }
    return 0;
}

int tn_quantize(tn_qmatrix *q, const float *w, const tn_qshape *shape, const char *name, tn_error *err)
{
    tn_qshape s = *shape;
    const size_t n = (size_t)s.rows * (size_t)s.cols;
    TN_TRY(tn_qblock(&s.block, s.type, s.block, s.cols, name, err));
    s.nested = s.nested && tn_qformats[s.type].nestable;
    TN_TRY(tn_qmatrix_new(q, &s, err));
    tn_qrange *range = malloc(q->n_blocks * sizeof *range + 1);
    float *mul = malloc(q->n_blocks * sizeof *mul + 1);
    int rc = range && mul ? find_ranges(q, w, range, name, err) : tn_oom(err);
    if (!rc) rc = tn_qscales_set(q, range, mul, err);
    const bool rounds = tn_qformats[s.type].rounds;
    const tn_qladder l = rounds ? (tn_qladder){{0}, {0}} : tn_qladder_of(s.type);
    for (size_t b = 0; !rc && b < q->n_blocks; b++) {
        const size_t first = b * (size_t)s.block;
        tn_qencode(q, &l, w + first, b, first, TN_MIN(first + (size_t)s.block, n), mul[b]);
    }
    if (!rc && n % 2 && tn_qformats[s.type].bits == 4 && !rounds) put_code(q, n, looked_up(&l, 0));
    free(range);
    free(mul);
    if (rc) tn_qmatrix_free(q);
    return rc;
}

void tn_qmatrix_free(tn_qmatrix *q)
{
    free(q->packed);
    free(q->absmax);
    free(q->scale_q);
    free(q->nested_absmax);
    free(q->zero);
    *q = (tn_qmatrix){0};
}

void tn_dequantize(const tn_qmatrix *q, float *w)
{
    const tn_qformat *f = &tn_qformats[q->s.type];
    const size_t n = (size_t)q->s.rows * (size_t)q->s.cols, block = (size_t)q->s.block;
    float scale = 0, zero = 0, map[256];
    tn_dynamic_map(map);
    for (size_t i = 0; i < n; i++) {
        if (i % block == 0) {
            scale = tn_qmatrix_scale(q, map, i / block);
            zero = q->zero ? q->zero[i / block] : 0;
        }
        if (f->bits == 8) {
            w[i] = (float)(int8_t)q->packed[i] * scale * TN_INT8_STEP;
            continue;
        }
        const bool low = (i % 2 == 0) == f->low_first;
        w[i] = (f->code[low ? q->packed[i / 2] & 15 : q->packed[i / 2] >> 4] - zero) * scale;
    }
}
