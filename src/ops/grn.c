#include "ops.h"

/* A kernel of x, all of which are in one program, in groups of `local`. */
static int grn_run(tn_ctx *c, const char *entry, const tn_tensor *x, size_t items, size_t local, const tn_arg *args, int n,
                   tn_error *err)
{
    const tn_range range = {1, {items}, {local}};
    tn_options o;
    TN_TRY(tn_countable(entry, items, err));
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DVW=%d -DWG=%d", (int)x->dtype, tn_run_width(c, x->dtype, x->cols), c->dev->row_wg));
    return tn_op_run(c, "portable/grn.cl", entry, o.s, args, n, &range, err);
}

/* One whose groups take a sample each. */
static int grn_samples(tn_ctx *c, const char *entry, const tn_grn *n, const tn_arg *args, int n_args, tn_error *err)
{
    const size_t wg = (size_t)c->dev->row_wg;
    return grn_run(c, entry, n->x, wg * (size_t)(n->x->rows / n->sample_rows), wg, args, n_args, err);
}

/* One whose items take some channels of a row each. The last argument is their number. */
static int grn_rows(tn_ctx *c, const char *entry, const tn_grn *n, tn_arg *args, int n_args, tn_error *err)
{
    const size_t items = tn_tensor_count(n->x) / (size_t)tn_run_width(c, n->x->dtype, n->x->cols);
    args[n_args - 1] = TN_INT(items);
    return grn_run(c, entry, n->x, items, c->dev->row_wg > 1 ? (size_t)c->dev->row_wg : 64, args, n_args, err);
}

int tn_grn_forward(tn_ctx *c, const tn_grn *n, tn_tensor *y, tn_error *err)
{
    const tn_tensor *x = n->x;
    const int batch = x->rows / n->sample_rows;
    const size_t mark = c->ws_used;
    tn_dtype act;
    tn_tensor sums;
    TN_TRY(tn_storage(&act, "GRN", TN_LIST(x, y), TN_LIST(n->norms, n->gamma, n->beta), err));
    TN_TRY(tn_ws_take(c, &sums, TN_F32, batch, x->cols, err));
    TN_TRY(tn_sample_sum(c, x, x, n->sample_rows, 1, &sums, err));
    const tn_arg a1[] = {TN_BUF(sums.mem), TN_BUF(n->norms->mem), TN_INT(x->cols), TN_INT(batch), TN_FLT(n->eps)};
    tn_arg a2[] = {TN_BUF(x->mem), TN_BUF(n->norms->mem), TN_BUF(n->gamma->mem),  TN_BUF(n->beta->mem),
                   TN_BUF(y->mem), TN_INT(x->cols),       TN_INT(n->sample_rows), TN_INT(0)};
    TN_TRY(grn_samples(c, "grn_norms", n, a1, TN_COUNT(a1), err));
    TN_TRY(grn_rows(c, "grn_forward", n, a2, TN_COUNT(a2), err));
    c->ws_used = mark;
    return 0;
}

int tn_grn_backward(tn_ctx *c, const tn_grn *n, const tn_tensor *dy, tn_tensor *dx, tn_tensor *dgamma, tn_tensor *dbeta,
                    tn_error *err)
{
    const tn_tensor *x = n->x;
    const int batch = x->rows / n->sample_rows;
    const size_t mark = c->ws_used;
    tn_dtype act;
    tn_tensor sums, slopes;
    TN_TRY(tn_storage(&act, "GRN's backward", TN_LIST(x, dy, dx), TN_LIST(n->norms, n->gamma, dgamma, dbeta), err));
    TN_TRY(tn_ws_take(c, &sums, TN_F32, batch, x->cols, err));
    TN_TRY(tn_ws_take(c, &slopes, TN_F32, batch, x->cols, err));
    TN_TRY(tn_sample_sum(c, dy, x, n->sample_rows, 1, &sums, err));
    if (dbeta->mem) TN_TRY(tn_colsum(c, dy, NULL, dbeta, err));
    const tn_tensor beside = tn_view(n->norms->mem, TN_F32, batch, x->cols); /* gamma's factor is x * this */
    if (dgamma->mem) TN_TRY(tn_colsum(c, &sums, &beside, dgamma, err));
    const tn_arg a1[] = {TN_BUF(sums.mem), TN_BUF(n->norms->mem), TN_BUF(n->gamma->mem), TN_BUF(slopes.mem),
                         TN_INT(x->cols),  TN_INT(batch),         TN_FLT(n->eps)};
    tn_arg a2[] = {TN_BUF(x->mem),  TN_BUF(n->norms->mem), TN_BUF(n->gamma->mem),  TN_BUF(slopes.mem), TN_BUF(dy->mem),
                   TN_BUF(dx->mem), TN_INT(x->cols),       TN_INT(n->sample_rows), TN_INT(0)};
    TN_TRY(grn_samples(c, "grn_slopes", n, a1, TN_COUNT(a1), err));
    TN_TRY(grn_rows(c, "grn_backward", n, a2, TN_COUNT(a2), err));
    c->ws_used = mark;
    return 0;
}
