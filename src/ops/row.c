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

int tn_row_through(tn_ctx *c, const tn_row *r, tn_tensor *out, tn_error *err)
{
    enum { GROUP = 64 };
    const int K = r->w->cols;
    TN_TRY(row_check(r, out, err));
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
    const tn_range range = {1, {(size_t)K + 1}, {GROUP}};
    return tn_op_run(c, ROW, "row_through", "", args, TN_COUNT(args), &range, err);
}

static int row_outer(tn_ctx *c, const tn_row *r, const tn_row_grads *g, tn_error *err)
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
    return tn_op_run(c, ROW, "row_outer", "", args, TN_COUNT(args), &range, err);
}

int tn_row_backward(tn_ctx *c, const tn_row *r, const tn_row_grads *g, tn_error *err)
{
    const size_t wg = (size_t)c->dev->row_wg;
    const int N = r->w->rows;
    tn_options o;
    TN_TRY(row_check(r, g->d, err));
    TN_TRY(row_outer(c, r, g, err));
    if (!g->dv->rows && !g->dk->rows) return 0;
    TN_TRY(tn_options_set(&o, err, "-DWG=%d -DVW=%d", (int)wg, tn_vec_width(c, r->w->cols)));
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
