/* Depthwise convolutions of GPUs: where an item walks down columns (cl/gpu/dwconv.cl), and of maps too small for that
 * (cl/gpu/dwconv_near.cl). */
#include "dwconv.h"
#include "spatial.h"

#define DWCONV "gpu/dwconv.cl"
#define NEAR   "gpu/dwconv_near.cl"

const tn_tunable tn_dwconv_gpu_tunables[] = {{"VW", (const int[]){2, 1, 0}}, {"COLS", (const int[]){4, 2, 8, 0}}, {0}};

static bool walks(const tn_conv *s)
{
    const int k = s->kernel;
    return (k == 3 || k == 5 || k == 7) && s->pad == k / 2 && tn_dwconv_dense(s, k);
}

bool tn_dwconv_gpu_can(const tn_ctx *c, const void *args)
{
    (void)c;
    return walks(&((const tn_dwconv_args *)args)->s);
}

bool tn_dwconv_grad_gpu_can(const tn_ctx *c, const void *args)
{
    (void)c;
    return walks(&((const tn_dwconv_grad_args *)args)->s);
}

/* How the kernels cover a tensor: their options, groups and runs of rows. */
typedef struct {
    tn_options o;
    int group, per_row, blocks;
    tn_runs run;
} gpu_walk;

int tn_dwconv_group(const tn_ctx *c)
{
    return (int)TN_MIN(c->dev->info.max_work_group, 128u);
}

/* Rows of a run: several times those that it reads from its neighbours', where `across` groups beside each other leave no compute
 * unit idle so; one frame's small maps are cut further. */
static int gpu_least(const tn_ctx *c, const tn_conv *s, int across)
{
    enum { FEWEST = 2 };
    int least = 2 + 2 * s->kernel;
    while (least > FEWEST && across * TN_CEIL_DIV(s->in.h, least) < 2 * (int)c->dev->info.compute_units) least /= 2;
    return least;
}

int tn_dwconv_tile(const tn_ctx *c, int lanes)
{
    int tile = TN_MIN(32, tn_dwconv_group(c));
    while (tile > 8 && TN_ROUND_UP(lanes, tile / 2) < TN_ROUND_UP(lanes, tile)) tile /= 2;
    return tile;
}

/* groups: wanted for each compute unit. */
static int gpu_plan(gpu_walk *p, const tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const char *more,
                    int groups, tn_error *err)
{
    const int C = x->cols, vw = C % c->tune[0] ? 1 : c->tune[0], cols = c->tune[1], lanes = C / vw;
    const int tile = tn_dwconv_tile(c, lanes), slots = tn_dwconv_group(c) / tile;
    p->group = tile * slots;
    p->blocks = TN_CEIL_DIV(s->in.w, cols * slots);
    p->per_row = p->blocks * TN_CEIL_DIV(lanes, tile);
    p->run =
        tn_runs_of(s->in.h, s->batch, p->per_row, groups * (int)c->dev->info.compute_units, gpu_least(c, s, s->batch * p->per_row));
    TN_TRY(tn_countable("a depthwise convolution", (size_t)(s->in.h + s->kernel) * (size_t)s->in.w * (size_t)C, err));
    return tn_options_set(&p->o, err, "-DACT=%d -DK=%d -DWT=%d -DVW=%d -DCHANNELS=%d -DCOLS=%d -DEVEN=%d -DTILE=%d -DSLOTS=%d%s%s",
                          (int)x->dtype, s->kernel, (int)w->dtype, vw, C, cols, s->in.w % cols == 0, tile, slots, more,
                          tn_dwconv_device(c));
}

static int gpu_run(tn_ctx *c, const gpu_walk *p, const char *entry, int batch, const tn_arg *args, int n, tn_error *err)
{
    const size_t rows = (size_t)batch * (size_t)p->run.per_image;
    const tn_range range = {2, {(size_t)p->per_row * (size_t)p->group, rows}, {(size_t)p->group, 1}};
    TN_TRY(tn_countable(entry, TN_MAX(range.global[0], rows), err));
    return tn_op_run(c, DWCONV, entry, p->o.s, args, n, &range, err);
}

int tn_dwconv_gpu(tn_ctx *c, const void *args, tn_error *err)
{
    enum { GROUPS = 32 };
    const tn_dwconv_args *a = args;
    const bool biased = a->bias.rows > 0;
    gpu_walk p;
    TN_TRY(gpu_plan(&p, c, &a->s, &a->from, &a->w, " -DPARTS=1", GROUPS, err));
    const tn_arg list[] = {TN_BUF(a->from.mem), TN_BUF(a->w.mem),        TN_BUF(biased ? a->bias.mem : a->w.mem),
                           TN_BUF(a->to.mem),   TN_INT(a->s.in.h),       TN_INT(a->s.in.w),
                           TN_INT(p.run.span),  TN_INT(p.run.per_image), TN_INT(biased),
                           TN_INT(a->back)};
    return gpu_run(c, &p, "dwconv", a->s.batch, list, TN_COUNT(list), err);
}

/* ---- small maps ---- */

const tn_tunable tn_dwconv_near_tunables[] = {{"ROWS", (const int[]){1, 2, 0}}, {"COLS", (const int[]){4, 2, 0}}, {0}};

/* A walk over larger ones loads less. */
bool tn_dwconv_near_can(const tn_ctx *c, const void *args)
{
    enum { ITEMS = 8192 }; /* four times what a compute unit of the largest GPUs has at work */
    const tn_dwconv_args *a = args;
    const double items = (double)a->s.batch * a->s.in.h * a->s.in.w * a->to.cols / 8;
    return walks(&a->s) && items <= (double)ITEMS * c->dev->info.compute_units;
}

int tn_dwconv_near(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_dwconv_args *a = args;
    const bool biased = a->bias.rows > 0;
    const int C = a->from.cols, vw = C % 2 ? 1 : 2, rows = c->tune[0], cols = c->tune[1], runs = TN_CEIL_DIV(a->s.in.h, rows);
    const int tile = tn_dwconv_tile(c, C / vw), slots = tn_dwconv_group(c) / tile;
    const size_t groups = (size_t)TN_CEIL_DIV(C / vw, tile) * (size_t)TN_CEIL_DIV(a->s.in.w, cols * slots);
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DK=%d -DWT=%d -DVW=%d -DCHANNELS=%d -DCOLS=%d -DROWS=%d -DTILE=%d -DSLOTS=%d%s",
                          (int)a->from.dtype, a->s.kernel, (int)a->w.dtype, vw, C, cols, rows, tile, slots, tn_dwconv_device(c)));
    const tn_arg list[] = {TN_BUF(a->from.mem), TN_BUF(a->w.mem),  TN_BUF(biased ? a->bias.mem : a->w.mem),
                           TN_BUF(a->to.mem),   TN_INT(a->s.in.h), TN_INT(a->s.in.w),
                           TN_INT(runs),        TN_INT(biased),    TN_INT(a->back)};
    const tn_range range = {2, {groups * (size_t)(tile * slots), (size_t)a->s.batch * (size_t)runs}, {(size_t)(tile * slots), 1}};
    return tn_op_run(c, NEAR, "dwconv_near", o.s, list, TN_COUNT(list), &range, err);
}

/* ---- gradients ---- */

int tn_dwconv_sum(tn_ctx *c, const tn_tensor *partial, int parts, int lines, const tn_dwconv_grad_args *a, tn_error *err)
{
    enum { OUTS = 4 }; /* as the kernel has it */
    const int lanes = TN_MIN(32, tn_dwconv_group(c) / OUTS), biased = lines > a->dw.cols && a->db.rows > 0;
    const size_t group = (size_t)(OUTS * lanes), outs = (size_t)lines * (size_t)a->dw.rows;
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DPARTS=4 -DK=%d -DCHANNELS=%d -DLANES=%d -DLINES=%d -DVW=1", a->s.kernel, a->dw.rows, lanes,
                          lines));
    const tn_arg args[] = {TN_BUF(partial->mem), TN_BUF(a->dw.mem), TN_BUF(biased ? a->db.mem : a->dw.mem), TN_INT(parts),
                           TN_INT(biased)};
    const tn_range range = {1, {TN_CEIL_DIV(outs, (size_t)OUTS) * group}, {group}};
    return tn_op_run(c, DWCONV, "dwconv_sum", o.s, args, TN_COUNT(args), &range, err);
}

/* Of 3x3 taps dx is made beside the others; of more both would want too many registers. Fewer groups than the forward has: each
 * leaves its sums for each channel. */
int tn_dwconv_grad_gpu(tn_ctx *c, const void *args, tn_error *err)
{
    enum { GROUPS = 12 };
    const tn_dwconv_grad_args *a = args;
    const bool dx = a->dx.rows > 0 && a->s.kernel == 3;
    const size_t mark = c->ws_used;
    const tn_tensor none = {0};
    gpu_walk p;
    tn_tensor partial;
    TN_TRY(gpu_plan(&p, c, &a->s, &a->x, &a->w, dx ? " -DPARTS=2" : " -DPARTS=2 -DDX=0", GROUPS, err));
    const int parts = a->s.batch * p.run.per_image * p.blocks;
    TN_TRY(tn_countable("a depthwise convolution's gradient", (size_t)parts * (size_t)(a->dw.cols + 1) * (size_t)a->dw.rows, err));
    TN_TRY(tn_ws_take(c, &partial, TN_F32, parts * (a->dw.cols + 1), a->dw.rows, err));
    const tn_arg list[] = {TN_BUF(a->x.mem),        TN_BUF(a->dy.mem), TN_BUF(partial.mem),
                           TN_INT(a->s.in.h),       TN_INT(a->s.in.w), TN_INT(p.run.span),
                           TN_INT(p.run.per_image), TN_INT(p.blocks),  TN_BUF(dx ? a->w.mem : NULL),
                           TN_BUF(a->dx.mem)};
    TN_TRY(gpu_run(c, &p, "dwconv_backward", a->s.batch, list, (int)TN_COUNT(list) - (dx ? 0 : 2), err));
    TN_TRY(tn_dwconv_sum(c, &partial, parts, a->dw.cols + 1, a, err));
    c->ws_used = mark;
    if (dx || !a->dx.rows) return 0;
    return tn_dwconv_gpu(c, &(tn_dwconv_args){a->s, a->dy, a->w, none, a->dx, true, a->act}, err);
}
