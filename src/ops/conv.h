/** The ways of a convolution, on their own folder's behalf. */
#ifndef TN_CONV_H
#define TN_CONV_H
#include "args.h"
#include "variant.h"

/* Below, shapes and tensors are as tn_conv_forward and tn_conv_backward checked them; a tensor without rows is not there. */

/* conv_full.c: with sums over channels. */
int tn_conv_full(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const tn_tensor *bias, tn_tensor *y,
                 tn_error *err);
int tn_conv_full_dx(tn_ctx *c, const tn_conv *s, const tn_tensor *dy, const tn_tensor *w, tn_tensor *dx, tn_error *err);
/** dw += */
int tn_conv_full_grad(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *dy, tn_tensor *dw, tn_error *err);

/* dwconv.c: a kernel for each channel. */
int tn_dwconv_forward(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const tn_tensor *bias, tn_tensor *y,
                      tn_error *err);
/** dx, dw and db of g, those that have rows. */
int tn_dwconv_backward(tn_ctx *c, const tn_conv *s, const tn_conv_grads *g, tn_error *err);

/* dwdouble.c: of a doubled map; n: NULL, or of what statistics are wanted too. */
int tn_dwdouble_forward(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const tn_tensor *bias, tn_tensor *y,
                        const tn_conv_norm *n, tn_error *err);
int tn_dwdouble_backward(tn_ctx *c, const tn_conv *s, const tn_conv_grads *g, tn_error *err);

static inline int tn_conv_rows_length(const tn_conv_rows *r)
{
    return r->kh * r->kw * r->channels;
}
/** How far rows that are made lie apart: at multiples of 16 bytes, which matrix units ask for. */
static inline int tn_conv_rows_pitch(int length, tn_dtype act)
{
    return act == TN_F32 ? length : TN_ROUND_UP(length, 8);
}
static inline int tn_conv_rows_count(const tn_conv_rows *r)
{
    return r->batch * r->grid.h * r->grid.w;
}
/** Is each row a pixel as it lies? */
static inline bool tn_conv_rows_are_pixels(const tn_conv_rows *r)
{
    return r->kh * r->kw == 1 && r->stride == 1 && !r->top && !r->left && r->grid.h == r->size.h && r->grid.w == r->size.w;
}

/* conv_product.c: the rows of the tables that run anything, by tn_gemm_run over patches in memory. */
int tn_conv_by_product(tn_ctx *c, const void *args, tn_error *err);
int tn_conv_grad_by_product(tn_ctx *c, const void *args, tn_error *err);
/** Zeros to the pixels that no row reaches: args' rows have no taps. */
int tn_conv_clear(tn_ctx *c, const tn_conv_args *a, tn_error *err);

/* conv_cpu.c, conv_amx.c */
int tn_conv_cpu(tn_ctx *c, const void *args, tn_error *err);
bool tn_conv_dot_can(const tn_ctx *c, const void *args);
int tn_conv_dot(tn_ctx *c, const void *args, tn_error *err);
int tn_conv_grad_cpu(tn_ctx *c, const void *args, tn_error *err);
bool tn_conv_grad_dot_can(const tn_ctx *c, const void *args);
int tn_conv_grad_dot(tn_ctx *c, const void *args, tn_error *err);
bool tn_conv_amx_can(const tn_ctx *c, const void *args);
int tn_conv_amx(tn_ctx *c, const void *args, tn_error *err);
bool tn_conv_grad_amx_can(const tn_ctx *c, const void *args);
int tn_conv_grad_amx(tn_ctx *c, const void *args, tn_error *err);
/* conv_wgmma.c */
bool tn_conv_wgmma_can(const tn_ctx *c, const void *args);
int tn_conv_wgmma(tn_ctx *c, const void *args, tn_error *err);
bool tn_conv_grad_wgmma_can(const tn_ctx *c, const void *args);
int tn_conv_grad_wgmma(tn_ctx *c, const void *args, tn_error *err);

enum { TN_CONV_ROWS_ARGS = 13, TN_CONV_PLACE_ARGS = 5 };
/** cl/cpu/patches.h's P_PATCHES and P_PLACE. */
void tn_conv_put_rows(tn_arg *to, const tn_conv_rows *r);
void tn_conv_put_place(tn_arg *to, const tn_conv_args *a);
#endif
