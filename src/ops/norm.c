#include "columns.h"
#include "norm_cpu.h"

/* What a column reduction sums, how it cuts its rows, and where its statistics stand. */
enum { SUMS, PRODUCTS, GRADS, SQUARES };
typedef struct {
    int what, chunk_rows, chunks, stat_rows, groups, group_cols;
    float alpha;
} reduction;

static int reduce(tn_ctx *c, const tn_tensor *a, const tn_tensor *b, const tn_tensor *stats, const reduction *r, tn_tensor *p0,
                  tn_tensor *p1, tn_error *err)
{
    static const char *const entries[] = {"column_sums", "column_products", "column_grads", "column_squares"};
    const int vw = tn_vec_width(c, a->cols);
    tn_options o;
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a sum down the columns", TN_LIST(a, b), stats ? TN_LIST(p0, stats) : TN_LIST(p0), err));
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DVW=%d", (int)act, vw));
    tn_buffer *none = a->mem;
    tn_arg args[] = {TN_BUF(a->mem),    TN_BUF(b ? b->mem : none),      TN_BUF(stats ? stats->mem : none),
                     TN_BUF(p0->mem),   TN_BUF(p1 ? p1->mem : p0->mem), TN_INT(a->rows),
                     TN_INT(a->cols),   TN_INT(r->chunk_rows),          TN_INT(r->stat_rows),
                     TN_INT(r->groups), TN_INT(r->group_cols),          TN_FLT(r->alpha)};
    const tn_range range = {2, {(size_t)(a->cols / vw), (size_t)r->chunks}, {0}};
    return tn_op_run(c, "portable/colreduce.cl", entries[r->what], o.s, args, TN_COUNT(args), &range, err);
}

int tn_parts_sum(tn_ctx *c, const tn_tensor *p, tn_tensor *out, tn_error *err)
{
    tn_dtype act;
    tn_options o;
    if (tn_columns_here(c)) return tn_columns_sum(c, p, p->rows, true, out, err);
    TN_TRY(tn_storage(&act, "a sum down the columns", TN_LIST(out), TN_LIST(out), err));
    TN_TRY(
        tn_options_set(&o, err, "-DACT=%d -DVW=%d", (int)TN_F32, tn_vec_width(c, p->ld))); /* one it shares, but for its storage */
    tn_arg args[] = {TN_BUF(p->mem), TN_INT(p->off), TN_INT(p->ld), TN_BUF(out->mem), TN_INT(p->cols), TN_INT(p->rows)};
    const tn_range range = {1, {(size_t)p->cols}, {64}};
    return tn_op_run(c, "portable/colreduce.cl", "colreduce_sum", o.s, args, TN_COUNT(args), &range, err);
}

/* Chunks for a reduction over `rows` rows, enough to keep every compute unit busy. */
static int chunk_rows(const tn_ctx *c, int rows, int cols)
{
    const int lanes = TN_MAX(1, cols / tn_vec_width(c, cols));
    const int want = TN_MAX(1, (int)(c->dev->info.compute_units * (c->dev->row_wg > 1 ? 1024u : 4u)) / lanes);
    return TN_MAX(16, TN_CEIL_DIV(rows, TN_MIN(want, 512)));
}

/* A reduction over all rows, in its parts: p0 (and p1) [chunks, cols] of the workspace. */
static int reduce_all(tn_ctx *c, const tn_tensor *a, const tn_tensor *b, const tn_tensor *stats, tn_tensor *p0, tn_tensor *p1,
                      tn_error *err)
{
    const tn_column_mode mode = stats ? TN_COLUMNS_ROW : b ? TN_COLUMNS_PRODUCT : TN_COLUMNS_SUM;
    tn_columns wide = {.mode = mode, .unit_rows = a->rows, .width = 1, .alpha = 1.0f};
    reduction r = {stats ? GRADS : b ? PRODUCTS : SUMS, chunk_rows(c, a->rows, a->cols), 0, 1, 1, stats ? a->cols : 1, 1.0f};
    const bool can = tn_columns_can(c, a);
    tn_columns_cut(&wide, c, a);
    r.chunks = can ? wide.chunks : TN_CEIL_DIV(a->rows, r.chunk_rows);
    TN_TRY(tn_ws_take(c, p0, TN_F32, r.chunks, a->cols, err));
    if (p1) TN_TRY(tn_ws_take(c, p1, TN_F32, r.chunks, a->cols, err));
    return can ? tn_columns_parts(c, a, b, stats, &wide, p0, p1, err) : reduce(c, a, b, stats, &r, p0, p1, err);
}

int tn_layernorm_grad(tn_ctx *c, const tn_tensor *x, const tn_tensor *stats, const tn_tensor *dy, tn_tensor *dgamma,
                      tn_tensor *dbeta, tn_error *err)
{
    const size_t mark = c->ws_used;
    tn_tensor p0, p1;
    TN_TRY(reduce_all(c, dy, x, stats, &p0, &p1, err));
    if (dbeta->mem) TN_TRY(tn_parts_sum(c, &p0, dbeta, err));
    if (dgamma->mem) TN_TRY(tn_parts_sum(c, &p1, dgamma, err));
    c->ws_used = mark;
    return 0;
}

/* One column of whole rows, as a tensor of several: what lies side by side is read as such. Their sums are to be added as well. */
static tn_tensor spread_out(const tn_ctx *c, const tn_tensor *a)
{
    enum { WIDE = 64 };
    tn_tensor t = *a;
    if (a->cols > 1 || a->ld > 1 || a->rows % WIDE || !tn_columns_here(c)) return t;
    t.rows /= WIDE, t.cols = t.ld = WIDE;
    return t;
}

int tn_colsum(tn_ctx *c, const tn_tensor *a, const tn_tensor *b, tn_tensor *out, tn_error *err)
{
    const size_t mark = c->ws_used;
    const tn_tensor wide = b ? *a : spread_out(c, a);
    tn_tensor p;
    TN_TRY(reduce_all(c, &wide, b, NULL, &p, NULL, err));
    if (wide.cols > a->cols) p.rows *= p.cols, p.cols = p.ld = 1;
    TN_TRY(tn_parts_sum(c, &p, out, err));
    c->ws_used = mark;
    return 0;
}

int tn_colsum_parts(tn_ctx *c, const tn_tensor *a, int n_parts, const int *part_cols, tn_tensor *outs, tn_error *err)
{
    const size_t mark = c->ws_used;
    tn_tensor p;
    if (n_parts == 1) return outs[0].mem ? tn_colsum(c, a, NULL, &outs[0], err) : 0;
    TN_TRY(reduce_all(c, a, NULL, NULL, &p, NULL, err));
    for (int i = 0, col = 0; i < n_parts; col += part_cols[i++]) {
        tn_tensor view = tn_cols(p, col, part_cols[i]);
        if (outs[i].mem) TN_TRY(tn_parts_sum(c, &view, &outs[i], err));
    }
    c->ws_used = mark;
    return 0;
}

int tn_sample_sum(tn_ctx *c, const tn_tensor *a, const tn_tensor *b, int sample_rows, float alpha, tn_tensor *out, tn_error *err)
{
    if (!tn_columns_can(c, a)) {
        const reduction r = {b ? PRODUCTS : SUMS, sample_rows, a->rows / sample_rows, 1, 1, 1, alpha};
        return reduce(c, a, b, NULL, &r, out, NULL, err);
    }
    const size_t mark = c->ws_used;
    tn_columns r = {.mode = b ? TN_COLUMNS_PRODUCT : TN_COLUMNS_SUM, .unit_rows = sample_rows, .width = 1, .alpha = alpha};
    tn_tensor p;
    tn_columns_cut(&r, c, a);
    TN_TRY(tn_ws_take(c, &p, TN_F32, out->rows * r.chunks, a->cols, err));
    TN_TRY(tn_columns_parts(c, a, b, NULL, &r, &p, NULL, err));
    TN_TRY(tn_columns_sum(c, &p, r.chunks, false, out, err));
    c->ws_used = mark;
    return 0;
}

/* Chunks that never cross a unit's border: unit_rows must be a multiple of the chunk, so take a divisor. */
static reduction unit_reduction(const tn_ctx *c, int what, const tn_tensor *x, int unit_rows, int groups)
{
    int rows = TN_MIN(unit_rows, chunk_rows(c, x->rows, x->cols));
    while (unit_rows % rows) rows--;
    return (reduction){what, rows, x->rows / rows, unit_rows, groups, x->cols / groups, 1.0f};
}

/* A kernel of a norm of x: all of them are in one program. */
static int norm2d_run(tn_ctx *c, const char *entry, const tn_arg *args, int n_args, const tn_tensor *x, const tn_range *range,
                      tn_error *err)
{
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DVW=%d", (int)x->dtype, tn_vec_width(c, x->cols)));
    return tn_op_run(c, "portable/norm2d.cl", entry, o.s, args, n_args, range, err);
}

int tn_norm2d_stats(tn_ctx *c, const tn_tensor *x, int unit_rows, int groups, float eps, tn_tensor *stats, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a norm", TN_LIST(x), TN_LIST(stats), err));
    if (tn_columns_can(c, x)) return tn_columns_stats(c, x, unit_rows, groups, eps, stats, err);
    if (tn_norm_cpu_can(c, x)) return tn_norm_cpu_stats(c, x, unit_rows, groups, eps, stats, err);
    size_t mark = c->ws_used;
    reduction r = unit_reduction(c, SUMS, x, unit_rows, groups);
    const int per_unit = unit_rows / r.chunk_rows;
    tn_tensor p;
    TN_TRY(tn_ws_take(c, &p, TN_F32, r.chunks, x->cols, err));
    const float inv = 1.0f / ((float)unit_rows * (float)(x->cols / groups));
    for (int step = 0; step < 2; step++) {
        r.what = step ? SQUARES : SUMS;
        TN_TRY(reduce(c, x, NULL, stats, &r, &p, NULL, err));
        tn_arg args[] = {TN_BUF(p.mem),    TN_BUF(stats->mem), TN_INT(x->cols), TN_INT(groups),
                         TN_INT(per_unit), TN_FLT(inv),        TN_FLT(eps),     TN_INT(step)};
        const tn_range range = {2, {(size_t)groups, (size_t)(x->rows / unit_rows)}, {0}};
        TN_TRY(norm2d_run(c, "norm2d_stats", args, TN_COUNT(args), x, &range, err));
    }
    c->ws_used = mark;
    return 0;
}

static int per_channel(tn_ctx *c, const char *entry, const tn_arg *args, int n_args, size_t n, tn_error *err)
{
    const tn_range range = {1, {n}, {64}};
    return tn_op_run(c, "portable/norm2d.cl", entry, "-DVW=1", args, n_args, &range, err);
}

enum { NORM_SPAN = 32 }; /* rows an item walks with the same statistics */

static int per_unit(tn_ctx *c, const char *entry, const tn_arg *args, int n_args, const tn_tensor *x, int unit_rows, tn_error *err)
{
    const size_t lanes = (size_t)(x->cols / tn_vec_width(c, x->cols));
    const tn_range range = {3, {lanes, (size_t)TN_CEIL_DIV(unit_rows, NORM_SPAN), (size_t)(x->rows / unit_rows)}, {0}};
    return norm2d_run(c, entry, args, n_args, x, &range, err);
}

static int norm_apply(tn_ctx *c, const tn_norm2d *n, tn_tensor *y, tn_error *err)
{
    tn_arg args[] = {TN_BUF(n->x->mem),  TN_BUF(n->stats->mem), TN_BUF(n->gamma->mem), TN_BUF(n->beta->mem), TN_BUF(y->mem),
                     TN_INT(n->x->cols), TN_INT(n->groups),     TN_INT(n->unit_rows),  TN_INT(NORM_SPAN)};
    return per_unit(c, "norm2d_forward", args, TN_COUNT(args), n->x, n->unit_rows, err);
}

int tn_norm2d_apply(tn_ctx *c, const tn_norm2d *n, const tn_norm_end *end, tn_tensor *y, tn_error *err)
{
    tn_dtype act;
    tn_tensor *u = end && end->kept ? end->kept : y;
    TN_TRY(tn_storage(&act, "a norm", TN_LIST(n->x, y, u), TN_LIST(n->stats, n->gamma, n->beta), err));
    if (tn_columns_can(c, n->x)) return tn_columns_apply(c, n, end, y, err);
    if (tn_norm_cpu_can(c, n->x)) return tn_norm_cpu_apply(c, n, end, y, err);
    TN_TRY(norm_apply(c, n, u, err));
    if (!end) return 0;
    return end->slope && end->kept ? tn_act_keep(c, end->fn, u, y, err) : tn_act_forward(c, end->fn, u, y, err);
}

/* As tn_norm_cpu_parts, for any device and any channels; no lines. */
static int norm_parts(tn_ctx *c, const tn_norm2d *n, const tn_tensor *dy, tn_norm_parts *out, tn_error *err)
{
    const reduction r = unit_reduction(c, GRADS, n->x, n->unit_rows, n->groups);
    out->chunks = n->unit_rows / r.chunk_rows;
    TN_TRY(tn_ws_take(c, &out->p0, TN_F32, r.chunks, n->x->cols, err));
    TN_TRY(tn_ws_take(c, &out->p1, TN_F32, r.chunks, n->x->cols, err));
    return reduce(c, dy, n->x, n->stats, &r, &out->p0, &out->p1, err);
}

static int norm_last(tn_ctx *c, const tn_norm2d *n, const tn_tensor *sums, const tn_tensor *dy, tn_tensor *dx, tn_error *err)
{
    tn_arg args[] = {TN_BUF(n->x->mem), TN_BUF(n->stats->mem), TN_BUF(n->gamma->mem), TN_BUF(sums->mem),    TN_BUF(dy->mem),
                     TN_BUF(dx->mem),   TN_INT(n->x->cols),    TN_INT(n->groups),     TN_INT(n->unit_rows), TN_INT(NORM_SPAN)};
    return per_unit(c, "norm2d_backward", args, TN_COUNT(args), n->x, n->unit_rows, err);
}

/* sums of the parts. */
static int norm_sums(tn_ctx *c, const tn_norm2d *n, const tn_norm_parts *p, tn_tensor *sums, tn_error *err)
{
    const int C = n->x->cols, units = n->x->rows / n->unit_rows;
    const float inv = 1.0f / ((float)n->unit_rows * (float)(C / n->groups));
    TN_TRY(tn_ws_take(c, sums, TN_F32, units * n->groups, 2, err));
    tn_arg args[] = {TN_BUF(p->p0.mem), TN_BUF(p->p1.mem), TN_BUF(n->gamma->mem), TN_BUF(sums->mem),
                     TN_INT(C),         TN_INT(n->groups), TN_INT(p->chunks),     TN_FLT(inv)};
    const tn_range range = {2, {(size_t)n->groups, (size_t)units}, {0}};
    return norm2d_run(c, "norm2d_sums", args, TN_COUNT(args), n->x, &range, err);
}

int tn_norm_parts_add(tn_ctx *c, const tn_norm2d *n, const tn_norm_parts *p, tn_tensor *dgamma, tn_tensor *dbeta, tn_tensor *sums,
                      tn_error *err)
{
    if (dbeta->mem) TN_TRY(tn_parts_sum(c, &p->p0, dbeta, err));
    if (dgamma->mem) TN_TRY(tn_parts_sum(c, &p->p1, dgamma, err));
    return norm_sums(c, n, p, sums, err);
}

/* *du [rows, C] of the workspace, the gradient of the norm, from dy, that of fn of it. */
static int norm_undo_fn(tn_ctx *c, const tn_norm2d *n, tn_fn fn, const tn_tensor *dy, tn_tensor *du, tn_error *err)
{
    TN_TRY(tn_ws_take(c, du, n->x->dtype, n->x->rows, n->x->cols, err));
    TN_TRY(tn_norm2d_apply(c, n, NULL, du, err));
    return tn_act_backward(c, fn, du, dy, du, err);
}

int tn_norm2d_backward(tn_ctx *c, const tn_norm2d *n, const tn_fn *fn, const tn_tensor *dy, tn_tensor *dx, tn_tensor *dgamma,
                       tn_tensor *dbeta, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a norm's backward", TN_LIST(n->x, dy, dx), TN_LIST(n->stats, n->gamma, dgamma, dbeta), err));
    if (tn_columns_can(c, n->x)) return tn_columns_backward(c, n, fn, dy, dx, dgamma, dbeta, err);
    const size_t mark = c->ws_used;
    const bool cpu = tn_norm_cpu_can(c, n->x);
    tn_norm_parts p;
    tn_tensor sums, du = *dy;
    if (fn) TN_TRY(norm_undo_fn(c, n, *fn, dy, &du, err));
    TN_TRY((cpu ? tn_norm_cpu_parts : norm_parts)(c, n, &du, &p, err));
    TN_TRY(tn_norm_parts_add(c, n, &p, dgamma, dbeta, &sums, err));
    TN_TRY(cpu ? tn_norm_cpu_backward(c, n, &p, &sums, &du, dx, err) : norm_last(c, n, &sums, &du, dx, err));
    c->ws_used = mark;
    return 0;
}

int tn_batchnorm_track(tn_ctx *c, const tn_tensor *stats, tn_tensor *mean, tn_tensor *var, float eps, float momentum, int count,
                       tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "BatchNorm's statistics", TN_LIST(stats), TN_LIST(stats, mean, var), err));
    const float unbias = count > 1 ? (float)count / (float)(count - 1) : 1.0f;
    tn_arg args[] = {TN_BUF(stats->mem), TN_BUF(mean->mem), TN_BUF(var->mem), TN_INT(mean->cols),
                     TN_FLT(eps),        TN_FLT(momentum),  TN_FLT(unbias)};
    return per_channel(c, "norm2d_running", args, TN_COUNT(args), (size_t)mean->cols, err);
}

int tn_batchnorm_stats(tn_ctx *c, const tn_tensor *mean, const tn_tensor *var, float eps, tn_tensor *stats, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "BatchNorm's statistics", TN_LIST(stats), TN_LIST(stats, mean, var), err));
    tn_arg args[] = {TN_BUF(mean->mem), TN_BUF(var->mem), TN_BUF(stats->mem), TN_INT(mean->cols), TN_FLT(eps)};
    return per_channel(c, "norm2d_from_running", args, TN_COUNT(args), (size_t)mean->cols, err);
}
