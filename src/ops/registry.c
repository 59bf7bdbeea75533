/* The table of all operations with variants. */
#include "gemm.h"
#include "grads.h"
#include "layernorm_thin.h"
#include "thin_both.h"

const tn_variant_op *const tn_variant_ops[] = {
    &tn_gemm_op,
    &tn_unpack_op,
    &tn_attention_op,
    &tn_attention_back_op,
    &tn_layernorm_op,
    &tn_layernorm_back_op,
    &tn_qgemv_op,
    &tn_conv_op,
    &tn_conv_grad_op,
    &tn_dwconv_op,
    &tn_dwconv_grad_op,
    &tn_dwdouble_op,
    &tn_dwdouble_grad_op,
    &tn_grads_op,
    &tn_layernorm_thin_op,
    &tn_layernorm_thin_back_op,
    &tn_thin_both_op,
    &tn_gemm_normed_op,
    NULL,
};
