/* Convolutions that sum over channels, as products with rows of the pixels that each output depends on. Towards the input the rows
 * are of dy. With a stride, pixels of dx whose place is the same modulo the stride, a phase, meet the same taps: each phase is a
 * product of its own, so that nothing is multiplied by zeros. */
#include "conv.h"
#include "gemm.h"
#include "spatial.h"

#define CONV "portable/conv.cl"

/* Over the rows and columns of a kernel-shaped tensor. */
static int kernel_run(tn_ctx *c, const char *entry, tn_dtype act, tn_dtype of, tn_size2 over, const tn_arg *args, int n,
                      tn_error *err)
{
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DVW=1 -DWT=%d", (int)of));
    return tn_spatial_run(c, &(tn_spatial_kernel){CONV, entry, o.s, act}, (size_t)over.w, (size_t)over.h, args, n, err);
}

/* The kernel [O, channels * taps] in the rows' order and the storage of the activations. */
static int order_kernel(tn_ctx *c, tn_tensor *t, const tn_tensor *w, tn_dtype act, int channels, int taps, tn_error *err)
{
    tn_tensor all;
    TN_TRY(tn_ws_take(c, &all, act, w->rows, tn_conv_rows_pitch(w->cols, act), err));
    *t = tn_cols(all, 0, w->cols);
    const tn_arg args[] = {TN_BUF(w->mem),   TN_BUF(t->mem), TN_INT(w->rows), TN_INT(w->cols),
                           TN_INT(channels), TN_INT(taps),   TN_INT(t->ld)};
    return kernel_run(c, "kernel_rows", act, w->dtype, (tn_size2){w->rows, channels}, args, TN_COUNT(args), err);
}

/* One-tap rows of whole images are a matrix. */
static int full_run(tn_ctx *c, const tn_conv_args *a, tn_error *err)
{
    const tn_conv_rows *r = &a->rows;
    if (!tn_conv_rows_are_pixels(r) || a->step > 1) return tn_variant_run(c, &tn_conv_op, a, err);
    const tn_tensor pixels = tn_cols(r->image, r->from, r->channels);
    return tn_gemm_run(c, &(tn_gemm_args){.tb = true, .alpha = 1, .A = pixels, .B = a->W, .C = a->C, .e = {.bias = a->bias}}, err);
}

static tn_conv_rows forward_rows(const tn_conv *s, const tn_tensor *x, int group)
{
    const int channels = x->cols / s->groups, k = s->kernel;
    return (tn_conv_rows){*x, s->in, s->out, s->batch, group * channels, channels, -s->pad, -s->pad, s->stride, k, k};
}

/* A group's bias as a vector of its own. */
static int group_bias(tn_ctx *c, tn_buffer **out, const tn_tensor *bias, int group, int outs, tn_error *err)
{
    tn_tensor part;
    *out = bias->mem;
    if (!bias->rows || bias->cols == outs) return 0;
    TN_TRY(tn_ws_take(c, &part, TN_F32, 1, outs, err));
    *out = part.mem;
    const tn_arg args[] = {TN_BUF(bias->mem), TN_BUF(part.mem), TN_INT(group * outs), TN_INT(outs)};
    return kernel_run(c, "bias_part", TN_F32, TN_F32, (tn_size2){1, outs}, args, TN_COUNT(args), err);
}

int tn_conv_full(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const tn_tensor *bias, tn_tensor *y,
                 tn_error *err)
{
    const size_t mark = c->ws_used;
    const int channels = x->cols / s->groups, outs = y->cols / s->groups;
    tn_tensor W = *w;
    if (s->kernel > 1 || w->dtype != x->dtype) TN_TRY(order_kernel(c, &W, w, x->dtype, channels, s->kernel * s->kernel, err));
    for (int i = 0; i < s->groups; i++) {
        tn_conv_args a = {forward_rows(s, x, i), tn_rows(W, i * outs, outs), tn_cols(*y, i * outs, outs), NULL, s->out, 1, 0, 0};
        const size_t here = c->ws_used;
        TN_TRY(group_bias(c, &a.bias, bias, i, outs, err));
        TN_TRY(full_run(c, &a, err));
        c->ws_used = here;
    }
    c->ws_used = mark;
    return 0;
}

/* ---- towards the input ---- */

/* One side of a phase: the first tap of those that its pixels meet, how many there are, its pixels, and the place in dy that the
 * last of its taps meets at the first pixel. */
typedef struct {
    int tap, taps, size, top;
} phase_side;

static phase_side phase_along(const tn_conv *s, int at, int in)
{
    const int tap = (at + s->pad) % s->stride, taps = TN_MAX(0, TN_CEIL_DIV(s->kernel - tap, s->stride));
    return (phase_side){tap, taps, TN_CEIL_DIV(in - at, s->stride), (at + s->pad - tap) / s->stride - taps + 1};
}

/* The kernel's taps of a phase turned round, [groups * channels, taps * outs], one phase after another. */
static int turn_kernel(tn_ctx *c, tn_tensor *t, const tn_conv *s, const tn_tensor *w, tn_dtype act, tn_error *err)
{
    const int outs = w->rows / s->groups, taps = s->kernel * s->kernel, channels = w->cols / taps, all = s->groups * channels;
    const int some = c->dev->info.type == TN_DEVICE_CPU ? 16 : 1;
    TN_TRY(tn_ws_take(c, t, act, all, taps * outs, err));
    const tn_arg args[] = {TN_BUF(w->mem),   TN_BUF(t->mem),    TN_INT(all),       TN_INT(outs),
                           TN_INT(channels), TN_INT(s->kernel), TN_INT(s->stride), TN_INT(some)};
    const tn_size2 over = some > 1 ? (tn_size2){TN_CEIL_DIV(outs, some), all} : (tn_size2){all, outs};
    return kernel_run(c, "kernel_back", act, w->dtype, over, args, TN_COUNT(args), err);
}

/* Rows of a kernel at places before `at` modulo the stride. */
static int rows_before(const tn_conv *s, int at)
{
    return s->kernel / s->stride * at + TN_MIN(s->kernel % s->stride, at);
}

/* A phase's part of what turn_kernel made. */
static tn_tensor phase_kernel(const tn_conv *s, const tn_tensor *turned, const phase_side *y, const phase_side *x, int outs)
{
    const int before = rows_before(s, y->tap) * s->kernel + y->taps * rows_before(s, x->tap);
    tn_tensor t = *turned;
    t.off += (size_t)before * (size_t)outs * (size_t)t.rows;
    t.cols = t.ld = y->taps * x->taps * outs;
    return t;
}

static int back_phase(tn_ctx *c, const tn_conv *s, const tn_tensor *dy, const tn_tensor *turned, int at, tn_tensor *dx,
                      tn_error *err)
{
    const int py = at / s->stride, px = at % s->stride, outs = dy->cols / s->groups, channels = dx->cols / s->groups;
    const phase_side y = phase_along(s, py, s->in.h), x = phase_along(s, px, s->in.w);
    tn_conv_args a = {.C = *dx, .to = s->in, .step = s->stride, .y = py, .x = px};
    a.rows = (tn_conv_rows){*dy, s->out, {y.size, x.size}, s->batch, 0, outs, y.top, x.top, 1, y.taps, x.taps};
    if (y.size < 1 || x.size < 1) return 0;
    if (!y.taps || !x.taps) return tn_conv_clear(c, &a, err);
    const tn_tensor W = phase_kernel(s, turned, &y, &x, outs);
    for (int i = 0; i < s->groups; i++) {
        a.rows.from = i * outs;
        a.W = tn_rows(W, i * channels, channels);
        a.C = tn_cols(*dx, i * channels, channels);
        TN_TRY(full_run(c, &a, err));
    }
    return 0;
}

int tn_conv_full_dx(tn_ctx *c, const tn_conv *s, const tn_tensor *dy, const tn_tensor *w, tn_tensor *dx, tn_error *err)
{
    const size_t mark = c->ws_used;
    tn_tensor turned;
    TN_TRY(turn_kernel(c, &turned, s, w, dy->dtype, err));
    for (int at = 0; at < s->stride * s->stride; at++) TN_TRY(back_phase(c, s, dy, &turned, at, dx, err));
    c->ws_used = mark;
    return 0;
}

/* ---- the kernel's gradient ---- */

static int full_grad(tn_ctx *c, const tn_conv_grad_args *a, tn_error *err)
{
    const tn_conv_rows *r = &a->rows;
    if (!tn_conv_rows_are_pixels(r)) return tn_variant_run(c, &tn_conv_grad_op, a, err);
    const tn_tensor pixels = tn_cols(r->image, r->from, r->channels);
    return tn_gemm_run(c, &(tn_gemm_args){.ta = true, .alpha = 1, .beta = a->add, .A = a->dy, .B = pixels, .C = a->sum}, err);
}

int tn_conv_full_grad(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *dy, tn_tensor *dw, tn_error *err)
{
    const size_t mark = c->ws_used;
    const int channels = x->cols / s->groups, outs = dy->cols / s->groups, taps = s->kernel * s->kernel;
    tn_tensor sum = *dw;
    if (taps > 1) TN_TRY(tn_ws_take(c, &sum, TN_F32, dw->rows, dw->cols, err));
    for (int i = 0; i < s->groups; i++) {
        const tn_conv_grad_args a = {forward_rows(s, x, i), tn_cols(*dy, i * outs, outs), tn_rows(sum, i * outs, outs), taps == 1};
        TN_TRY(full_grad(c, &a, err));
    }
    if (taps > 1) {
        const tn_arg args[] = {TN_BUF(sum.mem), TN_BUF(dw->mem), TN_INT(dw->rows), TN_INT(channels), TN_INT(taps)};
        TN_TRY(kernel_run(c, "kernel_grad", x->dtype, TN_F32, (tn_size2){dw->rows, channels}, args, TN_COUNT(args), err));
    }
    c->ws_used = mark;
    return 0;
}
