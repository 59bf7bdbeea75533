/* Convolutions to few channels with stride 1, whose kernels are rows (affine_rows.c). As a product with the pixels that an output
 * depends on (conv_product.c) they would copy each pixel K*K times for a few columns; here the pixels as they lie are multiplied by
 * the kernels' taps, K*K columns a channel, which are then summed over neighbours. */
#include "gemm.h"
#include "spatial.h"

#define CONV "portable/conv.cl"
#define FEW  "portable/conv_few.cl"

static int taps_of(const tn_conv *s)
{
    return s->kernel * s->kernel;
}

static int few_check(const tn_conv *s, const tn_tensor *map, const tn_tensor *rows, const tn_tensor *y, int channels, tn_error *err)
{
    const int h = tn_conv_size(s->in.h, s->kernel, 1, s->pad), w = tn_conv_size(s->in.w, s->kernel, 1, s->pad);
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a convolution to few channels", TN_LIST(map), TN_LIST(y, rows), err));
    if (s->stride == 1 && s->groups == 1 && s->out.h == h && s->out.w == w && h > 0 && w > 0 &&
        (!map->rows || map->rows == s->batch * s->in.h * s->in.w) && y->rows == s->batch * h * w && y->cols == rows->rows &&
        rows->cols == channels * taps_of(s) + 1)
        return 0;
    return tn_fail(err, TN_ERR_ARGUMENT,
                   "a convolution to few channels: a map [%d,%d], rows [%d,%d] and a result [%d,%d] do not fit", map->rows,
                   map->cols, rows->rows, rows->cols, y->rows, y->cols);
}

/* The kernels as a matrix of their taps [O*K*K, C], stored as the map is. */
static int taps_matrix(tn_ctx *c, tn_tensor *t, const tn_tensor *rows, tn_dtype act, int channels, int taps, tn_error *err)
{
    TN_TRY(tn_ws_take(c, t, act, rows->rows * taps, channels, err));
    const tn_arg args[] = {TN_BUF(rows->mem), TN_BUF(t->mem), TN_INT(rows->rows),     TN_INT(rows->cols),
                           TN_INT(channels),  TN_INT(taps),   TN_INT(channels * taps)};
    return tn_spatial_run(c, &(tn_spatial_kernel){CONV, "kernel_rows", "-DVW=1 -DWT=0", act}, (size_t)channels, (size_t)rows->rows,
                          args, TN_COUNT(args), err);
}

int tn_conv_few_forward(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *rows, tn_tensor *y, tn_error *err)
{
    const size_t mark = c->ws_used;
    const int taps = taps_of(s), lines = s->batch * s->out.h;
    tn_tensor W, T;
    TN_TRY(few_check(s, x, rows, y, x->cols, err));
    TN_TRY(taps_matrix(c, &W, rows, x->dtype, x->cols, taps, err));
    TN_TRY(tn_ws_take(c, &T, TN_F32, x->rows, W.rows, err));
    TN_TRY(tn_gemm_run(c, &(tn_gemm_args){.tb = true, .alpha = 1, .A = *x, .B = W, .C = T}, err));
    const tn_arg args[] = {TN_BUF(T.mem),   TN_BUF(rows->mem),  TN_BUF(y->mem),         TN_INT(s->in.h),
                           TN_INT(s->in.w), TN_INT(s->out.h),   TN_INT(s->out.w),       TN_INT(s->kernel),
                           TN_INT(s->pad),  TN_INT(rows->rows), TN_INT(rows->cols - 1), TN_INT(lines)};
    TN_TRY(tn_spatial_run(c, &(tn_spatial_kernel){FEW, "taps_sum", "", TN_F32}, (size_t)s->out.w, (size_t)lines, args,
                          TN_COUNT(args), err));
    c->ws_used = mark;
    return 0;
}

/* drows from x and the taps' gradient D. */
static int rows_grad(tn_ctx *c, const tn_conv *s, const tn_conv_few_grads *g, const tn_tensor *D, tn_error *err)
{
    const int C = g->x->cols, O = g->drows->rows;
    tn_tensor dW, sums;
    TN_TRY(tn_ws_take(c, &dW, TN_F32, D->cols, C, err));
    TN_TRY(tn_ws_take(c, &sums, TN_F32, 1, O, err));
    TN_TRY(tn_gemm_run(c, &(tn_gemm_args){.ta = true, .alpha = 1, .A = *D, .B = *g->x, .C = dW}, err));
    TN_TRY(tn_op_fill(c, sums.mem, 0, tn_tensor_bytes(&sums), 0, err));
    TN_TRY(tn_colsum(c, g->dy, NULL, &sums, err));
    const tn_arg args[] = {TN_BUF(dW.mem), TN_BUF(sums.mem), TN_BUF(g->drows->mem), TN_INT(C), TN_INT(taps_of(s)), TN_INT(O)};
    return tn_spatial_run(c, &(tn_spatial_kernel){FEW, "rows_grad", "", TN_F32}, (size_t)g->drows->cols, (size_t)O, args,
                          TN_COUNT(args), err);
}

int tn_conv_few_backward(tn_ctx *c, const tn_conv *s, const tn_conv_few_grads *g, tn_error *err)
{
    const size_t mark = c->ws_used;
    const tn_tensor *map = g->drows->rows ? g->x : g->dx;
    const int taps = taps_of(s), lines = s->batch * s->in.h, O = g->rows->rows;
    tn_tensor W, D;
    TN_TRY(few_check(s, map, g->rows, g->dy, map->cols, err));
    if (g->drows->rows) TN_TRY(few_check(s, g->dx, g->drows, g->dy, map->cols, err));
    TN_TRY(tn_ws_take(c, &D, map->dtype, s->batch * s->in.h * s->in.w, O * taps, err));
    const tn_arg args[] = {TN_BUF(g->dy->mem), TN_BUF(D.mem),     TN_INT(s->in.h), TN_INT(s->in.w), TN_INT(s->out.h),
                           TN_INT(s->out.w),   TN_INT(s->kernel), TN_INT(s->pad),  TN_INT(O),       TN_INT(lines)};
    TN_TRY(tn_spatial_run(c, &(tn_spatial_kernel){FEW, "taps_back", "", map->dtype}, (size_t)s->in.w * (size_t)taps, (size_t)lines,
                          args, TN_COUNT(args), err));
    if (g->drows->rows) TN_TRY(rows_grad(c, s, g, &D, err));
    if (g->dx->rows) {
        TN_TRY(taps_matrix(c, &W, g->rows, map->dtype, map->cols, taps, err));
        TN_TRY(tn_gemm_run(c, &(tn_gemm_args){.alpha = 1, .A = D, .B = W, .C = *g->dx}, err));
    }
    c->ws_used = mark;
    return 0;
}
