/** Gradients of adapters, several at once: products over a long K, one side of each few columns wide. */
#ifndef TN_GRADS_H
#define TN_GRADS_H
#include "gemm.h"

enum { TN_GRADS_MOST = 12, TN_GRADS_THIN = 48 };

/** C += alpha A^T B of each, of one K and one half storage type; B may be dropped out where it is the wide one. Filled in as by
 * tn_gemm_check. */
typedef struct tn_grads {
    tn_gemm_args g[TN_GRADS_MOST];
    int n;
} tn_grads;
extern const tn_variant_op tn_grads_op;

/** C += A^T B as tn_gemm_run does it, or later: where the context gathers (c->grads) and the device gains by it, it is kept, its
 * operands being unchanged, until tn_grads_flush. */
int tn_grads_add(tn_ctx *c, const tn_gemm_args *g, tn_error *err);
/** Runs what was kept, in the order in which it came. */
int tn_grads_flush(tn_ctx *c, tn_error *err);
#endif
