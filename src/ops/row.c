/* A row through an affine map, and the gradients. */
#include "ops.h"

#define ROW "portable/row.cl"

/* Everything is float32, and fits. */
static int row_check(const tn_row *r, const tn_tensor *d, tn_error *err)
{
    const int most = r->v->cols - (r->k == r->v), N = r->w->rows;
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a row's product", TN_LIST(d), TN_LIST(r->v, r->k, r->w, r->b, d), err));
    if (r->first >= 0 && N > 0 && r->first <= most - N && d->cols == r->w->cols + 1 && (!r->b->rows || r->b->cols == N)) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "a row's product: entries from %d on of %d, a map [%d,%d] and a result of %d do not fit",
                   r->first, r->v->cols, N, r->w->cols, d->cols);
}

/* Where the constant is; -1: there is none. */
static int constant_at(const tn_row *r)
{
    return r->k->rows ? r->k->cols - 1 : -1;
}

/* A buffer that the kernel leaves alone where t is not there. */
static tn_buffer *or_else(const tn_tensor *t, const tn_tensor *other)
{
    return t->rows ? t->mem : other->mem;
}

/* How a group of row_through is laid out: a GPU hides waits by many items, a CPU reads whole lines. */
typedef struct {
    int vw, run, lanes, parts;
} row_shape;

/* One program for all of a row's kernels. */
static int row_options(tn_options *o, row_shape *s, const tn_ctx *c, int K, tn_error *err)
{
    enum { LANES = 16, PARTS = 8, RUN = 8 };
    const bool alone = c->dev->info.type == TN_DEVICE_CPU || c->dev->info.max_work_group < LANES * PARTS;
    *s = (row_shape){tn_vec_width(c, K), alone ? RUN : 1, alone ? 1 : LANES, alone ? 1 : PARTS};
    return tn_options_set(o, err, "-DWG=%d -DVW=%d -DRUN=%d -DLANES=%d -DPARTS=%d", c->dev->row_wg, s->vw, s->run, s->lanes,
                          s->parts);
}

int tn_row_through(tn_ctx *c, const tn_row *r, tn_tensor *out, tn_error *err)
{
    const int K = r->w->cols;
    tn_options o;
    row_shape s;
    TN_TRY(row_check(r, out, err));
    TN_TRY(row_options(&o, &s, c, K, err));
    const tn_arg args[] = {TN_BUF(r->v->mem),
                           TN_BUF(or_else(r->k, r->v)),
                           TN_BUF(r->w->mem),
                           TN_BUF(or_else(r->b, r->v)),
                           TN_BUF(out->mem),
                           TN_INT(r->first),
                           TN_INT(constant_at(r)),
                           TN_INT(r->w->rows),
                           TN_INT(K),
                           TN_INT(r->b->rows)};
    const size_t groups = (size_t)TN_CEIL_DIV(K, s.vw * s.run * s.lanes) + 1, group = (size_t)(s.lanes * s.parts);
    const tn_range range = {1, {groups * group}, {group}};
    return tn_op_run(c, ROW, "row_through", o.s, args, TN_COUNT(args), &range, err);
}

static int row_outer(tn_ctx *c, const tn_row *r, const tn_row_grads *g, const tn_options *o, tn_error *err)
{
    enum { GROUP = 64 };
    const int K = r->w->cols;
    if (!g->dw->rows && !g->db->rows) return 0;
    const tn_arg args[] = {TN_BUF(r->v->mem),
                           TN_BUF(g->d->mem),
                           TN_BUF(or_else(g->dw, g->db)),
                           TN_BUF(or_else(g->db, g->dw)),
                           TN_INT(r->first),
                           TN_INT(r->w->rows),
                           TN_INT(K),
                           TN_INT(g->dw->rows),
                           TN_INT(g->db->rows)};
    const tn_range range = {2, {(size_t)K + 1, (size_t)r->w->rows}, {GROUP, 1}};
    return tn_op_run(c, ROW, "row_outer", o->s, args, TN_COUNT(args), &range, err);
}

int tn_row_backward(tn_ctx *c, const tn_row *r, const tn_row_grads *g, tn_error *err)
{
    const size_t wg = (size_t)c->dev->row_wg;
    const int N = r->w->rows;
    tn_options o;
    row_shape s;
    TN_TRY(row_check(r, g->d, err));
    TN_TRY(row_options(&o, &s, c, r->w->cols, err));
    TN_TRY(row_outer(c, r, g, &o, err));
    if (!g->dv->rows && !g->dk->rows) return 0;
    const tn_arg args[] = {TN_BUF(r->w->mem),
                           TN_BUF(or_else(r->b, r->w)),
                           TN_BUF(g->d->mem),
                           TN_BUF(or_else(g->dv, g->dk)),
                           TN_BUF(or_else(g->dk, g->dv)),
                           TN_INT(r->first),
                           TN_INT(g->dk->rows ? constant_at(r) : -1),
                           TN_INT(N),
                           TN_INT(r->w->cols),
                           TN_INT(r->b->rows),
                           TN_INT(g->dv->rows)};
    const tn_range range = {1, {(size_t)(N + 1) * wg}, {wg}};
    return tn_op_run(c, ROW, "row_back", o.s, args, TN_COUNT(args), &range, err);
}
