/* Features of several levels in one tensor: their positions, and rows put into it and taken out. */
#include "spatial.h"

#include <stdio.h>

#define LEVELS "portable/levels.cl"

enum { RUN = 64 }; /* rows of a partial sum */

int tn_levels_options(tn_options *o, const tn_levels *l, tn_error *err)
{
    char sizes[sizeof o->s] = "";
    for (int i = 0, at = 0; i < l->n && at < (int)sizeof sizes; i++)
        at += snprintf(sizes + at, sizeof sizes - (size_t)at, " -DH%d=%d -DW%d=%d", i, l->h[i], i, l->w[i]);
    return tn_options_set(o, err, "-DLEVELS=%d%s", l->n, sizes);
}

static int levels_run(tn_ctx *c, const char *entry, const tn_levels *l, const tn_tensor *x, tn_size2 over, const tn_arg *args,
                      int n, tn_error *err)
{
    tn_options sizes, o;
    TN_TRY(tn_levels_options(&sizes, l, err));
    TN_TRY(tn_options_set(&o, err, "-DVW=%d -DRUN=%d %s", tn_run_width(c, x->dtype, x->cols), RUN, sizes.s));
    return tn_spatial_run(c, &(tn_spatial_kernel){LEVELS, entry, o.s, x->dtype}, (size_t)over.w, (size_t)over.h, args, n, err);
}

static int levels_check(const tn_levels *l, const tn_tensor *pos, const tn_tensor *embed, tn_error *err)
{
    if (pos->rows == tn_levels_rows(l, l->n) && embed->rows == l->n && embed->cols == pos->cols) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "positions of %d levels: [%d, %d] are not of %d cells, or embeddings [%d, %d] do not fit",
                   l->n, pos->rows, pos->cols, tn_levels_rows(l, l->n), embed->rows, embed->cols);
}

int tn_level_positions(tn_ctx *c, const tn_levels *l, const tn_tensor *pos, const tn_tensor *embed, tn_tensor *y, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "positions of levels", TN_LIST(y), TN_LIST(pos, embed, y), err));
    TN_TRY(levels_check(l, pos, embed, err));
    const tn_arg args[] = {TN_BUF(pos->mem), TN_BUF(embed->mem), TN_BUF(y->mem), TN_INT(y->cols), TN_INT(y->rows)};
    return levels_run(c, "level_positions", l, y, (tn_size2){y->rows, y->cols / tn_run_width(c, act, y->cols)}, args,
                      TN_COUNT(args), err);
}

int tn_level_grad(tn_ctx *c, const tn_tensor *dpos, const tn_levels *l, tn_tensor *embed, tn_error *err)
{
    const size_t mark = c->ws_used;
    const int d = dpos->cols;
    int runs = 0;
    tn_dtype act;
    tn_tensor parts;
    TN_TRY(tn_storage(&act, "the levels' gradient", TN_LIST(dpos), TN_LIST(embed), err));
    if (embed->mem) TN_TRY(levels_check(l, dpos, embed, err));
    for (int i = 0; i < l->n; i++) runs += TN_CEIL_DIV(l->h[i] * l->w[i], RUN);
    TN_TRY(tn_ws_take(c, &parts, TN_F32, runs, d, err));
    const tn_arg a1[] = {TN_BUF(dpos->mem), TN_BUF(parts.mem), TN_INT(d), TN_INT(runs)};
    const tn_arg a2[] = {TN_BUF(parts.mem), TN_BUF(embed->mem), TN_INT(d)};
    TN_TRY(levels_run(c, "level_sums", l, dpos, (tn_size2){runs, d / tn_run_width(c, act, d)}, a1, TN_COUNT(a1), err));
    TN_TRY(levels_run(c, "level_add", l, dpos, (tn_size2){l->n, d}, a2, TN_COUNT(a2), err));
    c->ws_used = mark;
    return 0;
}
