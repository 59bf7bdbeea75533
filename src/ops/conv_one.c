/* Convolutions to one channel with stride 1, whose kernel is a row (row.c). As a product with the pixels that an output depends on
 * (conv_product.c) they would copy each pixel K*K times for a single column; here the pixels as they lie are multiplied by the
 * kernel's taps, K*K columns, which are then summed over neighbours. */
#include "gemm.h"
#include "spatial.h"

#define CONV "portable/conv.cl"
#define ONE  "portable/conv_one.cl"

static int taps_of(const tn_conv *s)
{
    return s->kernel * s->kernel;
}

static int one_check(const tn_conv *s, const tn_tensor *map, const tn_tensor *row, const tn_tensor *y, int channels, tn_error *err)
{
    const int h = tn_conv_size(s->in.h, s->kernel, 1, s->pad), w = tn_conv_size(s->in.w, s->kernel, 1, s->pad);
    const tn_tensor none = {0};
    tn_dtype act;
    TN_TRY(tn_storage(&act, "a convolution to one channel", TN_LIST(map), TN_LIST(y, row ? row : &none), err));
    if (s->stride == 1 && s->groups == 1 && s->out.h == h && s->out.w == w && h > 0 && w > 0 &&
        (!map->rows || map->rows == s->batch * s->in.h * s->in.w) && y->rows == s->batch * h * w && y->cols == 1 &&
        (!row || row->cols == channels * taps_of(s) + 1))
        return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "a convolution to one channel: a map [%d,%d], a row of %d and a result [%d,%d] do not fit",
                   map->rows, map->cols, row ? row->cols : 0, y->rows, y->cols);
}

/* The kernel as a matrix of its taps [K*K, C], stored as the map is. */
static int taps_matrix(tn_ctx *c, tn_tensor *t, const tn_tensor *row, tn_dtype act, int channels, int taps, tn_error *err)
{
    TN_TRY(tn_ws_take(c, t, act, taps, channels, err));
    const tn_arg args[] = {TN_BUF(row->mem), TN_BUF(t->mem), TN_INT(1), TN_INT(channels), TN_INT(taps)};
    return tn_spatial_run(c, &(tn_spatial_kernel){CONV, "kernel_rows", "-DVW=1 -DWT=0", act}, (size_t)channels, 1, args,
                          TN_COUNT(args), err);
}

int tn_conv_one_forward(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *row, tn_tensor *y, tn_error *err)
{
    const size_t mark = c->ws_used;
    const int taps = taps_of(s), rows = s->batch * s->out.h;
    tn_tensor W, T;
    TN_TRY(one_check(s, x, row, y, x->cols, err));
    TN_TRY(taps_matrix(c, &W, row, x->dtype, x->cols, taps, err));
    TN_TRY(tn_ws_take(c, &T, TN_F32, x->rows, taps, err));
    TN_TRY(tn_gemm_run(c, &(tn_gemm_args){.tb = true, .alpha = 1, .A = *x, .B = W, .C = T}, err));
    const tn_arg args[] = {TN_BUF(T.mem),   TN_BUF(row->mem),      TN_BUF(y->mem),   TN_INT(s->in.h),
                           TN_INT(s->in.w), TN_INT(s->out.h),      TN_INT(s->out.w), TN_INT(s->kernel),
                           TN_INT(s->pad),  TN_INT(row->cols - 1), TN_INT(rows)};
    TN_TRY(tn_spatial_run(c, &(tn_spatial_kernel){ONE, "taps_sum", "", TN_F32}, (size_t)s->out.w, (size_t)rows, args,
                          TN_COUNT(args), err));
    c->ws_used = mark;
    return 0;
}

/* drow from x and the taps' gradient D. */
static int row_grad(tn_ctx *c, const tn_conv *s, const tn_conv_one_grads *g, const tn_tensor *D, tn_error *err)
{
    const int C = g->x->cols, taps = taps_of(s);
    tn_tensor dW, sum;
    TN_TRY(tn_ws_take(c, &dW, TN_F32, taps, C, err));
    TN_TRY(tn_ws_take(c, &sum, TN_F32, 1, 1, err));
    TN_TRY(tn_gemm_run(c, &(tn_gemm_args){.ta = true, .alpha = 1, .A = *D, .B = *g->x, .C = dW}, err));
    TN_TRY(tn_op_fill(c, sum.mem, 0, tn_tensor_bytes(&sum), 0, err));
    TN_TRY(tn_colsum(c, g->dy, NULL, &sum, err));
    const tn_arg args[] = {TN_BUF(dW.mem), TN_BUF(sum.mem), TN_BUF(g->drow->mem), TN_INT(C), TN_INT(taps)};
    return tn_spatial_run(c, &(tn_spatial_kernel){ONE, "row_grad", "", TN_F32}, (size_t)g->drow->cols, 1, args, TN_COUNT(args),
                          err);
}

int tn_conv_one_backward(tn_ctx *c, const tn_conv *s, const tn_conv_one_grads *g, tn_error *err)
{
    const size_t mark = c->ws_used;
    const tn_tensor *map = g->drow->rows ? g->x : g->dx;
    const int taps = taps_of(s), rows = s->batch * s->in.h;
    tn_tensor W, D;
    TN_TRY(one_check(s, map, g->row, g->dy, map->cols, err));
    if (g->drow->rows) TN_TRY(one_check(s, g->dx, g->drow, g->dy, map->cols, err));
    TN_TRY(tn_ws_take(c, &D, map->dtype, s->batch * s->in.h * s->in.w, taps, err));
    const tn_arg args[] = {TN_BUF(g->dy->mem), TN_BUF(D.mem),     TN_INT(s->in.h), TN_INT(s->in.w), TN_INT(s->out.h),
                           TN_INT(s->out.w),   TN_INT(s->kernel), TN_INT(s->pad),  TN_INT(rows)};
    TN_TRY(tn_spatial_run(c, &(tn_spatial_kernel){ONE, "taps_back", "", map->dtype}, (size_t)s->in.w * (size_t)taps, (size_t)rows,
                          args, TN_COUNT(args), err));
    if (g->drow->rows) TN_TRY(row_grad(c, s, g, &D, err));
    if (g->dx->rows) {
        TN_TRY(taps_matrix(c, &W, g->row, map->dtype, map->cols, taps, err));
        TN_TRY(tn_gemm_run(c, &(tn_gemm_args){.alpha = 1, .A = D, .B = W, .C = *g->dx}, err));
    }
    c->ws_used = mark;
    return 0;
}
