/** LayerNorm with the thin product of what it writes: an adapter's T = dropout(y) A^T, and backward its dt = alpha dx B. */
#ifndef TN_LAYERNORM_THIN_H
#define TN_LAYERNORM_THIN_H
#include "args.h"
#include "gemm.h"

/** g's left operand is what the norm writes: y, or backward `scaled` where that has rows, else dx. */
typedef struct tn_layernorm_thin {
    tn_layernorm_args n;
    tn_gemm_args g;
} tn_layernorm_thin;
extern const tn_variant_op tn_layernorm_thin_op, tn_layernorm_thin_back_op;

/** tn_layernorm_forward of n's tensors and tn_gemm_run of g, whose A is set here: in one launch where the device can and that was
 * measured to be faster. */
int tn_layernorm_thin_forward(tn_ctx *c, const tn_layernorm_args *n, const tn_gemm_args *g, tn_error *err);
/** The same with tn_layernorm_backward. */
int tn_layernorm_thin_backward(tn_ctx *c, const tn_layernorm_args *n, const tn_gemm_args *g, tn_error *err);
#endif
