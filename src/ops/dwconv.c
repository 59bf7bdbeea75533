/* Depthwise convolutions: of 3x3 taps for GPUs gpu/dwconv.cl, where an item walks down columns, and for CPUs cpu/dwconv.cl, where
 * it walks along rows; else portable/dwconv.cl, where it makes one output. */
#include "conv.h"
#include "spatial.h"

#define EACH   "portable/dwconv.cl"
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

static int dw_pack(tn_ctx *c, tn_tensor *t, const tn_conv *s, const tn_tensor *w, const tn_tensor *bias, tn_error *err)
{
    const int C = w->rows, taps = s->kernel * s->kernel;
    tn_options o;
    TN_TRY(tn_ws_take(c, t, TN_F32, taps + 1, C, err));
    TN_TRY(tn_options_set(&o, err, "-DVW=1 -DWT=%d", (int)w->dtype));
    const tn_arg args[] = {TN_BUF(w->mem),        TN_BUF(bias->rows ? bias->mem : w->mem), TN_BUF(t->mem), TN_INT(C), TN_INT(taps),
                           TN_INT(bias->rows > 0)};
    return tn_spatial_run(c, &(tn_spatial_kernel){EACH, "dw_pack", o.s, TN_F32}, (size_t)C, (size_t)taps + 1, args, TN_COUNT(args),
                          err);
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

static int dw_grad_sum(tn_ctx *c, const tn_tensor *p, int taps, int parts, tn_tensor *dw, tn_error *err)
{
    const tn_arg args[] = {TN_BUF(p->mem), TN_BUF(dw->mem), TN_INT(dw->rows), TN_INT(taps), TN_INT(parts)};
    return tn_spatial_run(c, &(tn_spatial_kernel){EACH, "dw_grad_sum", "-DVW=1", TN_F32}, (size_t)dw->rows, (size_t)taps, args,
                          TN_COUNT(args), err);
}

/* Both gradients in one pass. */
static int dw_back_along(tn_ctx *c, const tn_conv *v, const tn_conv_grads *g, tn_error *err)
{
    const size_t mark = c->ws_used;
    const int C = g->x->cols;
    const tn_size2 s = v->in;
    const tn_runs run = dw_runs(c, v->batch, C / 16, s.h);
    tn_tensor t, p;
    tn_options o;
    TN_TRY(dw_pack(c, &t, v, g->w, &(tn_tensor){0}, err));
    TN_TRY(tn_ws_take(c, &p, TN_F32, v->batch * run.per_image * 9, C, err));
    TN_TRY(tn_options_set(&o, err, "-DACT=%d", (int)g->x->dtype));
    const tn_arg args[] = {TN_BUF(g->x->mem), TN_BUF(g->dy->mem), TN_BUF(t.mem), TN_BUF(g->dx->mem), TN_BUF(p.mem),
                           TN_INT(s.h),       TN_INT(s.w),        TN_INT(C),     TN_INT(run.span),   TN_INT(run.per_image)};
    const tn_range range = {3, {(size_t)(C / 16), (size_t)run.per_image, (size_t)v->batch}, {1, 1, 1}};
    TN_TRY(tn_op_run(c, ALONG, "dw_back", o.s, args, TN_COUNT(args), &range, err));
    TN_TRY(dw_grad_sum(c, &p, 9, v->batch * run.per_image, g->dw, err));
    c->ws_used = mark;
    return 0;
}

/* ---- anywhere ---- */

/* From x to y, or back from dy to dx. */
static int dw_each(tn_ctx *c, const tn_conv *s, const tn_tensor *from, const tn_tensor *t, bool back, tn_tensor *to, tn_error *err)
{
    const int C = to->cols, vw = tn_vec_width(c, C), width = back ? s->in.w : s->out.w, rows = to->rows / width;
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DVW=%d", vw)); /* one program with the gradient's kernels */
    const tn_arg args[] = {TN_BUF(from->mem), TN_BUF(t->mem),    TN_BUF(to->mem),  TN_INT(s->in.h),
                           TN_INT(s->in.w),   TN_INT(s->out.h),  TN_INT(s->out.w), TN_INT(C),
                           TN_INT(s->kernel), TN_INT(s->stride), TN_INT(s->pad),   TN_INT(rows)};
    const tn_spatial_kernel k = {EACH, back ? "dw_back" : "dw_forward", o.s, from->dtype};
    return tn_spatial_run(c, &k, (size_t)width * (size_t)(C / vw), (size_t)rows, args, TN_COUNT(args), err);
}

static int dw_grad(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *dy, tn_tensor *dw, tn_error *err)
{
    enum { WANT = 16 };
    const size_t mark = c->ws_used;
    const int C = x->cols, vw = tn_vec_width(c, C), taps = s->kernel * s->kernel, rows = s->batch * s->out.h;
    const int chunk = TN_CEIL_DIV(rows, WANT), chunks = TN_CEIL_DIV(rows, chunk);
    tn_tensor p;
    tn_options o;
    TN_TRY(tn_ws_take(c, &p, TN_F32, chunks * taps, C, err));
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DVW=%d", (int)x->dtype, vw));
    const tn_arg args[] = {TN_BUF(x->mem),   TN_BUF(dy->mem),  TN_BUF(p.mem), TN_INT(s->in.h),   TN_INT(s->in.w),
                           TN_INT(s->out.h), TN_INT(s->out.w), TN_INT(C),     TN_INT(s->kernel), TN_INT(s->stride),
                           TN_INT(s->pad),   TN_INT(rows),     TN_INT(chunk)};
    const tn_range range = {3, {(size_t)(C / vw), (size_t)taps, (size_t)chunks}, {0}};
    TN_TRY(tn_op_run(c, EACH, "dw_grad", o.s, args, TN_COUNT(args), &range, err));
    TN_TRY(dw_grad_sum(c, &p, taps, chunks, dw, err));
    c->ws_used = mark;
    return 0;
}

/* ---- which ---- */

static bool of_nine(const tn_conv *s)
{
    return s->kernel == 3 && s->stride == 1 && s->pad == 1;
}

static bool on_gpu(const tn_ctx *c)
{
    return c->dev->info.type != TN_DEVICE_CPU;
}

static bool walks_down(const tn_ctx *c, const tn_conv *s, const tn_tensor *w, const tn_tensor *bias)
{
    return on_gpu(c) && of_nine(s) && w->dtype == TN_F32 && !bias->rows;
}

static bool walks_along(const tn_ctx *c, const tn_conv *s, const tn_tensor *w, const tn_tensor *bias)
{
    return !on_gpu(c) && of_nine(s) && w->rows % 16 == 0 && !bias->rows;
}

int tn_dwconv_forward(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const tn_tensor *bias, tn_tensor *y,
                      tn_error *err)
{
    const size_t mark = c->ws_used;
    tn_tensor t;
    if (walks_down(c, s, w, bias)) return dw_walk_conv(c, x, w, s->batch, s->in, false, y, err);
    TN_TRY(dw_pack(c, &t, s, w, bias, err));
    if (walks_along(c, s, w, bias)) TN_TRY(dw_along(c, x, &t, s->batch, s->in, false, y, err));
    else TN_TRY(dw_each(c, s, x, &t, false, y, err));
    c->ws_used = mark;
    return 0;
}

static int dw_dx(tn_ctx *c, const tn_conv *s, const tn_tensor *dy, const tn_tensor *w, tn_tensor *dx, tn_error *err)
{
    const size_t mark = c->ws_used;
    const tn_tensor none = {0};
    tn_tensor t;
    if (walks_down(c, s, w, &none)) return dw_walk_conv(c, dy, w, s->batch, s->in, true, dx, err);
    TN_TRY(dw_pack(c, &t, s, w, &none, err));
    if (walks_along(c, s, w, &none)) TN_TRY(dw_along(c, dy, &t, s->batch, s->in, true, dx, err));
    else TN_TRY(dw_each(c, s, dy, &t, true, dx, err));
    c->ws_used = mark;
    return 0;
}

int tn_dwconv_backward(tn_ctx *c, const tn_conv *s, const tn_conv_grads *g, tn_error *err)
{
    const tn_tensor none = {0};
    if (g->dw->rows && g->dx->rows) {
        if (walks_down(c, s, g->w, &none)) return dw_walk_back(c, g, s->batch, s->in, err);
        if (walks_along(c, s, g->w, &none)) return dw_back_along(c, s, g, err);
    }
    if (g->dw->rows) TN_TRY(dw_grad(c, s, g->x, g->dy, g->dw, err));
    return g->dx->rows ? dw_dx(c, s, g->dy, g->w, g->dx, err) : 0;
}
