/* Depthwise convolutions: the tables of their rows, and portable/dwconv.cl, where an item makes one pixel's output. */
#include "dwconv.h"
#include "conv.h"
#include "spatial.h"
#include "tuning.h"

#include <stdio.h>

#define EACH "portable/dwconv.cl"

/* ---- anywhere ---- */

static int each_pack(tn_ctx *c, tn_tensor *t, const tn_tensor *w, const tn_tensor *bias, tn_error *err)
{
    const int C = w->rows, taps = w->cols;
    tn_options o;
    TN_TRY(tn_ws_take(c, t, TN_F32, taps + 1, C, err));
    TN_TRY(tn_options_set(&o, err, "-DVW=1 -DWT=%d", (int)w->dtype));
    const tn_arg args[] = {TN_BUF(w->mem),        TN_BUF(bias->rows ? bias->mem : w->mem), TN_BUF(t->mem), TN_INT(C), TN_INT(taps),
                           TN_INT(bias->rows > 0)};
    return tn_spatial_run(c, &(tn_spatial_kernel){EACH, "dw_pack", o.s, TN_F32}, (size_t)C, (size_t)taps + 1, args, TN_COUNT(args),
                          err);
}

static int dwconv_portable(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_dwconv_args *a = args;
    const tn_conv *s = &a->s;
    const int C = a->to.cols, vw = tn_vec_width(c, C), width = a->back ? s->in.w : s->out.w, rows = a->to.rows / width;
    const size_t mark = c->ws_used;
    tn_options o;
    tn_tensor t;
    TN_TRY(each_pack(c, &t, &a->w, &a->bias, err));
    TN_TRY(tn_options_set(&o, err, "-DVW=%d", vw)); /* one program with the gradient's kernels */
    const tn_arg list[] = {TN_BUF(a->from.mem), TN_BUF(t.mem),     TN_BUF(a->to.mem), TN_INT(s->in.h),
                           TN_INT(s->in.w),     TN_INT(s->out.h),  TN_INT(s->out.w),  TN_INT(C),
                           TN_INT(s->kernel),   TN_INT(s->stride), TN_INT(s->pad),    TN_INT(rows)};
    const tn_spatial_kernel k = {EACH, a->back ? "dw_back" : "dw_forward", o.s, a->act};
    TN_TRY(tn_spatial_run(c, &k, (size_t)width * (size_t)(C / vw), (size_t)rows, list, TN_COUNT(list), err));
    c->ws_used = mark;
    return 0;
}

static int each_sum(tn_ctx *c, const tn_tensor *p, int parts, const tn_tensor *dw, tn_error *err)
{
    const tn_arg args[] = {TN_BUF(p->mem), TN_BUF(dw->mem), TN_INT(dw->rows), TN_INT(dw->cols), TN_INT(parts)};
    return tn_spatial_run(c, &(tn_spatial_kernel){EACH, "dw_grad_sum", "-DVW=1", TN_F32}, (size_t)dw->rows, (size_t)dw->cols, args,
                          TN_COUNT(args), err);
}

static int each_grad(tn_ctx *c, const tn_dwconv_grad_args *a, tn_error *err)
{
    enum { WANT = 16 };
    const size_t mark = c->ws_used;
    const tn_conv *s = &a->s;
    const int C = a->x.cols, vw = tn_vec_width(c, C), taps = a->dw.cols, rows = s->batch * s->out.h;
    const int chunk = TN_CEIL_DIV(rows, WANT), chunks = TN_CEIL_DIV(rows, chunk);
    tn_tensor p;
    tn_options o;
    TN_TRY(tn_ws_take(c, &p, TN_F32, chunks * taps, C, err));
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DVW=%d", (int)a->act, vw));
    const tn_arg args[] = {TN_BUF(a->x.mem), TN_BUF(a->dy.mem), TN_BUF(p.mem), TN_INT(s->in.h),   TN_INT(s->in.w),
                           TN_INT(s->out.h), TN_INT(s->out.w),  TN_INT(C),     TN_INT(s->kernel), TN_INT(s->stride),
                           TN_INT(s->pad),   TN_INT(rows),      TN_INT(chunk)};
    const tn_range range = {3, {(size_t)(C / vw), (size_t)taps, (size_t)chunks}, {0}};
    TN_TRY(tn_op_run(c, EACH, "dw_grad", o.s, args, TN_COUNT(args), &range, err));
    TN_TRY(each_sum(c, &p, chunks, &a->dw, err));
    c->ws_used = mark;
    return 0;
}

static int dwconv_grad_portable(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_dwconv_grad_args *a = args;
    tn_tensor db = a->db;
    if (db.rows) TN_TRY(tn_colsum(c, &a->dy, NULL, &db, err));
    TN_TRY(each_grad(c, a, err));
    if (!a->dx.rows) return 0;
    return dwconv_portable(c, &(tn_dwconv_args){a->s, a->dy, a->w, {0}, a->dx, true, a->act}, err);
}

/* ---- the operations ---- */

void tn_dwconv_kind(char *out, size_t n, const void *args)
{
    const tn_dwconv_args *a = args;
    snprintf(out, n, "%s k%d s%d%s", tn_dtype_name(a->act), a->s.kernel, a->s.stride, a->back ? " back" : "");
}

void tn_dwconv_grad_kind(char *out, size_t n, const void *args)
{
    const tn_dwconv_grad_args *a = args;
    snprintf(out, n, "%s k%d s%d%s%s", tn_dtype_name(a->act), a->s.kernel, a->s.stride, a->db.rows ? " b" : "",
             a->dx.rows ? " dx" : "");
}

static void dwconv_put_shape(char *out, size_t n, const char *kind, const tn_conv *s, int channels)
{
    snprintf(out, n, "%s %dx%dx%dx%d", kind, s->batch, s->in.h, s->in.w, channels);
}

void tn_dwconv_key(char *out, size_t n, const void *args)
{
    char kind[TN_KEY];
    tn_dwconv_kind(kind, sizeof kind, args);
    dwconv_put_shape(out, n, kind, &((const tn_dwconv_args *)args)->s, ((const tn_dwconv_args *)args)->to.cols);
}

void tn_dwconv_grad_key(char *out, size_t n, const void *args)
{
    char kind[TN_KEY];
    tn_dwconv_grad_kind(kind, sizeof kind, args);
    dwconv_put_shape(out, n, kind, &((const tn_dwconv_grad_args *)args)->s, ((const tn_dwconv_grad_args *)args)->x.cols);
}

static double dwconv_flops(const tn_conv *s, int channels)
{
    return 2.0 * s->batch * s->out.h * s->out.w * channels * s->kernel * s->kernel;
}

double tn_dwconv_work(const void *args)
{
    const tn_dwconv_args *a = args;
    return dwconv_flops(&a->s, a->to.cols);
}

double tn_dwconv_grad_work(const void *args)
{
    const tn_dwconv_grad_args *a = args;
    return dwconv_flops(&a->s, a->x.cols) * (a->dx.rows ? 2 : 1);
}

/* Fewer images. */
void tn_dwconv_shrink(void *args, double most)
{
    tn_dwconv_args *a = args;
    const int x = tn_conv_given(&a->s), y = a->s.out.h * a->s.out.w;
    a->s.batch = tn_bucket(a->s.batch);
    while (a->s.batch > 1 && tn_dwconv_work(a) > most) a->s.batch /= 2;
    a->from.rows = a->s.batch * (a->back ? y : x);
    a->to.rows = a->s.batch * (a->back ? x : y);
}

void tn_dwconv_grad_shrink(void *args, double most)
{
    tn_dwconv_grad_args *a = args;
    a->s.batch = tn_bucket(a->s.batch);
    while (a->s.batch > 1 && tn_dwconv_grad_work(a) > most) a->s.batch /= 2;
    a->x.rows = a->s.batch * tn_conv_given(&a->s);
    a->dy.rows = a->s.batch * a->s.out.h * a->s.out.w;
    if (a->dx.rows) a->dx.rows = a->x.rows;
}

/* Tensors like t, those that have rows, with random values. */
static int dwconv_copies(tn_tensor *const *t, int n, tn_ctx *c, tn_error *err)
{
    for (int i = 0; i < n; i++) t[i]->mem = NULL;
    for (int i = 0; i < n; i++) {
        if (!t[i]->rows) continue;
        TN_TRY(tn_tensor_new(t[i], c->dev, t[i]->dtype, t[i]->rows, t[i]->cols, "tuning", err));
        TN_TRY(tn_tensor_random(c->dev, t[i], err));
    }
    return 0;
}

int tn_dwconv_make(void *copy, tn_ctx *c, const void *args, tn_error *err)
{
    tn_dwconv_args *a = copy;
    *a = *(const tn_dwconv_args *)args;
    return dwconv_copies((tn_tensor *[]){&a->from, &a->w, &a->bias, &a->to}, 4, c, err);
}

void tn_dwconv_release(void *copy, tn_ctx *c)
{
    tn_dwconv_args *a = copy;
    tn_tensor *const t[] = {&a->to, &a->bias, &a->w, &a->from};
    for (size_t i = 0; i < TN_COUNT(t); i++) tn_tensor_free(c->dev, t[i]);
}

int tn_dwconv_grad_make(void *copy, tn_ctx *c, const void *args, tn_error *err)
{
    tn_dwconv_grad_args *a = copy;
    *a = *(const tn_dwconv_grad_args *)args;
    return dwconv_copies((tn_tensor *[]){&a->x, &a->dy, &a->w, &a->dx, &a->dw, &a->db}, 6, c, err);
}

void tn_dwconv_grad_release(void *copy, tn_ctx *c)
{
    tn_dwconv_grad_args *a = copy;
    tn_tensor *const t[] = {&a->db, &a->dw, &a->dx, &a->w, &a->dy, &a->x};
    for (size_t i = 0; i < TN_COUNT(t); i++) tn_tensor_free(c->dev, t[i]);
}

static const tn_variant forward_rows[] = {
    {.name = "cpu", .needs = TN_CAP_VECTORS, .can = tn_dwconv_cpu_can, .run = tn_dwconv_cpu},
    {.name = "gpu", .can = tn_dwconv_gpu_can, .run = tn_dwconv_gpu, .tunables = tn_dwconv_gpu_tunables, .not_on_cpus = true},
    {.name = "near", .can = tn_dwconv_near_can, .run = tn_dwconv_near, .tunables = tn_dwconv_near_tunables, .not_on_cpus = true},
    {.name = "portable", .run = dwconv_portable, .not_on_cpus = true},
};
static const tn_variant grad_rows[] = {
    {.name = "cpu", .needs = TN_CAP_VECTORS, .can = tn_dwconv_grad_cpu_can, .run = tn_dwconv_grad_cpu},
    {.name = "gpu",
     .can = tn_dwconv_grad_gpu_can,
     .run = tn_dwconv_grad_gpu,
     .tunables = tn_dwconv_gpu_tunables,
     .not_on_cpus = true},
    {.name = "portable", .run = dwconv_grad_portable, .not_on_cpus = true},
};

const tn_variant_op tn_dwconv_op = {
    .name = "dwconv",
    .rows = forward_rows,
    .n = TN_COUNT(forward_rows),
    .key = tn_dwconv_key,
    .kind = tn_dwconv_kind,
    .make = tn_dwconv_make,
    .release = tn_dwconv_release,
    .args_size = sizeof(tn_dwconv_args),
    .work = tn_dwconv_work,
    .shrink = tn_dwconv_shrink,
};
const tn_variant_op tn_dwconv_grad_op = {
    .name = "dwconv-grad",
    .rows = grad_rows,
    .n = TN_COUNT(grad_rows),
    .key = tn_dwconv_grad_key,
    .kind = tn_dwconv_grad_kind,
    .make = tn_dwconv_grad_make,
    .release = tn_dwconv_grad_release,
    .args_size = sizeof(tn_dwconv_grad_args),
    .work = tn_dwconv_grad_work,
    .shrink = tn_dwconv_grad_shrink,
};

int tn_dwconv_forward(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const tn_tensor *bias, tn_tensor *y,
                      tn_error *err)
{
    const tn_dwconv_args a = {*s, *x, *w, *bias, *y, false, x->dtype};
    return tn_variant_run(c, &tn_dwconv_op, &a, err);
}

/* Of 3x3 taps GPUs make both gradients in one pass, which memory holds up. */
int tn_dwconv_backward(tn_ctx *c, const tn_conv *s, const tn_conv_grads *g, tn_error *err)
{
    const bool both = tn_dwconv_dense(s, 3) && s->pad == 1 && g->dw->rows && g->dx->rows;
    const tn_tensor none = {0};
    if (g->db->rows && !g->dw->rows) TN_TRY(tn_colsum(c, g->dy, NULL, g->db, err));
    if (g->dw->rows) {
        const tn_dwconv_grad_args a = {*s, *g->x, *g->dy, *g->w, both ? *g->dx : none, *g->dw, *g->db, g->dy->dtype};
        TN_TRY(tn_variant_run(c, &tn_dwconv_grad_op, &a, err));
    }
    if (both || !g->dx->rows) return 0;
    const tn_dwconv_args a = {*s, *g->dy, *g->w, none, *g->dx, true, g->dy->dtype};
    return tn_variant_run(c, &tn_dwconv_op, &a, err);
}
