/* Convolutions: what may be asked for, and which way it goes. */
#include "conv.h"

/* Does each channel have a kernel of its own? */
static bool conv_is_depthwise(const tn_conv *s, int channels, int outs)
{
    return s->groups == channels && channels == outs;
}

/* What is enlarged on its way. */
static int conv_doubled(const tn_conv *s, int channels, int outs, tn_error *err)
{
    if (!s->doubled || (conv_is_depthwise(s, channels, outs) && s->kernel == 3 && s->stride == 1 && s->pad == 1 &&
                        s->in.h % 2 == 0 && s->in.w % 2 == 0))
        return 0;
    return tn_fail(
        err, TN_ERR_ARGUMENT,
        "a convolution enlarges what it reads only where it is depthwise with a kernel of 3, a stride of 1 and a zero around");
}

static int conv_shape(const tn_conv *s, int channels, int outs, tn_error *err)
{
    const int h = tn_conv_size(s->in.h, s->kernel, s->stride, s->pad), w = tn_conv_size(s->in.w, s->kernel, s->stride, s->pad);
    if (s->kernel < 1 || s->stride < 1 || s->pad < 0 || s->groups < 1)
        return tn_fail(err, TN_ERR_ARGUMENT, "a convolution with a kernel of %d, a stride of %d, %d zeros around and %d groups",
                       s->kernel, s->stride, s->pad, s->groups);
    if (channels % s->groups || outs % s->groups)
        return tn_fail(err, TN_ERR_ARGUMENT, "a convolution from %d to %d channels does not divide into %d groups", channels, outs,
                       s->groups);
    if (h < 1 || w < 1 || h != s->out.h || w != s->out.w)
        return tn_fail(
            err, TN_ERR_ARGUMENT,
            "a convolution of %dx%d pixels with a kernel of %d, a stride of %d and %d zeros around makes %dx%d, not %dx%d", s->in.h,
            s->in.w, s->kernel, s->stride, s->pad, h, w, s->out.h, s->out.w);
    return 0;
}

static int conv_tensor(const char *what, const tn_tensor *t, int rows, int cols, tn_error *err)
{
    if (!t->rows || (t->rows == rows && t->cols == cols)) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "a convolution's %s is [%d,%d] where [%d,%d] fits", what, t->rows, t->cols, rows, cols);
}

/* The kernel, its gradient and what belongs to both sides. Those without rows are not there. */
static int conv_check(const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const tn_tensor *dw, const tn_tensor *bias,
                      const tn_tensor *y, int channels, tn_error *err)
{
    const int O = w->rows, length = s->groups > 0 ? channels / s->groups * s->kernel * s->kernel : 0;
    TN_TRY(conv_shape(s, channels, O, err));
    TN_TRY(conv_doubled(s, channels, O, err));
    TN_TRY(conv_tensor("input", x, s->batch * tn_conv_given(s), channels, err));
    TN_TRY(conv_tensor("output", y, s->batch * s->out.h * s->out.w, O, err));
    TN_TRY(conv_tensor("kernel", w, O, length, err));
    TN_TRY(conv_tensor("kernel's gradient", dw, O, length, err));
    return conv_tensor("bias", bias, 1, O, err);
}

/* A kernel is stored as float32 or as the activations are. */
static int conv_storage(const char *op, const tn_tensor *a, const tn_tensor *b, const tn_tensor *c, const tn_tensor *w,
                        const tn_tensor *bias, const tn_tensor *dw, tn_error *err)
{
    const tn_tensor none = {0};
    const bool floats = w->dtype == TN_F32;
    tn_dtype act;
    return tn_storage(&act, op, TN_LIST(a, b, c, floats ? &none : w), TN_LIST(floats ? w : &none, bias, dw), err);
}

static int forward(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const tn_tensor *bias, tn_tensor *y,
                   const tn_conv_norm *n, tn_error *err)
{
    const tn_tensor none = {0};
    TN_TRY(conv_storage("a convolution", x, y, &none, w, bias, &none, err));
    TN_TRY(conv_check(s, x, w, &none, bias, y, x->cols, err));
    if (s->doubled) return tn_dwdouble_forward(c, s, x, w, bias, y, n, err);
    TN_TRY((conv_is_depthwise(s, x->cols, y->cols) ? tn_dwconv_forward : tn_conv_full)(c, s, x, w, bias, y, err));
    return n ? tn_norm2d_stats(c, y, s->out.h * s->out.w, n->groups, n->eps, n->stats, err) : 0;
}

int tn_conv_forward(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const tn_tensor *bias, tn_tensor *y,
                    tn_error *err)
{
    return forward(c, s, x, w, bias, y, NULL, err);
}

int tn_conv_forward_stats(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const tn_tensor *bias, tn_tensor *y,
                          const tn_conv_norm *n, tn_error *err)
{
    if (n->groups < 1 || y->cols % n->groups || n->stats->rows != s->batch * n->groups || n->stats->cols != 2)
        return tn_fail(err, TN_ERR_ARGUMENT, "statistics [%d,%d] of %d images of %d channels in %d groups", n->stats->rows,
                       n->stats->cols, s->batch, y->cols, n->groups);
    return forward(c, s, x, w, bias, y, n, err);
}

int tn_conv_backward(tn_ctx *c, const tn_conv *s, const tn_conv_grads *g, tn_error *err)
{
    const tn_tensor *like = g->x->rows ? g->x : g->dx;
    const int channels = like->rows ? like->cols : s->groups * g->w->cols / (s->kernel * s->kernel);
    TN_TRY(conv_storage("a convolution's backward", g->x, g->dy, g->dx, g->w, g->db, g->dw, err));
    TN_TRY(conv_check(s, g->x, g->w, g->dw, g->db, g->dy, channels, err));
    TN_TRY(conv_tensor("input's gradient", g->dx, s->batch * tn_conv_given(s), channels, err));
    if (s->doubled) return tn_dwdouble_backward(c, s, g, err);
    if (conv_is_depthwise(s, channels, g->w->rows)) return tn_dwconv_backward(c, s, g, err);
    if (g->db->rows) TN_TRY(tn_colsum(c, g->dy, NULL, g->db, err));
    if (g->dw->rows) TN_TRY(tn_conv_full_grad(c, s, g->x, g->dy, g->dw, err));
    return g->dx->rows ? tn_conv_full_dx(c, s, g->dy, g->w, g->dx, err) : 0;
}
