/* Rows through an affine map, and the gradients. */
#include "ops.h"

#define AFFINE "portable/affine_rows.cl"

/* Everything is float32, and fits. */
static int rows_check(const tn_affine_rows *r, const tn_tensor *d, tn_error *err)
{
    const bool together = r->k == r->v, constants = together || !r->k->rows || r->k->cols == r->v->rows;
    const int most = r->v->cols - together, N = r->w->rows;
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a product of rows", TN_LIST(d), TN_LIST(r->v, r->k, r->w, r->b, d), err));
    if (r->first >= 0 && N > 0 && r->first <= most - N && constants && d->rows == r->v->rows && d->cols == r->w->cols + 1 &&
        (!r->b->rows || r->b->cols == N))
        return 0;
    return tn_fail(err, TN_ERR_ARGUMENT,
                   "a product of rows: entries from %d on of [%d,%d], a map [%d,%d] and a result [%d,%d] do not fit", r->first,
                   r->v->rows, r->v->cols, N, r->w->cols, d->rows, d->cols);
}

/* Where the first row's constant is, and how far on the next one's; -1: there are none. */
typedef struct {
    int at, step;
} constants;

static constants constants_of(const tn_affine_rows *r)
{
    if (!r->k->rows) return (constants){-1, 0};
    return r->k == r->v ? (constants){r->v->cols - 1, r->v->cols} : (constants){0, 1};
}

/* A buffer that the kernel leaves alone where t is not there. */
static tn_buffer *or_else(const tn_tensor *t, const tn_tensor *other)
{
    return t->rows ? t->mem : other->mem;
}

/* How a group of rows_forward is laid out: a GPU hides waits by many items, a CPU reads whole lines. */
typedef struct {
    int vw, run, lanes, parts;
} rows_shape;

/* One program for all of the kernels. */
static int rows_options(tn_options *o, rows_shape *s, const tn_ctx *c, int K, tn_error *err)
{
    enum { LANES = 16, PARTS = 8, RUN = 8 };
    const bool alone = c->dev->info.type == TN_DEVICE_CPU || c->dev->info.max_work_group < LANES * PARTS;
    *s = (rows_shape){tn_vec_width(c, K), alone ? RUN : 1, alone ? 1 : LANES, alone ? 1 : PARTS};
    return tn_options_set(o, err, "-DWG=%d -DVW=%d -DRUN=%d -DLANES=%d -DPARTS=%d", c->dev->row_wg, s->vw, s->run, s->lanes,
                          s->parts);
}

int tn_affine_rows_forward(tn_ctx *c, const tn_affine_rows *r, tn_tensor *out, tn_error *err)
{
    const int K = r->w->cols;
    const constants k = constants_of(r);
    tn_options o;
    rows_shape s;
    TN_TRY(rows_check(r, out, err));
    TN_TRY(rows_options(&o, &s, c, K, err));
    const tn_arg args[] = {TN_BUF(r->v->mem),  TN_BUF(or_else(r->k, r->v)),
                           TN_BUF(r->w->mem),  TN_BUF(or_else(r->b, r->v)),
                           TN_BUF(out->mem),   TN_INT(r->first),
                           TN_INT(r->v->cols), TN_INT(k.at),
                           TN_INT(k.step),     TN_INT(r->w->rows),
                           TN_INT(K),          TN_INT(r->b->rows)};
    const size_t groups = (size_t)TN_CEIL_DIV(K, s.vw * s.run * s.lanes) + 1, group = (size_t)(s.lanes * s.parts);
    const tn_range range = {2, {groups * group, (size_t)out->rows}, {group, 1}};
    return tn_op_run(c, AFFINE, "rows_forward", o.s, args, TN_COUNT(args), &range, err);
}

static int rows_outer(tn_ctx *c, const tn_affine_rows *r, const tn_affine_rows_grads *g, const tn_options *o, tn_error *err)
{
    enum { GROUP = 64 };
    const int K = r->w->cols;
    if (!g->dw->rows && !g->db->rows) return 0;
    const tn_arg args[] = {TN_BUF(r->v->mem),
                           TN_BUF(g->d->mem),
                           TN_BUF(or_else(g->dw, g->db)),
                           TN_BUF(or_else(g->db, g->dw)),
                           TN_INT(r->first),
                           TN_INT(r->v->cols),
                           TN_INT(r->v->rows),
                           TN_INT(r->w->rows),
                           TN_INT(K),
                           TN_INT(g->dw->rows),
                           TN_INT(g->db->rows)};
    const tn_range range = {2, {(size_t)K + 1, (size_t)r->w->rows}, {GROUP, 1}};
    return tn_op_run(c, AFFINE, "rows_outer", o->s, args, TN_COUNT(args), &range, err);
}

int tn_affine_rows_backward(tn_ctx *c, const tn_affine_rows *r, const tn_affine_rows_grads *g, tn_error *err)
{
    const size_t wg = (size_t)c->dev->row_wg;
    const int N = r->w->rows;
    const constants k = constants_of(r);
    tn_options o;
    rows_shape s;
    TN_TRY(rows_check(r, g->d, err));
    TN_TRY(rows_options(&o, &s, c, r->w->cols, err));
    TN_TRY(rows_outer(c, r, g, &o, err));
    if (!g->dv->rows && !g->dk->rows) return 0;
    const tn_arg args[] = {TN_BUF(r->w->mem),
                           TN_BUF(or_else(r->b, r->w)),
                           TN_BUF(g->d->mem),
                           TN_BUF(or_else(g->dv, g->dk)),
                           TN_BUF(or_else(g->dk, g->dv)),
                           TN_INT(r->first),
                           TN_INT(r->v->cols),
                           TN_INT(g->dk->rows ? k.at : -1),
                           TN_INT(k.step),
                           TN_INT(N),
                           TN_INT(r->w->cols),
                           TN_INT(r->b->rows),
                           TN_INT(g->dv->rows)};
    const tn_range range = {2, {(size_t)(N + 1) * wg, (size_t)r->v->rows}, {wg, 1}};
    return tn_op_run(c, AFFINE, "rows_back", o.s, args, TN_COUNT(args), &range, err);
}
