/* Convolutions as products: rows of the pixels that each output depends on (im2col), a bounded part of the batch at a time, times
 * the kernel in the order of those rows. Towards the input the rows are of dy. With a stride, pixels of dx whose place is the same
 * modulo the stride, a phase, meet the same taps: each phase is a product of its own, so that nothing is multiplied by zeros. */
#include "conv.h"
#include "gemm.h"
#include "spatial.h"

#include <limits.h>

#define CONV "portable/conv.cl"

/* Rows that patches are cut for: a grid over images, the first tap's place for grid position (0, 0), and the taps. */
typedef struct {
    const tn_tensor *image; /* [batch * size.h * size.w, ...] */
    tn_size2 size, grid;
    int batch, top, left, step, kh, kw;
} patch_rows;

static int rows_length(const patch_rows *p, int channels)
{
    return p->kh * p->kw * channels;
}

static int rows_count(const patch_rows *p)
{
    return p->batch * p->grid.h * p->grid.w;
}

/* Is each row a pixel as it lies? */
static bool rows_are_pixels(const patch_rows *p)
{
    return p->kh * p->kw == 1 && p->step == 1 && !p->top && !p->left && p->grid.h == p->size.h && p->grid.w == p->size.w;
}

static int product_run(tn_ctx *c, const char *entry, const char *options, tn_dtype act, size_t width, int rows, const tn_arg *args,
                       int n, tn_error *err)
{
    return tn_spatial_run(c, &(tn_spatial_kernel){CONV, entry, options, act}, width, (size_t)rows, args, n, err);
}

/* Rows `first` to first + cols->rows - 1 of channels [from, from + channels). */
static int cut_patches(tn_ctx *c, const patch_rows *p, int first, int from, int channels, tn_tensor *cols, tn_error *err)
{
    const tn_tensor *x = p->image;
    const int vw = tn_vec_width(c, channels);
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DVW=%d", vw));
    const tn_arg args[] = {TN_BUF(x->mem),    TN_BUF(cols->mem), TN_INT(first),     TN_INT(cols->rows),
                           TN_INT(x->cols),   TN_INT(from),      TN_INT(channels),  TN_INT(p->size.h),
                           TN_INT(p->size.w), TN_INT(p->grid.h), TN_INT(p->grid.w), TN_INT(p->top),
                           TN_INT(p->left),   TN_INT(p->step),   TN_INT(p->kh),     TN_INT(p->kw)};
    return product_run(c, "patches", o.s, x->dtype, (size_t)(cols->cols / vw), cols->rows, args, TN_COUNT(args), err);
}

/* What is done with a part of the rows: A are they, `first` the first one. */
typedef int (*part_fn)(tn_ctx *c, const tn_tensor *A, int first, void *user, tn_error *err);

/* Hands the rows of a group's channels over, as many at once as CHUNK bytes hold. */
static int each_part(tn_ctx *c, const patch_rows *p, int from, int channels, part_fn part, void *user, tn_error *err)
{
    enum { CHUNK = 32 << 20, LEAST = 64 };
    const int rows = rows_count(p), length = rows_length(p, channels);
    const size_t mark = c->ws_used, bytes = (size_t)length * tn_dtype_size(p->image->dtype);
    tn_tensor cols;
    if (rows_are_pixels(p)) {
        const tn_tensor A = tn_cols(*p->image, from, channels);
        return part(c, &A, 0, user, err);
    }
    const int most = (int)TN_MIN((size_t)rows, TN_MAX((size_t)LEAST, (size_t)CHUNK / bytes / LEAST * LEAST));
    TN_TRY(tn_ws_take(c, &cols, p->image->dtype, most, length, err));
    for (int first = 0; first < rows; first += most) {
        const tn_tensor A = tn_rows(cols, 0, TN_MIN(most, rows - first));
        tn_tensor to = A;
        TN_TRY(cut_patches(c, p, first, from, channels, &to, err));
        TN_TRY(part(c, &A, first, user, err));
    }
    c->ws_used = mark;
    return 0;
}

/* ---- y = rows W^T + bias ---- */

typedef struct {
    tn_tensor W, y; /* of the group */
    tn_buffer *bias;
} multiply_to;

static int multiply_part(tn_ctx *c, const tn_tensor *A, int first, void *user, tn_error *err)
{
    const multiply_to *m = user;
    const tn_gemm_args g = {.tb = true, .alpha = 1, .A = *A, .B = m->W, .C = tn_rows(m->y, first, A->rows), .e = {.bias = m->bias}};
    return tn_gemm_run(c, &g, err);
}

/* The kernel [O, channels * taps] in the rows' order and the storage of the activations. */
static int order_kernel(tn_ctx *c, tn_tensor *t, const tn_tensor *w, tn_dtype act, int channels, int taps, tn_error *err)
{
    tn_options o;
    TN_TRY(tn_ws_take(c, t, act, w->rows, w->cols, err));
    TN_TRY(tn_options_set(&o, err, "-DVW=1 -DWT=%d", (int)w->dtype));
    const tn_arg args[] = {TN_BUF(w->mem), TN_BUF(t->mem), TN_INT(w->rows), TN_INT(channels), TN_INT(taps)};
    return product_run(c, "kernel_rows", o.s, act, (size_t)w->cols, w->rows, args, TN_COUNT(args), err);
}

/* A group's bias as a vector of its own. */
static int group_bias(tn_ctx *c, tn_buffer **out, const tn_tensor *bias, int group, int outs, tn_error *err)
{
    tn_tensor part;
    *out = bias->mem;
    if (!bias->rows || bias->cols == outs) return 0;
    TN_TRY(tn_ws_take(c, &part, TN_F32, 1, outs, err));
    *out = part.mem;
    const patch_rows p = {.image = bias, .size = {1, 1}, .grid = {1, 1}, .batch = 1, .step = 1, .kh = 1, .kw = 1};
    return cut_patches(c, &p, 0, group * outs, outs, &part, err);
}

static patch_rows forward_rows(const tn_conv *s, const tn_tensor *x)
{
    return (patch_rows){x, s->in, s->out, s->batch, -s->pad, -s->pad, s->stride, s->kernel, s->kernel};
}

int tn_conv_product(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const tn_tensor *bias, tn_tensor *y,
                    tn_error *err)
{
    const size_t mark = c->ws_used;
    const int channels = x->cols / s->groups, outs = y->cols / s->groups;
    const patch_rows p = forward_rows(s, x);
    tn_tensor W = *w;
    if (s->kernel > 1 || w->dtype != x->dtype) TN_TRY(order_kernel(c, &W, w, x->dtype, channels, s->kernel * s->kernel, err));
    for (int i = 0; i < s->groups; i++) {
        multiply_to m = {tn_rows(W, i * outs, outs), tn_cols(*y, i * outs, outs), NULL};
        const size_t here = c->ws_used;
        TN_TRY(group_bias(c, &m.bias, bias, i, outs, err));
        TN_TRY(each_part(c, &p, i * channels, channels, multiply_part, &m, err));
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

static int turn_kernel(tn_ctx *c, tn_tensor *t, const tn_conv *s, const tn_tensor *w, tn_dtype act, int channels, int y, int x,
                       const patch_rows *p, tn_error *err)
{
    const int outs = w->rows / s->groups, all = s->groups * channels;
    tn_options o;
    TN_TRY(tn_ws_take(c, t, act, all, rows_length(p, outs), err));
    TN_TRY(tn_options_set(&o, err, "-DVW=1 -DWT=%d", (int)w->dtype));
    const tn_arg args[] = {TN_BUF(w->mem),    TN_BUF(t->mem), TN_INT(all), TN_INT(outs),  TN_INT(channels), TN_INT(s->kernel),
                           TN_INT(s->stride), TN_INT(y),      TN_INT(x),   TN_INT(p->kh), TN_INT(p->kw)};
    return product_run(c, "kernel_back", o.s, act, (size_t)t->cols, all, args, TN_COUNT(args), err);
}

/* The pixels of a phase, as rows of their own in `part`. */
static int multiply_phase(tn_ctx *c, const tn_conv *s, const patch_rows *p, const tn_tensor *W, tn_tensor *part, tn_error *err)
{
    const int outs = p->image->cols / s->groups, channels = part->cols / s->groups;
    for (int i = 0; i < s->groups; i++) {
        multiply_to m = {tn_rows(*W, i * channels, channels), tn_cols(*part, i * channels, channels), NULL};
        TN_TRY(each_part(c, p, i * outs, outs, multiply_part, &m, err));
    }
    return 0;
}

static int spread_phase(tn_ctx *c, const tn_conv *s, const tn_tensor *part, tn_size2 size, int y, int x, bool empty, tn_tensor *dx,
                        tn_error *err)
{
    const int vw = tn_vec_width(c, dx->cols), rows = s->batch * size.h;
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DVW=%d", vw));
    const tn_arg args[] = {TN_BUF(empty ? dx->mem : part->mem),
                           TN_BUF(dx->mem),
                           TN_INT(rows),
                           TN_INT(size.h),
                           TN_INT(size.w),
                           TN_INT(s->in.h),
                           TN_INT(s->in.w),
                           TN_INT(dx->cols),
                           TN_INT(s->stride),
                           TN_INT(y),
                           TN_INT(x),
                           TN_INT(empty)};
    return product_run(c, "spread", o.s, dx->dtype, (size_t)size.w * (size_t)(dx->cols / vw), rows, args, TN_COUNT(args), err);
}

static int back_phase(tn_ctx *c, const tn_conv *s, const tn_tensor *dy, const tn_tensor *w, int at, tn_tensor *dx, tn_error *err)
{
    const int py = at / s->stride, px = at % s->stride;
    const phase_side y = phase_along(s, py, s->in.h), x = phase_along(s, px, s->in.w);
    const patch_rows p = {dy, s->out, {y.size, x.size}, s->batch, y.top, x.top, 1, y.taps, x.taps};
    const bool whole = s->stride == 1, empty = !y.taps || !x.taps;
    const size_t mark = c->ws_used;
    tn_tensor part = *dx, W;
    if (y.size < 1 || x.size < 1) return 0;
    if (!empty) {
        TN_TRY(turn_kernel(c, &W, s, w, dy->dtype, dx->cols / s->groups, y.tap, x.tap, &p, err));
        if (!whole) TN_TRY(tn_ws_take(c, &part, dx->dtype, rows_count(&p), dx->cols, err));
        TN_TRY(multiply_phase(c, s, &p, &W, &part, err));
    }
    if (!whole) TN_TRY(spread_phase(c, s, &part, p.grid, py, px, empty, dx, err));
    c->ws_used = mark;
    return 0;
}

/* Patches that do not overlap: one product makes all of their pixels. */
static int back_unpatched(tn_ctx *c, const tn_conv *s, const tn_tensor *dy, const tn_tensor *w, tn_tensor *dx, tn_error *err)
{
    const int C = dx->cols, vw = tn_vec_width(c, C), rows = s->batch * s->in.h;
    const size_t mark = c->ws_used;
    tn_options o;
    tn_tensor W, cols;
    TN_TRY(order_kernel(c, &W, w, dy->dtype, C, s->kernel * s->kernel, err));
    TN_TRY(tn_ws_take(c, &cols, dx->dtype, dy->rows, W.cols, err));
    TN_TRY(tn_gemm_run(c, &(tn_gemm_args){.alpha = 1, .A = *dy, .B = W, .C = cols}, err));
    TN_TRY(tn_options_set(&o, err, "-DVW=%d", vw));
    const tn_arg args[] = {TN_BUF(cols.mem), TN_BUF(dx->mem), TN_INT(rows), TN_INT(s->out.h), TN_INT(s->out.w),
                           TN_INT(s->in.h),  TN_INT(s->in.w), TN_INT(C),    TN_INT(s->kernel)};
    TN_TRY(product_run(c, "unpatch", o.s, dx->dtype, (size_t)s->in.w * (size_t)(C / vw), rows, args, TN_COUNT(args), err));
    c->ws_used = mark;
    return 0;
}

int tn_conv_product_dx(tn_ctx *c, const tn_conv *s, const tn_tensor *dy, const tn_tensor *w, tn_tensor *dx, tn_error *err)
{
    if (s->kernel > 1 && s->stride == s->kernel && !s->pad && s->groups == 1) return back_unpatched(c, s, dy, w, dx, err);
    for (int at = 0; at < s->stride * s->stride; at++) TN_TRY(back_phase(c, s, dy, w, at, dx, err));
    return 0;
}

/* ---- the kernel's gradient ---- */

typedef struct {
    tn_tensor dy, to; /* of the group */
    bool adds;
} grad_to;

static int grad_part(tn_ctx *c, const tn_tensor *A, int first, void *user, tn_error *err)
{
    const grad_to *t = user;
    const tn_gemm_args g = {
        .ta = true, .alpha = 1, .beta = t->adds || first ? 1 : 0, .A = tn_rows(t->dy, first, A->rows), .B = *A, .C = t->to};
    return tn_gemm_run(c, &g, err);
}

int tn_conv_product_grad(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *dy, tn_tensor *dw, tn_error *err)
{
    const size_t mark = c->ws_used;
    const int channels = x->cols / s->groups, outs = dy->cols / s->groups, taps = s->kernel * s->kernel;
    const patch_rows p = forward_rows(s, x);
    tn_tensor sum = *dw;
    if (taps > 1) TN_TRY(tn_ws_take(c, &sum, TN_F32, dw->rows, dw->cols, err));
    for (int i = 0; i < s->groups; i++) {
        grad_to t = {tn_cols(*dy, i * outs, outs), tn_rows(sum, i * outs, outs), taps == 1};
        TN_TRY(each_part(c, &p, i * channels, channels, grad_part, &t, err));
    }
    if (taps > 1) {
        const tn_arg args[] = {TN_BUF(sum.mem), TN_BUF(dw->mem), TN_INT(dw->rows), TN_INT(channels), TN_INT(taps)};
        TN_TRY(product_run(c, "kernel_grad", "-DVW=1", x->dtype, (size_t)dw->cols, dw->rows, args, TN_COUNT(args), err));
    }
    c->ws_used = mark;
    return 0;
}
