/* A few outputs of an activation behind a norm: what the last block of an upsampling decoder comes to. The activation is never
 * stored; on the way back it is worked out again, twice, for which nothing but the norm's input is read. */
#include "columns.h"
#include "norm_parts.h"

static int few_check(const tn_norm_few *f, const tn_tensor *y, tn_error *err)
{
    const tn_norm2d *n = &f->n;
    const int C = n->x->cols, O = f->rows->rows;
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a few outputs of a norm", TN_LIST(n->x), TN_LIST(n->stats, n->gamma, n->beta, f->rows, y), err));
    if (O > 0 && O <= TN_FEW_OUTPUTS && f->rows->cols == C + 1 && y->rows == n->x->rows && y->cols == O && C % n->groups == 0 &&
        n->x->rows % n->unit_rows == 0)
        return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "a few outputs of a norm: a map [%d,%d], rows [%d,%d] and a result [%d,%d] do not fit",
                   n->x->rows, C, O, f->rows->cols, y->rows, y->cols);
}

/* Each unit cut into as many runs of rows as keep the device busy, with its numbers by channel made for each. */
static int chunk_of(const tn_ctx *c, const tn_norm2d *n)
{
    enum { LEAST = 16 };
    const int units = n->x->rows / n->unit_rows, items = (int)c->dev->info.compute_units * (c->dev->row_wg > 1 ? 256 : 4);
    return TN_MAX(LEAST, TN_CEIL_DIV(n->unit_rows, TN_MAX(1, items / units)));
}

/* A kernel over the chunks of all units. */
static int few_run(tn_ctx *c, const char *entry, const tn_norm_few *f, const tn_arg *args, int count, tn_error *err)
{
    const tn_norm2d *n = &f->n;
    const size_t chunks = (size_t)TN_CEIL_DIV(n->unit_rows, chunk_of(c, n));
    const tn_range range = {2, {chunks, (size_t)(n->x->rows / n->unit_rows)}, {1, 1}};
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DVW=%d -DC=%d -DOUTS=%d -DFN=%d", (int)n->x->dtype, tn_vec_width(c, n->x->cols),
                          n->x->cols, f->rows->rows, (int)f->fn));
    return tn_op_run(c, "portable/norm_few.cl", entry, o.s, args, count, &range, err);
}

int tn_norm_few_forward(tn_ctx *c, const tn_norm_few *f, tn_tensor *y, tn_error *err)
{
    const tn_norm2d *n = &f->n;
    TN_TRY(few_check(f, y, err));
    if (tn_columns_few_can(c, n->x)) return tn_columns_few_forward(c, f, y, err);
    const tn_arg args[] = {TN_BUF(n->x->mem),    TN_BUF(n->stats->mem), TN_BUF(n->gamma->mem),
                           TN_BUF(n->beta->mem), TN_BUF(f->rows->mem),  TN_BUF(y->mem),
                           TN_INT(n->groups),    TN_INT(n->unit_rows),  TN_INT(chunk_of(c, n))};
    return few_run(c, "norm_few_forward", f, args, TN_COUNT(args), err);
}

/* As a norm's parts, and pw [lines, O * (C + 1)] of drows. */
static int few_parts(tn_ctx *c, const tn_norm_few *f, const tn_tensor *dy, tn_norm_parts *p, tn_tensor *pw, tn_error *err)
{
    const tn_norm2d *n = &f->n;
    p->chunks = TN_CEIL_DIV(n->unit_rows, chunk_of(c, n));
    const int lines = n->x->rows / n->unit_rows * p->chunks;
    TN_TRY(tn_ws_take(c, &p->p0, TN_F32, lines, n->x->cols, err));
    TN_TRY(tn_ws_take(c, &p->p1, TN_F32, lines, n->x->cols, err));
    TN_TRY(tn_ws_take(c, pw, TN_F32, lines, f->rows->rows * f->rows->cols, err));
    const tn_arg args[] = {TN_BUF(n->x->mem),    TN_BUF(n->stats->mem), TN_BUF(n->gamma->mem), TN_BUF(n->beta->mem),
                           TN_BUF(f->rows->mem), TN_BUF(dy->mem),       TN_BUF(p->p0.mem),     TN_BUF(p->p1.mem),
                           TN_BUF(pw->mem),      TN_INT(n->groups),     TN_INT(n->unit_rows),  TN_INT(chunk_of(c, n))};
    return few_run(c, "norm_few_parts", f, args, TN_COUNT(args), err);
}

int tn_norm_few_backward(tn_ctx *c, const tn_norm_few *f, const tn_norm_few_grads *g, tn_error *err)
{
    const tn_norm2d *n = &f->n;
    const size_t mark = c->ws_used;
    tn_norm_parts p;
    tn_tensor pw, sums;
    TN_TRY(few_check(f, g->dy, err));
    if (tn_columns_few_can(c, n->x)) return tn_columns_few_backward(c, f, g, err);
    TN_TRY(few_parts(c, f, g->dy, &p, &pw, err));
    TN_TRY(tn_norm_parts_add(c, n, &p, g->dgamma, g->dbeta, &sums, err));
    if (g->drows->rows) {
        tn_tensor drows = tn_view(g->drows->mem, TN_F32, 1, pw.cols);
        TN_TRY(tn_op_fill(c, drows.mem, 0, tn_tensor_bytes(&drows), 0, err));
        TN_TRY(tn_parts_sum(c, &pw, &drows, err));
    }
    const tn_arg args[] = {TN_BUF(n->x->mem),    TN_BUF(n->stats->mem), TN_BUF(n->gamma->mem), TN_BUF(n->beta->mem),
                           TN_BUF(f->rows->mem), TN_BUF(g->dy->mem),    TN_BUF(sums.mem),      TN_BUF(g->dx->mem),
                           TN_INT(n->groups),    TN_INT(n->unit_rows),  TN_INT(chunk_of(c, n))};
    TN_TRY(few_run(c, "norm_few_backward", f, args, TN_COUNT(args), err));
    c->ws_used = mark;
    return 0;
}
