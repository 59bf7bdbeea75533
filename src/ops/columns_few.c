/* A few outputs of an activation behind a norm, on GPUs (cl/gpu/norm_few.cl). */
#include "columns.h"

bool tn_columns_few_can(const tn_ctx *c, const tn_tensor *x)
{
    return tn_columns_can(c, x) && tn_columns_slopes_of(c, x).blocks == 1;
}

static int columns_few_run(tn_ctx *c, const char *entry, const tn_columns_shape *s, const tn_norm_few *f, const tn_arg *args, int n,
                           const tn_range *range, tn_error *err)
{
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-cl-denorms-are-zero -DACT=%d -DVW=%d -DLANES=%d -DWG=%d -DOUTS=%d -DFN=%d", (int)f->n.x->dtype,
                          s->vw, s->lanes, s->wg, f->rows->rows, (int)f->fn));
    return tn_op_run(c, "gpu/norm_few.cl", entry, o.s, args, n, range, err);
}

/* Over all rows. */
static tn_range columns_few_range(const tn_columns_shape *s, const tn_norm2d *n)
{
    const size_t wg = (size_t)s->wg, steps = (size_t)TN_CEIL_DIV(n->unit_rows, s->rows * TN_COLUMNS_SPAN);
    return (tn_range){3, {wg, steps, (size_t)(n->x->rows / n->unit_rows)}, {wg, 1, 1}};
}

int tn_columns_few_forward(tn_ctx *c, const tn_norm_few *f, tn_tensor *y, tn_error *err)
{
    const tn_norm2d *n = &f->n;
    const tn_columns_shape s = tn_columns_shape_of(c, n->x);
    const tn_range range = columns_few_range(&s, n);
    const tn_arg args[] = {TN_BUF(n->x->mem),    TN_BUF(n->stats->mem), TN_BUF(n->gamma->mem),          TN_BUF(n->beta->mem),
                           TN_BUF(f->rows->mem), TN_BUF(y->mem),        TN_INT(n->x->cols / n->groups), TN_INT(n->unit_rows)};
    return columns_few_run(c, "norm_few_forward", &s, f, args, TN_COUNT(args), &range, err);
}

static int columns_few_parts(tn_ctx *c, const tn_norm_few *f, const tn_tensor *dy, const tn_columns *r, tn_norm_parts *p,
                             tn_error *err)
{
    const tn_norm2d *n = &f->n;
    const tn_columns_shape s = tn_columns_slopes_of(c, n->x);
    const size_t wg = (size_t)s.wg;
    const int lines = n->x->rows / n->unit_rows * r->chunks;
    p->chunks = r->chunks;
    TN_TRY(tn_ws_take(c, &p->p0, TN_F32, lines, n->x->cols, err));
    TN_TRY(tn_ws_take(c, &p->p1, TN_F32, lines, n->x->cols, err));
    TN_TRY(tn_ws_take(c, &p->rows, TN_F32, lines, f->rows->rows * f->rows->cols, err));
    const tn_arg args[] = {TN_BUF(n->x->mem),    TN_BUF(n->stats->mem), TN_BUF(n->gamma->mem), TN_BUF(n->beta->mem),
                           TN_BUF(f->rows->mem), TN_BUF(dy->mem),       TN_BUF(p->p0.mem),     TN_BUF(p->p1.mem),
                           TN_BUF(p->rows.mem),  TN_INT(r->width),      TN_INT(n->unit_rows),  TN_INT(r->chunk_rows),
                           TN_INT(r->chunks)};
    const tn_range range = {2, {wg, (size_t)lines}, {wg, 1}};
    return columns_few_run(c, "norm_few_parts", &s, f, args, TN_COUNT(args), &range, err);
}

int tn_columns_few_backward(tn_ctx *c, const tn_norm_few *f, const tn_norm_few_grads *g, tn_error *err)
{
    const tn_norm2d *n = &f->n;
    const size_t mark = c->ws_used;
    const tn_columns_shape s = tn_columns_slopes_of(c, n->x);
    const tn_range range = columns_few_range(&s, n);
    tn_columns r = {.mode = TN_COLUMNS_UNIT, .unit_rows = n->unit_rows, .width = n->x->cols / n->groups, .alpha = 1.0f};
    tn_norm_parts p;
    tn_tensor sums;
    tn_columns_cut(&r, c, n->x);
    TN_TRY(columns_few_parts(c, f, g->dy, &r, &p, err));
    TN_TRY(tn_columns_norm_sums(c, n, &p, g, &sums, err));
    const tn_arg args[] = {TN_BUF(n->x->mem),    TN_BUF(n->stats->mem), TN_BUF(n->gamma->mem), TN_BUF(n->beta->mem),
                           TN_BUF(f->rows->mem), TN_BUF(g->dy->mem),    TN_BUF(sums.mem),      TN_BUF(g->dx->mem),
                           TN_INT(r.width),      TN_INT(n->unit_rows)};
    TN_TRY(columns_few_run(c, "norm_few_backward", &s, f, args, TN_COUNT(args), &range, err));
    c->ws_used = mark;
    return 0;
}
