/* Depthwise convolutions that enlarge what they read: the tables of their rows, of which the last has the enlarged map in the
 * workspace. */
#include "conv.h"
#include "dwconv.h"

#include <stdio.h>

static tn_conv as_it_is(const tn_conv *s)
{
    tn_conv plain = *s;
    plain.doubled = false;
    return plain;
}

static tn_resize doubling(const tn_conv *s)
{
    return (tn_resize){{s->in.h / 2, s->in.w / 2}, s->in, 0.5f, 0.5f};
}

static int take_enlarged(tn_ctx *c, tn_tensor *t, const tn_conv *s, const tn_tensor *like, tn_error *err)
{
    return tn_ws_take(c, t, like->dtype, s->batch * s->in.h * s->in.w, like->cols, err);
}

/* x, enlarged in the workspace. */
static int enlarge(tn_ctx *c, tn_tensor *t, const tn_conv *s, const tn_tensor *x, tn_error *err)
{
    const tn_resize r = doubling(s);
    TN_TRY(take_enlarged(c, t, s, x, err));
    return tn_bilinear_forward(c, x, s->batch, &r, t, err);
}

static int stats_of(tn_ctx *c, const tn_dwdouble_args *a, tn_error *err)
{
    tn_tensor stats = a->stats;
    if (!stats.rows) return 0;
    return tn_norm2d_stats(c, &a->of.to, a->of.s.out.h * a->of.s.out.w, a->groups, a->eps, &stats, err);
}

static int dwdouble_apart(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_dwdouble_args *all = args;
    const tn_dwconv_args *a = &all->of;
    const size_t mark = c->ws_used;
    const tn_resize r = doubling(&a->s);
    tn_dwconv_args plain = *a;
    tn_tensor to = a->to;
    plain.s = as_it_is(&a->s);
    if (a->back) TN_TRY(take_enlarged(c, &plain.to, &a->s, &a->to, err));
    else TN_TRY(enlarge(c, &plain.from, &a->s, &a->from, err));
    TN_TRY(tn_variant_run(c, &tn_dwconv_op, &plain, err));
    if (a->back) TN_TRY(tn_bilinear_backward(c, &plain.to, NULL, a->s.batch, &r, &to, err));
    c->ws_used = mark;
    return stats_of(c, all, err);
}

static bool dwdouble_cpu_can(const tn_ctx *c, const void *args)
{
    return !((const tn_dwdouble_args *)args)->of.back && tn_dwconv_cpu_can(c, args);
}

static int dwdouble_cpu(tn_ctx *c, const void *args, tn_error *err)
{
    TN_TRY(tn_dwconv_cpu(c, args, err));
    return stats_of(c, args, err);
}

static int dwdouble_grad_apart(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_dwconv_grad_args *a = args;
    const size_t mark = c->ws_used;
    const tn_conv plain = as_it_is(&a->s);
    const tn_resize r = doubling(&a->s);
    tn_tensor x, d = {0}, dx = a->dx, dw = a->dw, db = a->db;
    TN_TRY(enlarge(c, &x, &a->s, &a->x, err));
    if (dx.rows) TN_TRY(take_enlarged(c, &d, &a->s, &dx, err));
    TN_TRY(tn_dwconv_backward(c, &plain, &(tn_conv_grads){&x, &a->w, &a->dy, &d, &dw, &db}, err));
    if (dx.rows) TN_TRY(tn_bilinear_backward(c, &d, NULL, a->s.batch, &r, &dx, err));
    c->ws_used = mark;
    return 0;
}

/* The gradient of the smaller map by way of that of the enlarged one. */
static int dwdouble_grad_cpu(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_tensor none = {0};
    tn_dwconv_grad_args a = *(const tn_dwconv_grad_args *)args;
    const tn_dwdouble_args back = {.of = {a.s, a.dy, a.w, none, a.dx, true, a.act}};
    a.dx = none;
    TN_TRY(tn_dwconv_grad_cpu(c, &a, err));
    return back.of.to.rows ? dwdouble_apart(c, &back, err) : 0;
}

static const char *with_stats(const void *args)
{
    return ((const tn_dwdouble_args *)args)->stats.rows ? " stats" : "";
}

static void dwdouble_kind(char *out, size_t n, const void *args)
{
    char of[TN_KEY];
    tn_dwconv_kind(of, sizeof of, args);
    snprintf(out, n, "%s%s", of, with_stats(args));
}

static void dwdouble_key(char *out, size_t n, const void *args)
{
    char of[TN_KEY];
    tn_dwconv_key(of, sizeof of, args);
    snprintf(out, n, "%s%s", of, with_stats(args));
}

static void dwdouble_shrink(void *args, double most)
{
    tn_dwdouble_args *a = args;
    tn_dwconv_shrink(args, most);
    if (a->stats.rows) a->stats.rows = a->of.s.batch * a->groups;
}

static int dwdouble_make(void *copy, tn_ctx *c, const void *args, tn_error *err)
{
    tn_dwdouble_args *a = copy;
    *a = *(const tn_dwdouble_args *)args;
    a->stats.mem = NULL;
    TN_TRY(tn_dwconv_make(copy, c, args, err));
    return a->stats.rows ? tn_tensor_new(&a->stats, c->dev, TN_F32, a->stats.rows, 2, "tuning", err) : 0;
}

static void dwdouble_release(void *copy, tn_ctx *c)
{
    tn_dwdouble_args *a = copy;
    tn_tensor_free(c->dev, &a->stats);
    tn_dwconv_release(copy, c);
}

static const tn_variant doubled_rows[] = {
    {.name = "cpu", .needs = TN_CAP_VECTORS, .can = dwdouble_cpu_can, .run = dwdouble_cpu},
    {.name = "gpu", .can = tn_dwdouble_gpu_can, .run = tn_dwdouble_gpu, .tunables = tn_dwdouble_gpu_tunables, .not_on_cpus = true},
    {.name = "apart", .run = dwdouble_apart},
};
static const tn_variant doubled_grad_rows[] = {
    {.name = "cpu", .needs = TN_CAP_VECTORS, .can = tn_dwconv_grad_cpu_can, .run = dwdouble_grad_cpu},
    {.name = "gpu",
     .can = tn_dwdouble_grad_gpu_can,
     .run = tn_dwdouble_grad_gpu,
     .tunables = tn_dwdouble_gpu_tunables,
     .not_on_cpus = true},
    {.name = "apart", .run = dwdouble_grad_apart},
};

const tn_variant_op tn_dwdouble_op = {
    .name = "dwdouble",
    .rows = doubled_rows,
    .n = TN_COUNT(doubled_rows),
    .key = dwdouble_key,
    .kind = dwdouble_kind,
    .make = dwdouble_make,
    .release = dwdouble_release,
    .args_size = sizeof(tn_dwdouble_args),
    .work = tn_dwconv_work,
    .shrink = dwdouble_shrink,
};
const tn_variant_op tn_dwdouble_grad_op = {
    .name = "dwdouble-grad",
    .rows = doubled_grad_rows,
    .n = TN_COUNT(doubled_grad_rows),
    .key = tn_dwconv_grad_key,
    .kind = tn_dwconv_grad_kind,
    .make = tn_dwconv_grad_make,
    .release = tn_dwconv_grad_release,
    .args_size = sizeof(tn_dwconv_grad_args),
    .work = tn_dwconv_grad_work,
    .shrink = tn_dwconv_grad_shrink,
};

int tn_dwdouble_forward(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const tn_tensor *bias, tn_tensor *y,
                        const tn_conv_norm *n, tn_error *err)
{
    tn_dwdouble_args a = {.of = {*s, *x, *w, *bias, *y, false, x->dtype}};
    if (n) a.stats = *n->stats, a.groups = n->groups, a.eps = n->eps;
    return tn_variant_run(c, &tn_dwdouble_op, &a, err);
}

int tn_dwdouble_backward(tn_ctx *c, const tn_conv *s, const tn_conv_grads *g, tn_error *err)
{
    const tn_tensor none = {0};
    if (g->dw->rows) {
        const tn_dwconv_grad_args a = {*s, *g->x, *g->dy, *g->w, *g->dx, *g->dw, *g->db, g->dy->dtype};
        return tn_variant_run(c, &tn_dwdouble_grad_op, &a, err);
    }
    if (g->db->rows) TN_TRY(tn_colsum(c, g->dy, NULL, g->db, err));
    if (!g->dx->rows) return 0;
    const tn_dwdouble_args a = {.of = {*s, *g->dy, *g->w, none, *g->dx, true, g->dy->dtype}};
    return tn_variant_run(c, &tn_dwdouble_op, &a, err);
}
