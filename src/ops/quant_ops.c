/* Quantised weights on a device: their buffers, and making them. unpack.c reads them. */
#include "ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* the tables' parts, as in cl/shared/quant.h */
enum { WG = 64, CODES = 16, MAP = 256, PAIRS_AT = 304 };

void tn_qoptions(char *buf, size_t n, const tn_qshape *s, tn_dtype out)
{
    const tn_qformat *f = &tn_qformats[s->type];
    snprintf(buf, n, "-DQSCALE=%d -DQBITS=%d -DQLOW=%d -DQZERO=%d -DROUNDS=%d -DOUT=%d", (int)tn_qscale_of(s), f->bits,
             f->low_first, f->zero_point, f->rounds, (int)out);
}

/* ---- buffers ---- */

static int new_tables(tn_qtensor *q, tn_dev *d, tn_error *err)
{
    float t[PAIRS_AT + 512] = {0};
    const tn_qformat *f = &tn_qformats[q->s.type];
    if (f->code) memcpy(t, f->code, sizeof(float) * CODES);
    tn_dynamic_map(t + CODES);
    for (int i = 0; f->scale == TN_QS_E4M3 && i < MAP; i++) t[CODES + i] = tn_e4m3_to_f32((uint8_t)i);
    if (!f->rounds) {
        const tn_qladder l = tn_qladder_of(q->s.type);
        memcpy(t + CODES + MAP, l.above, sizeof l.above);
        for (int i = 0; i < CODES; i++) t[CODES + MAP + 15 + i] = l.order[i];
    }
    for (int i = 0; f->code && i < 256; i++) {
        t[PAIRS_AT + 2 * i] = f->code[f->low_first ? i & 15 : i >> 4];
        t[PAIRS_AT + 2 * i + 1] = f->code[f->low_first ? i >> 4 : i & 15];
    }
    TN_TRY(tn_buffer_new(&q->tables, d, TN_QTABLE_BYTES, "a code table", err));
    return tn_buffer_write(q->tables, 0, t, sizeof t, err);
}

/* A buffer of its own, or the next region of `in`. */
static int new_part(tn_buffer **out, tn_dev *d, tn_buffer *in, size_t *at, size_t bytes, const char *what, tn_error *err)
{
    if (!in) return tn_buffer_new(out, d, bytes, what, err);
    TN_TRY(tn_buffer_sub(out, in, *at, TN_ROUND_UP(bytes, (size_t)4), err));
    *at += TN_ROUND_UP(bytes, d->align);
    return 0;
}

size_t tn_qregion_bytes(const tn_qshape *s, size_t align)
{
    return TN_ROUND_UP(tn_qpacked_bytes(s), align) + TN_ROUND_UP(tn_qscale_bytes(s), align) +
           TN_ROUND_UP(tn_qnested_count(s) * 4, align) + TN_ROUND_UP(tn_qzero_bytes(s), align);
}

int tn_qtensor_new_in(tn_qtensor *q, tn_dev *d, const tn_qshape *s, tn_buffer *tables, tn_buffer *in, size_t at, tn_error *err)
{
    static const char scales[] = "scales of quantised weights";
    *q = (tn_qtensor){.s = *s, .tables = tables, .own_tables = !tables};
    int rc = tables ? 0 : new_tables(q, d, err);
    if (!rc) rc = new_part(&q->packed, d, in, &at, tn_qpacked_bytes(s), "quantised weights", err);
    if (!rc) rc = new_part(&q->scales, d, in, &at, tn_qscale_bytes(s), scales, err);
    if (!rc && s->nested) rc = new_part(&q->nested, d, in, &at, tn_qnested_count(s) * 4, scales, err);
    if (!rc && tn_qzero_bytes(s)) rc = new_part(&q->zeros, d, in, &at, tn_qzero_bytes(s), "zero points", err);
    if (rc) tn_qtensor_free(q, d);
    return rc;
}

int tn_qtensor_new(tn_qtensor *q, tn_dev *d, const tn_qshape *s, tn_buffer *tables, tn_error *err)
{
    return tn_qtensor_new_in(q, d, s, tables, NULL, 0, err);
}

void tn_qtensor_free(tn_qtensor *q, tn_dev *d)
{
    tn_buffer_free(q->zeros);
    tn_buffer_free(q->nested);
    tn_buffer_free(q->scales);
    tn_buffer_free(q->packed);
    if (q->own_tables) tn_buffer_free(q->tables);
    *q = (tn_qtensor){0};
}

static int set_scales(tn_qtensor *q, tn_dev *d, const tn_qmatrix *m, tn_error *err)
{
    const void *scales = m->absmax ? (const void *)m->absmax : m->scale_q;
    TN_TRY(tn_buffer_write(q->scales, 0, scales, tn_qscale_bytes(&q->s), err));
    if (q->nested) TN_TRY(tn_buffer_write(q->nested, 0, m->nested_absmax, tn_qnested_count(&q->s) * 4, err));
    if (q->zeros) TN_TRY(tn_buffer_write(q->zeros, 0, m->zero, tn_qzero_bytes(&q->s), err));
    q->offset = m->offset;
    return 0;
}

int tn_qtensor_set(tn_qtensor *q, tn_dev *d, const tn_qmatrix *m, tn_error *err)
{
    if (!tn_qshape_equal(&q->s, &m->s)) return tn_fail(err, TN_ERR_ARGUMENT, "a quantised matrix of another shape or format");
    TN_TRY(tn_buffer_write(q->packed, 0, m->packed, tn_qpacked_bytes(&q->s), err));
    return set_scales(q, d, m, err);
}

int tn_qtensor_get(const tn_qtensor *q, tn_dev *d, tn_qmatrix *m, tn_error *err)
{
    TN_TRY(tn_qmatrix_new(m, &q->s, err));
    m->offset = q->offset;
    int rc = tn_buffer_read(q->packed, 0, m->packed, tn_qpacked_bytes(&q->s), err);
    if (!rc) rc = tn_buffer_read(q->scales, 0, m->absmax ? (void *)m->absmax : m->scale_q, tn_qscale_bytes(&q->s), err);
    if (!rc && q->nested) rc = tn_buffer_read(q->nested, 0, m->nested_absmax, tn_qnested_count(&q->s) * 4, err);
    if (!rc && q->zeros) rc = tn_buffer_read(q->zeros, 0, m->zero, tn_qzero_bytes(&q->s), err);
    if (rc) tn_qmatrix_free(m);
    return rc;
}

/* ---- making them ---- */

static bool is_whole(const tn_qshape *s)
{
    return s->block % 8 == 0 && (size_t)s->rows * (size_t)s->cols < 0xffffffffu;
}

static int read_ranges(tn_ctx *c, tn_buffer *w, const tn_qmatrix *m, tn_qrange *range, const char *name, tn_error *err)
{
    tn_tensor r;
    const size_t n = (size_t)m->s.rows * (size_t)m->s.cols, nb = m->n_blocks;
    float(*host)[4] = malloc(nb * sizeof *host + 1);
    char opts[160];
    if (!host) return tn_oom(err);
    tn_qoptions(opts, sizeof opts, &m->s, TN_F32); /* one program with what encodes */
    int rc = tn_tensor_new(&r, c->dev, TN_F32, (int)nb, 4, "block ranges", err);
    tn_arg args[] = {TN_BUF(w), TN_BUF(r.mem), TN_UINT(m->s.block), TN_UINT(n), TN_UINT(nb)};
    if (!rc) rc = tn_op_run(c, "portable/quant.cl", "block_ranges", opts, args, TN_COUNT(args), &(tn_range){1, {nb}, {0}}, err);
    if (!rc) rc = tn_tensor_get(c->dev, &r, host[0], err);
    for (size_t b = 0; !rc && b < nb; b++) {
        range[b] = (tn_qrange){host[b][0], host[b][1]};
        if (host[b][2] != 0)
            rc = tn_fail(err, TN_ERR_NUMERIC,
                         "%s: a value in elements %zu to %zu is not finite and cannot be quantised; the "
                         "weights are damaged",
                         name, b * (size_t)m->s.block, TN_MIN((b + 1) * (size_t)m->s.block, n) - 1);
    }
    tn_tensor_free(c->dev, &r);
    free(host);
    return rc;
}

/* Devices that flush denormals round tiny blocks otherwise than the host does. */
static bool is_tiny(const tn_ctx *c, const tn_qmatrix *m, const tn_qrange *range)
{
    for (size_t b = 0; c->dev->flushes_denormals && b < m->n_blocks; b++) {
        const float top = fmaxf(-range[b].min, range[b].max);
        if (top > 0 && (top < 0x1p-90f || top > 0x1p120f)) return true;
    }
    return false;
}

/* The codes that no item of 8 covers: a partial last block, or a few elements. */
static int encode_rest(tn_ctx *c, tn_buffer *w, tn_qtensor *q, tn_qmatrix *m, size_t first, const float *mul, tn_error *err)
{
    const tn_qformat *f = &tn_qformats[m->s.type];
    const size_t n = (size_t)m->s.rows * (size_t)m->s.cols, count = n - first, from = f->bits == 8 ? first : first / 2;
    float *host = malloc((count + 1) * sizeof *host);
    if (!host) return tn_oom(err);
    int rc = tn_buffer_read(w, first * 4, host, count * 4, err);
    const tn_qladder l = f->rounds ? (tn_qladder){{0}, {0}} : tn_qladder_of(m->s.type);
    if (!rc) {
        tn_qencode(m, &l, host, m->n_blocks - 1, first, n, mul[m->n_blocks - 1]);
        if (n % 2 && !f->rounds) {
            const float zero = 0; /* the odd tail is padded by the code of 0 */
            tn_qencode(m, &l, &zero, m->n_blocks - 1, n, n + 1, 1);
        }
        rc = tn_buffer_write(q->packed, from, m->packed + from, tn_qpacked_bytes(&m->s) - from, err);
    }
    free(host);
    return rc;
}

static int encode(tn_ctx *c, tn_buffer *w, tn_qtensor *q, tn_qmatrix *m, const float *mul, tn_error *err)
{
    const size_t n = (size_t)m->s.rows * (size_t)m->s.cols, block = (size_t)m->s.block;
    const size_t whole = n / block * block, items = whole / 8, local = WG;
    char opts[128];
    tn_tensor t;
    tn_qoptions(opts, sizeof opts, &m->s, TN_F32);
    TN_TRY(tn_tensor_new(&t, c->dev, TN_F32, 1, (int)m->n_blocks, "block multipliers", err));
    int rc = tn_tensor_set(c->dev, &t, mul, err);
    tn_arg args[] = {TN_BUF(w),      TN_BUF(t.mem), TN_BUF(q->zeros ? q->zeros : q->packed), TN_BUF(q->tables), TN_BUF(q->packed),
                     TN_UINT(block), TN_UINT(items)};
    if (!rc && items)
        rc = tn_op_run(c, "portable/quant.cl", "encode8", opts, args, TN_COUNT(args), &(tn_range){1, {items}, {local}}, err);
    if (!rc && whole < n) rc = encode_rest(c, w, q, m, whole, mul, err);
    if (!rc) rc = tn_dev_finish(c->dev, err);
    tn_tensor_free(c->dev, &t);
    return rc;
}

static int quantize_on_host(tn_ctx *c, tn_qtensor *q, const float *values, const char *name, tn_error *err)
{
    tn_qmatrix m;
    TN_TRY(tn_quantize(&m, values, &q->s, name, err));
    int rc = tn_qtensor_set(q, c->dev, &m, err);
    tn_qmatrix_free(&m);
    return rc;
}

int tn_qtensor_quantize(tn_ctx *c, tn_qtensor *q, const float *values, const char *name, tn_error *err)
{
    if (!is_whole(&q->s)) return quantize_on_host(c, q, values, name, err);
    tn_qmatrix m;
    tn_tensor w = {0};
    bool tiny = false;
    TN_TRY(tn_qmatrix_new(&m, &q->s, err));
    tn_qrange *range = malloc(m.n_blocks * sizeof *range + 1);
    float *mul = malloc(m.n_blocks * sizeof *mul + 1);
    int rc = range && mul ? tn_tensor_new(&w, c->dev, TN_F32, q->s.rows, q->s.cols, name, err) : tn_oom(err);
    if (!rc) rc = tn_tensor_set(c->dev, &w, values, err);
    if (!rc) rc = read_ranges(c, w.mem, &m, range, name, err);
    if (!rc) tiny = is_tiny(c, &m, range);
    if (!rc && !tiny) rc = tn_qscales_set(&m, range, mul, err);
    if (!rc && !tiny) rc = set_scales(q, c->dev, &m, err);
    if (!rc && !tiny) rc = encode(c, w.mem, q, &m, mul, err);
    tn_tensor_free(c->dev, &w);
    free(range);
    free(mul);
    tn_qmatrix_free(&m);
    if (tiny || rc == TN_ERR_MEMORY) return quantize_on_host(c, q, values, name, err); /* no room for the matrix in float32 */
    return rc;
}
