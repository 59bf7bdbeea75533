#include "columns.h"

/* MOST_LANES runs of columns make 1 KB of a row in neighbouring items; GROUPS of them a compute unit keep memory busy. */
enum { MOST_LANES = 64, MOST_ITEMS = TN_COLUMNS_MERGE, GROUPS = 8, LEAST_ROWS = 8, SUM_LANES = 8 };
/* Columns of an item: what works slopes out has no registers for more, or a compute unit holds one group instead of two. */
enum { WIDEST = 8, WIDEST_SLOPES = 4 };

static tn_columns_shape columns_shape(const tn_ctx *c, const tn_tensor *x, int widest)
{
    tn_columns_shape s = {.vw = TN_MIN(widest, tn_run_width(c, x->dtype, x->cols))};
    const int runs = x->cols / s.vw;
    s.blocks = TN_CEIL_DIV(runs, MOST_LANES);
    s.lanes = TN_CEIL_DIV(runs, s.blocks);
    s.rows = MOST_ITEMS / s.lanes;
    s.wg = s.lanes * s.rows;
    return s;
}

tn_columns_shape tn_columns_shape_of(const tn_ctx *c, const tn_tensor *x)
{
    return columns_shape(c, x, WIDEST);
}

tn_columns_shape tn_columns_slopes_of(const tn_ctx *c, const tn_tensor *x)
{
    return columns_shape(c, x, WIDEST_SLOPES);
}

static int columns_options(tn_options *o, const tn_columns_shape *s, tn_dtype act, int mode, tn_error *err)
{
    return tn_options_set(o, err, "-cl-denorms-are-zero -DACT=%d -DMODE=%d -DVW=%d -DLANES=%d -DWG=%d", (int)act, mode, s->vw,
                          s->lanes, s->wg);
}

/* And a function (NULL: none). */
static int columns_function(tn_options *all, const tn_options *o, const tn_fn *fn, tn_error *err)
{
    return fn ? tn_options_set(all, err, "%s -DFN=%d", o->s, (int)*fn) : tn_options_set(all, err, "%s", o->s);
}

bool tn_columns_here(const tn_ctx *c)
{
    return c->dev->info.type != TN_DEVICE_CPU && c->dev->info.max_work_group >= MOST_ITEMS;
}

bool tn_columns_can(const tn_ctx *c, const tn_tensor *x)
{
    return tn_columns_here(c) && x->cols % 4 == 0;
}

void tn_columns_cut(tn_columns *r, const tn_ctx *c, const tn_tensor *a)
{
    const tn_columns_shape s = tn_columns_shape_of(c, a);
    const int units = TN_MAX(1, a->rows / r->unit_rows);
    const int want = TN_MAX(1, (int)c->dev->info.compute_units * GROUPS / (s.blocks * units));
    r->chunk_rows = TN_MAX(TN_CEIL_DIV(r->unit_rows, want), LEAST_ROWS * s.rows);
    r->chunks = TN_CEIL_DIV(r->unit_rows, r->chunk_rows);
}

int tn_columns_parts(tn_ctx *c, const tn_tensor *a, const tn_tensor *b, const tn_tensor *stats, const tn_columns *r, tn_tensor *p0,
                     tn_tensor *p1, tn_error *err)
{
    const tn_columns_shape s = columns_shape(c, a, r->fn ? WIDEST_SLOPES : WIDEST);
    tn_options o, all;
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a sum down the columns", TN_LIST(a, b), stats ? TN_LIST(p0, stats) : TN_LIST(p0), err));
    TN_TRY(columns_options(&o, &s, act, (int)r->mode, err));
    TN_TRY(columns_function(&all, &o, r->fn, err));
    const tn_arg args[] = {TN_BUF(a->mem),
                           TN_BUF(b ? b->mem : a->mem),
                           TN_BUF(stats ? stats->mem : a->mem),
                           TN_BUF(p0->mem),
                           TN_BUF(p1 ? p1->mem : p0->mem),
                           TN_INT(a->cols),
                           TN_INT(r->unit_rows),
                           TN_INT(r->chunk_rows),
                           TN_INT(r->chunks),
                           TN_INT(r->width),
                           TN_FLT(r->alpha),
                           TN_BUF(r->fn ? r->norm->gamma->mem : NULL),
                           TN_BUF(r->fn ? r->norm->beta->mem : NULL)};
    const size_t wg = (size_t)s.wg, lines = (size_t)(a->rows / r->unit_rows) * (size_t)r->chunks;
    const tn_range range = {2, {wg * (size_t)s.blocks, lines}, {wg, 1}};
    return tn_op_run(c, "gpu/colreduce.cl", "colreduce", all.s, args, (int)TN_COUNT(args) - (r->fn ? 0 : 2), &range, err);
}

int tn_columns_sum(tn_ctx *c, const tn_tensor *p, int lines, bool add, tn_tensor *out, tn_error *err)
{
    tn_dtype act;
    tn_options o;
    TN_TRY(tn_storage(&act, "a sum down the columns", TN_LIST(out), TN_LIST(out), err));
    TN_TRY(columns_options(&o, &(tn_columns_shape){.vw = 1, .lanes = SUM_LANES, .wg = MOST_ITEMS}, TN_F32, 0, err));
    const tn_arg args[] = {TN_BUF(p->mem),  TN_INT(p->off), TN_INT(p->ld), TN_BUF(out->mem),
                           TN_INT(p->cols), TN_INT(lines),  TN_INT(add)};
    const tn_range range = {2, {(size_t)TN_CEIL_DIV(p->cols, SUM_LANES) * MOST_ITEMS, (size_t)(p->rows / lines)}, {MOST_ITEMS, 1}};
    return tn_op_run(c, "gpu/colreduce.cl", "colreduce_sum", o.s, args, TN_COUNT(args), &range, err);
}

/* The kernels that make values of the parts, in groups of items along the first dimension. */
static int columns_merge(tn_ctx *c, const char *entry, const tn_arg *args, int n, size_t groups, size_t units, tn_error *err)
{
    tn_options o;
    TN_TRY(columns_options(&o, &(tn_columns_shape){.vw = 1, .lanes = SUM_LANES, .wg = MOST_ITEMS}, TN_F32, 0, err));
    const tn_range range = {2, {groups * MOST_ITEMS, units}, {MOST_ITEMS, 1}};
    return tn_op_run(c, "gpu/norm2d.cl", entry, o.s, args, n, &range, err);
}

int tn_columns_merge_stats(tn_ctx *c, const tn_tensor *means, const tn_tensor *squares, const tn_columns_cuts *cuts, int groups,
                           float eps, tn_tensor *stats, tn_error *err)
{
    const int units = stats->rows / groups;
    const tn_arg args[] = {TN_BUF(means->mem),           TN_BUF(squares->mem),        TN_BUF(stats->mem), TN_INT(means->cols),
                           TN_INT(means->cols / groups), TN_INT(means->rows / units), TN_INT(cuts->h),    TN_INT(cuts->w),
                           TN_INT(cuts->lines),          TN_INT(cuts->block),         TN_FLT(eps)};
    return columns_merge(c, "norm2d_stats", args, TN_COUNT(args), (size_t)groups, (size_t)units, err);
}

int tn_columns_stats(tn_ctx *c, const tn_tensor *x, int unit_rows, int groups, float eps, tn_tensor *stats, tn_error *err)
{
    const size_t mark = c->ws_used;
    const int width = x->cols / groups, units = x->rows / unit_rows;
    tn_columns r = {.mode = TN_COLUMNS_SPREAD, .unit_rows = unit_rows, .width = width, .alpha = 1.0f};
    tn_columns_cut(&r, c, x);
    tn_tensor means, squares;
    TN_TRY(tn_ws_take(c, &means, TN_F32, units * r.chunks, x->cols, err));
    TN_TRY(tn_ws_take(c, &squares, TN_F32, units * r.chunks, x->cols, err));
    TN_TRY(tn_columns_parts(c, x, NULL, NULL, &r, &means, &squares, err));
    const tn_columns_cuts cuts = {unit_rows, 1, r.chunk_rows, 1};
    TN_TRY(tn_columns_merge_stats(c, &means, &squares, &cuts, groups, eps, stats, err));
    c->ws_used = mark;
    return 0;
}

int tn_columns_norm_sums(tn_ctx *c, const tn_norm2d *n, const tn_norm_parts *p, const tn_norm_few_grads *g, tn_tensor *sums,
                         tn_error *err)
{
    const int C = n->x->cols, width = C / n->groups, own = n->x->rows / n->unit_rows * n->groups,
              across = TN_CEIL_DIV(C, SUM_LANES);
    const float inv = 1.0f / ((float)n->unit_rows * (float)width);
    TN_TRY(tn_ws_take(c, sums, TN_F32, own, 2, err));
    tn_buffer *const none = sums->mem, *const dbeta = g->dbeta->mem, *const dgamma = g->dgamma->mem;
    const int beta_end = dbeta ? across : 0, gamma_end = beta_end + (dgamma ? across : 0);
    const int rows_end = gamma_end + (g->drows->rows ? TN_CEIL_DIV(p->rows.cols, SUM_LANES) : 0);
    const tn_arg args[] = {TN_BUF(p->p0.mem),
                           TN_BUF(p->p1.mem),
                           TN_BUF(p->rows.rows ? p->rows.mem : none),
                           TN_BUF(n->gamma->mem),
                           TN_BUF(sums->mem),
                           TN_BUF(dbeta ? dbeta : none),
                           TN_BUF(dgamma ? dgamma : none),
                           TN_BUF(g->drows->rows ? g->drows->mem : none),
                           TN_INT(C),
                           TN_INT(width),
                           TN_INT(p->rows.cols),
                           TN_INT(p->chunks),
                           TN_INT(p->p0.rows),
                           TN_INT(beta_end),
                           TN_INT(gamma_end),
                           TN_INT(rows_end),
                           TN_FLT(inv)};
    return columns_merge(c, "norm2d_sums", args, TN_COUNT(args), (size_t)(rows_end + own), 1, err);
}

/* A kernel over all elements of x, `widest` columns an item at most, with options more. */
static int columns_walk(tn_ctx *c, const char *entry, int widest, const char *more, const tn_arg *args, int n, const tn_norm2d *of,
                        tn_error *err)
{
    const tn_columns_shape s = columns_shape(c, of->x, widest);
    tn_options o, all;
    TN_TRY(columns_options(&o, &s, of->x->dtype, 0, err));
    TN_TRY(tn_options_set(&all, err, "%s%s", o.s, more));
    const size_t wg = (size_t)s.wg, steps = (size_t)TN_CEIL_DIV(of->unit_rows, s.rows * TN_COLUMNS_SPAN);
    const tn_range range = {3, {wg * (size_t)s.blocks, steps, (size_t)(of->x->rows / of->unit_rows)}, {wg, 1, 1}};
    return tn_op_run(c, "gpu/norm2d.cl", entry, all.s, args, n, &range, err);
}

int tn_columns_apply(tn_ctx *c, const tn_norm2d *n, const tn_norm_end *end, tn_tensor *y, tn_error *err)
{
    enum { NOTHING, ITSELF, SLOPE };
    const int width = n->x->cols / n->groups, keep = !end || !end->kept ? NOTHING : end->slope ? SLOPE : ITSELF;
    tn_options more = {""};
    if (end) TN_TRY(tn_options_set(&more, err, " -DFN=%d -DKEEP=%d", (int)end->fn, keep));
    const tn_arg args[] = {TN_BUF(n->x->mem),    TN_BUF(n->stats->mem), TN_BUF(n->gamma->mem),
                           TN_BUF(n->beta->mem), TN_BUF(y->mem),        TN_INT(n->x->cols),
                           TN_INT(width),        TN_INT(n->unit_rows),  TN_BUF(keep ? end->kept->mem : NULL)};
    return columns_walk(c, "norm2d_forward", WIDEST, more.s, args, (int)TN_COUNT(args) - !keep, n, err);
}

int tn_columns_backward(tn_ctx *c, const tn_norm2d *n, const tn_fn *fn, const tn_tensor *dy, tn_tensor *dx, tn_tensor *dgamma,
                        tn_tensor *dbeta, tn_error *err)
{
    const tn_tensor *const x = n->x;
    const size_t mark = c->ws_used;
    const int width = x->cols / n->groups, units = x->rows / n->unit_rows;
    tn_columns r = {.mode = TN_COLUMNS_UNIT, .unit_rows = n->unit_rows, .width = width, .alpha = 1.0f, .norm = n, .fn = fn};
    tn_columns_cut(&r, c, x);
    tn_norm_parts p = {.chunks = r.chunks};
    tn_tensor sums, none = {0};
    TN_TRY(tn_ws_take(c, &p.p0, TN_F32, units * r.chunks, x->cols, err));
    TN_TRY(tn_ws_take(c, &p.p1, TN_F32, units * r.chunks, x->cols, err));
    TN_TRY(tn_columns_parts(c, dy, x, n->stats, &r, &p.p0, &p.p1, err));
    const tn_norm_few_grads g = {.dy = dy, .dx = dx, .drows = &none, .dgamma = dgamma, .dbeta = dbeta};
    TN_TRY(tn_columns_norm_sums(c, n, &p, &g, &sums, err));
    const tn_arg args[] = {
        TN_BUF(x->mem),  TN_BUF(n->stats->mem), TN_BUF(n->gamma->mem), TN_BUF(sums.mem),     TN_BUF(dy->mem),
        TN_BUF(dx->mem), TN_INT(x->cols),       TN_INT(width),         TN_INT(n->unit_rows), TN_BUF(fn ? n->beta->mem : NULL)};
    tn_options more = {""};
    if (fn) TN_TRY(tn_options_set(&more, err, " -DFN=%d", (int)*fn));
    TN_TRY(columns_walk(c, "norm2d_backward", fn ? WIDEST_SLOPES : WIDEST, more.s, args, (int)TN_COUNT(args) - !fn, n, err));
    c->ws_used = mark;
    return 0;
}
