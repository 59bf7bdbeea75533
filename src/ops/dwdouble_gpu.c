/* Depthwise convolutions of GPUs that enlarge what they read (cl/gpu/dwdouble.cl). */
#include "columns.h"
#include "dwconv.h"
#include "spatial.h"

#define DWDOUBLE "gpu/dwdouble.cl"

const tn_tunable tn_dwdouble_gpu_tunables[] = {{"COLS", (const int[]){2, 1, 4, 0}}, {0}};

/* How the kernels cover the images as they are given: options, groups and runs of rows. */
typedef struct {
    tn_options o;
    tn_size2 size;
    int group, per_row, blocks, wide, batch; /* wide: columns of a group */
    tn_runs run;
} double_walk;

/* more: the parts that are built; groups: wanted for each compute unit. The rows that a run reads of its neighbours' are few beside
 * `least`. */
static int double_plan(double_walk *p, const tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const char *more,
                       int groups, tn_error *err)
{
    enum { LEAST = 8 };
    const tn_size2 size = {s->in.h / 2, s->in.w / 2};
    const int C = x->cols, vw = C % 2 ? 1 : 2, lanes = C / vw, tile = tn_dwconv_tile(c, lanes), slots = tn_dwconv_group(c) / tile;
    const int cols = size.w % c->tune[0] || size.w == c->tune[0] ? 1 : c->tune[0];
    p->size = size, p->batch = s->batch;
    p->group = tile * slots;
    p->wide = cols * slots;
    p->blocks = TN_CEIL_DIV(size.w, p->wide);
    p->per_row = p->blocks * TN_CEIL_DIV(lanes, tile);
    p->run = tn_runs_of(size.h, s->batch, p->per_row, groups * (int)c->dev->info.compute_units, LEAST);
    TN_TRY(tn_countable("a depthwise convolution", (size_t)(s->in.h + 4) * (size_t)s->in.w * (size_t)C, err));
    return tn_options_set(&p->o, err, "-DACT=%d -DWT=%d -DVW=%d -DCHANNELS=%d -DCOLS=%d -DTILE=%d -DSLOTS=%d%s%s", (int)x->dtype,
                          (int)w->dtype, vw, C, cols, tile, slots, more, tn_dwconv_device(c));
}

static int double_run(tn_ctx *c, const double_walk *p, const char *entry, const tn_arg *args, int n, tn_error *err)
{
    const size_t rows = (size_t)p->batch * (size_t)p->run.per_image;
    const tn_range range = {2, {(size_t)p->per_row * (size_t)p->group, rows}, {(size_t)p->group, 1}};
    TN_TRY(tn_countable(entry, TN_MAX(range.global[0], rows), err));
    return tn_op_run(c, DWDOUBLE, entry, p->o.s, args, n, &range, err);
}

/* Parts of the statistics, a line for each group of items in x, and the statistics of them. */
static int take_parts(tn_ctx *c, const double_walk *p, int channels, tn_tensor *means, tn_tensor *squares, tn_error *err)
{
    const int lines = p->batch * p->run.per_image * p->blocks;
    TN_TRY(tn_countable("a norm's statistics", (size_t)lines * (size_t)channels, err));
    TN_TRY(tn_ws_take(c, means, TN_F32, lines, channels, err));
    return tn_ws_take(c, squares, TN_F32, lines, channels, err);
}

static int forward(tn_ctx *c, const tn_dwdouble_args *all, tn_error *err)
{
    const tn_dwconv_args *a = &all->of;
    const size_t mark = c->ws_used;
    const bool counts = all->stats.rows > 0;
    tn_tensor means = {0}, squares = {0}, stats = all->stats;
    enum { GROUPS = 16 };
    const bool biased = a->bias.rows > 0;
    double_walk p;
    TN_TRY(double_plan(&p, c, &a->s, &a->from, &a->w, counts ? " -DPARTS=1 -DSTATS=1" : " -DPARTS=1", GROUPS, err));
    if (counts) TN_TRY(take_parts(c, &p, a->to.cols, &means, &squares, err));
    const tn_arg list[] = {TN_BUF(a->from.mem), TN_BUF(a->w.mem),        TN_BUF(biased ? a->bias.mem : a->w.mem),
                           TN_BUF(a->to.mem),   TN_INT(p.size.h),        TN_INT(p.size.w),
                           TN_INT(p.run.span),  TN_INT(p.run.per_image), TN_INT(biased),
                           TN_BUF(means.mem),   TN_BUF(squares.mem)};
    TN_TRY(double_run(c, &p, "dwdouble", list, (int)TN_COUNT(list) - (counts ? 0 : 2), err));
    const tn_columns_cuts cuts = {a->s.out.h, a->s.out.w, 2 * p.run.span, 2 * p.wide};
    if (counts) TN_TRY(tn_columns_merge_stats(c, &means, &squares, &cuts, all->groups, all->eps, &stats, err));
    c->ws_used = mark;
    return 0;
}

enum { BACK_GROUPS = 12 }; /* fewer than the forward has: each leaves its sums for each channel */

/* From dy to dx alone. */
static int backward(tn_ctx *c, const tn_dwconv_args *a, tn_error *err)
{
    double_walk p;
    TN_TRY(double_plan(&p, c, &a->s, &a->to, &a->w, " -DPARTS=2 -DDW=0", BACK_GROUPS, err));
    const tn_arg list[] = {TN_BUF(a->from.mem),     TN_INT(p.size.h), TN_INT(p.size.w), TN_INT(p.run.span),
                           TN_INT(p.run.per_image), TN_BUF(a->w.mem), TN_BUF(a->to.mem)};
    return double_run(c, &p, "dwdouble_backward", list, TN_COUNT(list), err);
}

bool tn_dwdouble_gpu_can(const tn_ctx *c, const void *args)
{
    const tn_dwdouble_args *a = args;
    return tn_dwconv_dense(&a->of.s, 3) && (!a->stats.rows || c->dev->info.max_work_group >= TN_COLUMNS_MERGE);
}

bool tn_dwdouble_grad_gpu_can(const tn_ctx *c, const void *args)
{
    (void)c;
    return tn_dwconv_dense(&((const tn_dwconv_grad_args *)args)->s, 3);
}

int tn_dwdouble_gpu(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_dwdouble_args *a = args;
    return a->of.back ? backward(c, &a->of, err) : forward(c, a, err);
}

int tn_dwdouble_grad_gpu(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_dwconv_grad_args *a = args;
    const bool dx = a->dx.rows > 0;
    const size_t mark = c->ws_used;
    tn_tensor partial, db = a->db;
    double_walk p;
    if (db.rows) TN_TRY(tn_colsum(c, &a->dy, NULL, &db, err));
    TN_TRY(double_plan(&p, c, &a->s, &a->x, &a->w, dx ? " -DPARTS=2" : " -DPARTS=2 -DDX=0", BACK_GROUPS, err));
    const int parts = p.batch * p.run.per_image * p.blocks, taps = a->dw.cols;
    TN_TRY(tn_countable("a depthwise convolution's gradient", (size_t)parts * (size_t)taps * (size_t)a->dw.rows, err));
    TN_TRY(tn_ws_take(c, &partial, TN_F32, parts * taps, a->dw.rows, err));
    const tn_arg both[] = {TN_BUF(a->dy.mem), TN_INT(p.size.h),  TN_INT(p.size.w), TN_INT(p.run.span),  TN_INT(p.run.per_image),
                           TN_BUF(a->w.mem),  TN_BUF(a->dx.mem), TN_BUF(a->x.mem), TN_BUF(partial.mem), TN_INT(p.blocks)};
    const tn_arg alone[] = {TN_BUF(a->dy.mem),       TN_INT(p.size.h), TN_INT(p.size.w),    TN_INT(p.run.span),
                            TN_INT(p.run.per_image), TN_BUF(a->x.mem), TN_BUF(partial.mem), TN_INT(p.blocks)};
    if (dx) TN_TRY(double_run(c, &p, "dwdouble_backward", both, TN_COUNT(both), err));
    else TN_TRY(double_run(c, &p, "dwdouble_backward", alone, TN_COUNT(alone), err));
    TN_TRY(tn_dwconv_sum(c, &partial, parts, taps, a, err));
    c->ws_used = mark;
    return 0;
}
