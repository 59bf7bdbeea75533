/* Depthwise 3x3 convolutions: for GPUs gpu/dwconv.cl, where an item walks down columns; for CPUs cpu/dwconv.cl, where it walks
 * along rows, or where channels are no whole vectors conv.cl, where it makes one output. */
#include "spatial.h"

#define CONV   "portable/conv.cl"
#define DWCONV "gpu/dwconv.cl"
#define ALONG  "cpu/dwconv.cl"

/* ---- GPUs ---- */

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

/* ---- CPUs ---- */

static int dw_repack(tn_ctx *c, tn_tensor *t, const tn_tensor *w, int C, tn_error *err)
{
    TN_TRY(tn_ws_take(c, t, TN_F32, 9, C, err));
    tn_arg args[] = {TN_BUF(w->mem), TN_BUF(t->mem), TN_INT(C)};
    return tn_spatial_run(c, &(tn_spatial_kernel){CONV, "dw_repack", "-DVW=1", TN_F32}, (size_t)C, 1, args, TN_COUNT(args), err);
}

static bool walks_along(const tn_tensor *x)
{
    return x->cols % 16 == 0;
}

static tn_runs dw_runs(const tn_ctx *c, int batch, int per_run, int height)
{
    enum { ITEMS_A_UNIT = 16, LEAST = 4 };
    return tn_runs_of(height, batch, per_run, ITEMS_A_UNIT * (int)c->dev->info.compute_units, LEAST);
}

static int dw_along(tn_ctx *c, const tn_tensor *x, const tn_tensor *t, int batch, tn_size2 s, bool flip, tn_tensor *y,
                    tn_error *err)
{
    const tn_runs run = dw_runs(c, batch, 1, s.h);
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DACT=%d%s", (int)x->dtype, flip ? " -DFLIP=1" : "")); /* else one program with dw_back */
    const tn_arg args[] = {TN_BUF(x->mem), TN_BUF(t->mem),  TN_BUF(y->mem),  TN_INT(s.h),
                           TN_INT(s.w),    TN_INT(x->cols), TN_INT(run.span)};
    const tn_range range = {2, {(size_t)run.per_image, (size_t)batch}, {1, 1}};
    return tn_op_run(c, ALONG, "dw_conv", o.s, args, TN_COUNT(args), &range, err);
}

static int dw_each(tn_ctx *c, const tn_tensor *x, const tn_tensor *t, int batch, tn_size2 s, bool flip, tn_tensor *y, tn_error *err)
{
    const int C = x->cols, vw = tn_vec_width(c, C), rows = batch * s.h;
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DVW=%d", vw)); /* one program with the gradient's kernels */
    tn_arg args[] = {TN_BUF(x->mem), TN_BUF(t->mem), TN_BUF(y->mem), TN_INT(s.h), TN_INT(s.w), TN_INT(C), TN_INT(rows)};
    const tn_spatial_kernel k = {CONV, flip ? "dw_conv_turned" : "dw_conv", o.s, x->dtype};
    return tn_spatial_run(c, &k, (size_t)s.w * (size_t)(C / vw), (size_t)rows, args, TN_COUNT(args), err);
}

static int dw_conv(tn_ctx *c, const tn_tensor *x, const tn_tensor *w, int batch, tn_size2 s, bool flip, tn_tensor *y, tn_error *err)
{
    const size_t mark = c->ws_used;
    tn_tensor t;
    TN_TRY(dw_repack(c, &t, w, x->cols, err));
    TN_TRY((walks_along(x) ? dw_along : dw_each)(c, x, &t, batch, s, flip, y, err));
    c->ws_used = mark;
    return 0;
}

static int dw_grad_sum(tn_ctx *c, const tn_tensor *p, int C, int parts, tn_tensor *dw, tn_error *err)
{
    tn_arg args[] = {TN_BUF(p->mem), TN_BUF(dw->mem), TN_INT(C), TN_INT(parts)};
    return tn_spatial_run(c, &(tn_spatial_kernel){CONV, "dw_grad_sum", "-DVW=1", TN_F32}, (size_t)C, 9, args, TN_COUNT(args), err);
}

/* Both gradients in one pass. */
static int dw_back_along(tn_ctx *c, const tn_conv_grads *g, int batch, tn_size2 s, tn_error *err)
{
    const size_t mark = c->ws_used;
    const int C = g->x->cols;
    const tn_runs run = dw_runs(c, batch, C / 16, s.h);
    tn_tensor t, p;
    tn_options o;
    TN_TRY(dw_repack(c, &t, g->w, C, err));
    TN_TRY(tn_ws_take(c, &p, TN_F32, batch * run.per_image * 9, C, err));
    TN_TRY(tn_options_set(&o, err, "-DACT=%d", (int)g->x->dtype));
    const tn_arg args[] = {TN_BUF(g->x->mem), TN_BUF(g->dy->mem), TN_BUF(t.mem), TN_BUF(g->dx->mem), TN_BUF(p.mem),
                           TN_INT(s.h),       TN_INT(s.w),        TN_INT(C),     TN_INT(run.span),   TN_INT(run.per_image)};
    const tn_range range = {3, {(size_t)(C / 16), (size_t)run.per_image, (size_t)batch}, {1, 1, 1}};
    TN_TRY(tn_op_run(c, ALONG, "dw_back", o.s, args, TN_COUNT(args), &range, err));
    TN_TRY(dw_grad_sum(c, &p, C, batch * run.per_image, g->dw, err));
    c->ws_used = mark;
    return 0;
}

static int dw_grad(tn_ctx *c, const tn_tensor *x, const tn_tensor *dy, int batch, tn_size2 s, tn_tensor *dw, tn_error *err)
{
    enum { WANT = 16 };
    size_t mark = c->ws_used;
    const int C = x->cols, vw = tn_vec_width(c, C), rows = batch * s.h;
    const int chunk = TN_CEIL_DIV(rows, WANT), chunks = TN_CEIL_DIV(rows, chunk);
    tn_tensor p;
    TN_TRY(tn_ws_take(c, &p, TN_F32, chunks * 9, C, err));
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DVW=%d", vw));
    tn_arg a1[] = {TN_BUF(x->mem), TN_BUF(dy->mem), TN_BUF(p.mem), TN_INT(s.h),
                   TN_INT(s.w),    TN_INT(C),       TN_INT(rows),  TN_INT(chunk)};
    TN_TRY(tn_spatial_run(c, &(tn_spatial_kernel){CONV, "dw_grad", o.s, x->dtype}, (size_t)(C / vw), (size_t)chunks, a1,
                          TN_COUNT(a1), err));
    TN_TRY(dw_grad_sum(c, &p, C, chunks, dw, err));
    c->ws_used = mark;
    return 0;
}

/* ---- both ---- */

static bool walks(const tn_ctx *c)
{
    return c->dev->info.type != TN_DEVICE_CPU;
}

int tn_dwconv_forward(tn_ctx *c, const tn_tensor *x, const tn_tensor *w, int batch, tn_size2 s, tn_tensor *y, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a depthwise convolution", TN_LIST(x, y), TN_LIST(w), err));
    return (walks(c) ? dw_walk_conv : dw_conv)(c, x, w, batch, s, false, y, err);
}

int tn_dwconv_backward(tn_ctx *c, const tn_conv_grads *g, int batch, tn_size2 s, tn_error *err)
{
    const bool wanted = g->dw->mem || c->dry;
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a depthwise convolution's backward", TN_LIST(g->x, g->dy, g->dx), TN_LIST(g->w, wanted ? g->dw : g->w),
                      err));
    if (walks(c) && wanted) return dw_walk_back(c, g, batch, s, err);
    if (wanted && walks_along(g->x)) return dw_back_along(c, g, batch, s, err);
    if (wanted) TN_TRY(dw_grad(c, g->x, g->dy, batch, s, g->dw, err));
    return (walks(c) ? dw_walk_conv : dw_conv)(c, g->dy, g->w, batch, s, true, g->dx, err);
}
