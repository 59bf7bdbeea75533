/* Depthwise convolutions of CPU devices (cl/cpu/dwconv.cl). */
#include "dwconv.h"
#include "cpu.h"
#include "spatial.h"

#define CPU_DWCONV "cpu/dwconv.cl"

/* As the kernels have them. MOST: taps along a side, whose rows of the ring stay in a core's first cache. */
enum { LANES = 16, TILE = 64, COLS = 8, BLOCKS = 4, MOST = 7 };

static bool fits(const tn_conv *s, int channels)
{
    return channels % LANES == 0 && s->kernel % 2 && s->kernel > 1 && s->kernel <= MOST && tn_dwconv_dense(s, s->kernel);
}

bool tn_dwconv_cpu_can(const tn_ctx *c, const void *args)
{
    const tn_dwconv_args *a = args;
    (void)c;
    return fits(&a->s, a->to.cols);
}

bool tn_dwconv_grad_cpu_can(const tn_ctx *c, const void *args)
{
    const tn_dwconv_grad_args *a = args;
    (void)c;
    return fits(&a->s, a->dy.cols);
}

/* ---- launches ---- */

/* How images of `out` are cut: columns to a tile, and runs of rows. */
typedef struct {
    int tile, tiles;
    tn_runs run;
    tn_range range;
} cpu_cut;

static cpu_cut cut_images(const tn_ctx *c, const tn_conv *s, tn_size2 out, int channels)
{
    enum { ITEMS_A_UNIT = 12, LEAST = 6 };
    const int groups = TN_CEIL_DIV(channels, LANES * BLOCKS);
    cpu_cut k = {.tile = TN_MIN(TILE, TN_ROUND_UP(TN_CEIL_DIV(out.w, TN_CEIL_DIV(out.w, TILE)), COLS))};
    k.tiles = TN_CEIL_DIV(out.w, k.tile);
    k.run = tn_runs_of(out.h, s->batch, groups * k.tiles, ITEMS_A_UNIT * (int)c->dev->info.compute_units, LEAST);
    k.range = (tn_range){3, {(size_t)groups * (size_t)k.tiles, (size_t)k.run.per_image, (size_t)s->batch}, {1, 1, 1}};
    return k;
}

/* Floats that an item needs: `rows` rows of its blocks, and as many vectors for each block. */
static size_t cpu_room(int kernel, int rows, int vectors)
{
    return ((size_t)rows * (TILE + 2 * (size_t)kernel) + (size_t)vectors) * BLOCKS * LANES;
}

/* Another side of the same program where nothing says otherwise: building takes longer than most kernels run. */
static int cpu_options(tn_options *o, const tn_ctx *c, tn_dtype act, const tn_conv *s, const tn_tensor *w, tn_error *err)
{
    return tn_options_set(o, err, "-DACT=%d -DK=%d -DWT=%d -DWIDE=%d%s", (int)act, s->kernel, (int)w->dtype, tn_cpu_wide(c->dev),
                          s->doubled ? " -DDOUBLED=1" : "");
}

static int cpu_pack(tn_ctx *c, tn_tensor *t, const tn_options *o, const tn_dwconv_args *a, tn_error *err)
{
    const int C = a->w.rows, biased = a->bias.rows > 0;
    TN_TRY(tn_ws_take(c, t, TN_F32, a->w.cols + 1, C, err));
    const tn_arg args[] = {TN_BUF(a->w.mem), TN_BUF(biased ? a->bias.mem : a->w.mem), TN_BUF(t->mem), TN_INT(C), TN_INT(biased),
                           TN_INT(a->back)};
    const tn_range range = {2, {(size_t)C, (size_t)a->w.cols + 1}, {tn_group_items(c, (size_t)C), 1}};
    return tn_op_run(c, CPU_DWCONV, "dw_pack", o->s, args, TN_COUNT(args), &range, err);
}

int tn_dwconv_cpu(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_dwconv_args *a = args;
    const tn_conv *s = &a->s;
    const tn_size2 in = a->back ? s->out : s->in, out = a->back ? s->in : s->out;
    const cpu_cut k = cut_images(c, s, out, a->to.cols);
    const size_t mark = c->ws_used;
    tn_options o;
    tn_tensor t;
    TN_TRY(cpu_options(&o, c, a->act, s, &a->w, err));
    TN_TRY(cpu_pack(c, &t, &o, a, err));
    const int pad = a->back ? s->kernel - 1 - s->pad : s->pad;
    tn_arg list[11 + TN_CPU_SCRATCH_ARGS] = {TN_BUF(a->from.mem), TN_BUF(t.mem),      TN_BUF(a->to.mem), TN_INT(in.h),
                                             TN_INT(in.w),        TN_INT(out.h),      TN_INT(out.w),     TN_INT(a->to.cols),
                                             TN_INT(pad),         TN_INT(k.run.span), TN_INT(k.tile)};
    TN_TRY(tn_cpu_scratch(c, cpu_room(s->kernel, s->kernel, 0), list + 11, err));
    TN_TRY(tn_op_run(c, CPU_DWCONV, "dw_conv", o.s, list, TN_COUNT(list), &k.range, err));
    c->ws_used = mark;
    return 0;
}

static int cpu_sum(tn_ctx *c, const tn_options *o, const tn_tensor *partial, int parts, const tn_dwconv_grad_args *a, tn_error *err)
{
    const int C = a->dw.rows, has_bias = a->db.rows > 0;
    const tn_arg args[] = {TN_BUF(partial->mem), TN_BUF(a->dw.mem), TN_BUF(has_bias ? a->db.mem : a->dw.mem), TN_INT(C),
                           TN_INT(parts),        TN_INT(has_bias)};
    const tn_range range = {2, {(size_t)C, (size_t)a->dw.cols + 1}, {tn_group_items(c, (size_t)C), 1}};
    return tn_op_run(c, CPU_DWCONV, "dw_sum", o->s, args, TN_COUNT(args), &range, err);
}

static int cpu_grad(tn_ctx *c, const tn_dwconv_grad_args *a, const tn_options *o, const cpu_cut *k, tn_tensor *partial,
                    tn_error *err)
{
    const tn_conv *s = &a->s;
    tn_arg args[11 + TN_CPU_SCRATCH_ARGS] = {TN_BUF(a->x.mem), TN_BUF(a->dy.mem),   TN_BUF(partial->mem), TN_INT(s->in.h),
                                             TN_INT(s->in.w),  TN_INT(s->out.h),    TN_INT(s->out.w),     TN_INT(a->x.cols),
                                             TN_INT(s->pad),   TN_INT(k->run.span), TN_INT(k->tile)};
    TN_TRY(tn_cpu_scratch(c, cpu_room(s->kernel, s->kernel + 1, s->kernel * s->kernel + 1), args + 11, err));
    return tn_op_run(c, CPU_DWCONV, "dw_grad", o->s, args, TN_COUNT(args), &k->range, err);
}

int tn_dwconv_grad_cpu(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_dwconv_grad_args *a = args;
    const cpu_cut k = cut_images(c, &a->s, a->s.out, a->x.cols);
    const int parts = a->s.batch * k.run.per_image * k.tiles;
    const size_t mark = c->ws_used;
    tn_options o;
    tn_tensor partial;
    TN_TRY(cpu_options(&o, c, a->act, &a->s, &a->w, err));
    TN_TRY(tn_ws_take(c, &partial, TN_F32, parts * (a->dw.cols + 1), a->dw.rows, err));
    TN_TRY(cpu_grad(c, a, &o, &k, &partial, err));
    TN_TRY(cpu_sum(c, &o, &partial, parts, a, err));
    c->ws_used = mark;
    return a->dx.rows ? tn_dwconv_cpu(c, &(tn_dwconv_args){a->s, a->dy, a->w, {0}, a->dx, true, a->act}, err) : 0;
}
