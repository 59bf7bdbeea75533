/* Depthwise convolutions of GPUs (cl/gpu/dwconv.cl), where an item walks down columns. */
#include "dwconv.h"
#include "spatial.h"

#define DWCONV "gpu/dwconv.cl"

static int dw_group(const tn_ctx *c)
{
    return (int)TN_MIN(c->dev->info.max_work_group, 128u);
}

/* How dwconv.cl covers a tensor: its options, groups and runs of rows. */
typedef struct {
    tn_options o;
    int group, per_row, blocks;
    tn_runs run;
} dw_walk;

/* groups: wanted for each compute unit. A group's lanes along the channels are 32 or the fewer that leave fewer idle. */
static int dw_plan(dw_walk *p, const tn_ctx *c, const tn_tensor *x, int batch, tn_size2 s, bool flip, int groups, tn_error *err)
{
    enum { COLS = 4, LEAST = 8 };
    const int C = x->cols, vw = C % 2 ? 1 : 2, lanes = C / vw;
    int tile = TN_MIN(32, dw_group(c));
    while (tile > 8 && TN_ROUND_UP(lanes, tile / 2) < TN_ROUND_UP(lanes, tile)) tile /= 2;
    const int slots = dw_group(c) / tile;
    p->group = tile * slots;
    p->blocks = TN_CEIL_DIV(s.w, COLS * slots);
    p->per_row = p->blocks * TN_CEIL_DIV(lanes, tile);
    p->run = tn_runs_of(s.h, batch, p->per_row, groups * (int)c->dev->info.compute_units, LEAST);
    TN_TRY(tn_countable("a depthwise convolution", (size_t)(s.h + 2) * (size_t)s.w * (size_t)C, err));
    return tn_options_set(&p->o, err, "-DACT=%d -DVW=%d -DCHANNELS=%d -DCOLS=%d -DEVEN=%d -DTILE=%d -DSLOTS=%d -DFLIP=%d",
                          (int)x->dtype, vw, C, COLS, s.w % COLS == 0, tile, slots, flip);
}

static int dw_run(tn_ctx *c, const dw_walk *p, const char *entry, int batch, const tn_arg *args, int n, tn_error *err)
{
    const size_t rows = (size_t)batch * (size_t)p->run.per_image;
    const tn_range range = {2, {(size_t)p->per_row * (size_t)p->group, rows}, {(size_t)p->group, 1}};
    TN_TRY(tn_countable(entry, TN_MAX(range.global[0], rows), err));
    return tn_op_run(c, DWCONV, entry, p->o.s, args, n, &range, err);
}

static int dw_walk_conv(tn_ctx *c, const tn_tensor *x, const tn_tensor *w, int batch, tn_size2 s, bool flip, tn_tensor *y,
                        tn_error *err)
{
    enum { GROUPS = 32 };
    dw_walk p;
    TN_TRY(dw_plan(&p, c, x, batch, s, flip, GROUPS, err));
    tn_arg args[] = {TN_BUF(x->mem), TN_BUF(w->mem),     TN_BUF(y->mem),         TN_INT(s.h),
                     TN_INT(s.w),    TN_INT(p.run.span), TN_INT(p.run.per_image)};
    return dw_run(c, &p, "dwconv", batch, args, TN_COUNT(args), err);
}

/* Fewer groups than the forward has: each leaves 9 sums a channel. */
static int dw_walk_back(tn_ctx *c, const tn_conv_grads *g, int batch, tn_size2 s, tn_error *err)
{
    enum { GROUPS = 12, OUTS = 4 }; /* OUTS as dwconv.cl has it */
    dw_walk p;
    tn_tensor t;
    const size_t mark = c->ws_used;
    const int C = g->x->cols, lanes = TN_MIN(32, dw_group(c) / OUTS);
    TN_TRY(dw_plan(&p, c, g->x, batch, s, true, GROUPS, err));
    const int parts = batch * p.run.per_image * p.blocks;
    TN_TRY(tn_countable("a depthwise convolution's gradient", (size_t)parts * 9 * (size_t)C, err));
    TN_TRY(tn_ws_take(c, &t, TN_F32, parts * 9, C, err));
    tn_arg a1[] = {TN_BUF(g->x->mem), TN_BUF(g->dy->mem), TN_BUF(g->w->mem),  TN_BUF(g->dx->mem),      TN_BUF(t.mem),
                   TN_INT(s.h),       TN_INT(s.w),        TN_INT(p.run.span), TN_INT(p.run.per_image), TN_INT(p.blocks)};
    TN_TRY(dw_run(c, &p, "dwconv_backward", batch, a1, TN_COUNT(a1), err));
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DCHANNELS=%d -DLANES=%d", C, lanes));
    tn_arg a2[] = {TN_BUF(t.mem), TN_BUF(g->dw->mem), TN_INT(parts)};
    const size_t group = (size_t)(OUTS * lanes);
    const tn_range range = {1, {TN_CEIL_DIV((size_t)C * 9, (size_t)OUTS) * group}, {group}};
    TN_TRY(tn_op_run(c, DWCONV, "dwconv_sum", o.s, a2, TN_COUNT(a2), &range, err));
    c->ws_used = mark;
    return 0;
}

static bool walks(const tn_conv *s, const tn_tensor *w)
{
    return tn_dwconv_dense(s, 3) && s->pad == 1 && w->dtype == TN_F32;
}

bool tn_dwconv_gpu_can(const tn_ctx *c, const void *args)
{
    const tn_dwconv_args *a = args;
    (void)c;
    return walks(&a->s, &a->w) && !a->bias.rows;
}

int tn_dwconv_gpu(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_dwconv_args *a = args;
    tn_tensor to = a->to;
    return dw_walk_conv(c, &a->from, &a->w, a->s.batch, a->s.in, a->back, &to, err);
}

bool tn_dwconv_grad_gpu_can(const tn_ctx *c, const void *args)
{
    const tn_dwconv_grad_args *a = args;
    (void)c;
    return walks(&a->s, &a->w) && a->dx.rows && !a->db.rows;
}

int tn_dwconv_grad_gpu(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_dwconv_grad_args *a = args;
    tn_tensor dx = a->dx, dw = a->dw;
    return dw_walk_back(c, &(tn_conv_grads){&a->x, &a->w, &a->dy, &dx, &dw, NULL}, a->s.batch, a->s.in, err);
}
