/** The two ways of a convolution, on conv.c's behalf. Shapes and tensors are as tn_conv_forward and tn_conv_backward checked them;
 * a bias without rows is none. */
#ifndef TN_CONV_H
#define TN_CONV_H
#include "ops.h"

/* conv_product.c: as a product over the pixels that each output depends on; any groups. */
int tn_conv_product(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const tn_tensor *bias, tn_tensor *y,
                    tn_error *err);
int tn_conv_product_dx(tn_ctx *c, const tn_conv *s, const tn_tensor *dy, const tn_tensor *w, tn_tensor *dx, tn_error *err);
/** dw += */
int tn_conv_product_grad(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *dy, tn_tensor *dw, tn_error *err);

/* dwconv.c: a kernel for each channel. */
int tn_dwconv_forward(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const tn_tensor *bias, tn_tensor *y,
                      tn_error *err);
/** dx, dw and db of g, those that have rows. */
int tn_dwconv_backward(tn_ctx *c, const tn_conv *s, const tn_conv_grads *g, tn_error *err);
#endif
