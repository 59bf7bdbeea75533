/** The GEMM variants, and the measured choice among them. */
#ifndef TN_GEMM_H
#define TN_GEMM_H
#include "variant.h"

/** Inverted dropout drawn inside a product: element (r, c) of a [rows, cols] tensor is kept and divided by 1 - p, or is zero,
 * as tn_dropout with this salt has it. p 0: everything is kept as it is. */
typedef struct tn_mask {
    float p;
    uint32_t salt;
} tn_mask;

/**
 * What is done to a product before it is stored, in this order: s = alpha op(A) op(B) + alpha2 A2 B2^T + bias, u = s (kept
 * in `pre` where that is wanted), s = act(u) or s * act'(slope), s * scale, + residual, + beta C. Zero-initialised: nothing.
 * A variant that cannot do one of them returns false from can(); tn_gemm_run then multiplies and runs the rest as kernels of
 * its own (the generic tail).
 */
typedef struct tn_epilogue {
    tn_buffer *bias; /* [N] float32 */
    bool has_act;
    tn_fn act;
    tn_tensor pre;      /* [M, N]: the sum before the activation is written here; mem NULL: not kept */
    tn_tensor slope;    /* [M, N]: multiplies by act'(slope) instead of applying act (the backward of act); mem NULL: no */
    tn_buffer *scale;   /* [N] float32 */
    tn_tensor residual; /* [M, N], storage of its own */
    /* the second pair: adapters. A2 [M, parts * r] and B2 [N, r]: columns of C in part p (N / parts wide) take
     * A2[:, p*r .. p*r + r). With tb2 false B2 is [parts * r, N] and every column takes all of A2 (a gradient's dt A). */
    tn_tensor A2, B2;
    bool tb2;
    int parts;
    float alpha2;
    tn_mask mask; /* of the second pair's product (the adapters' part of dx), over [M, N] */
} tn_epilogue;

typedef struct tn_gemm_args {
    bool ta, tb;
    float alpha, beta;
    tn_tensor A, B, C;
    int M, N, K;
    tn_buffer *bias;
    tn_mask mask_a, mask_b; /* on A's and B's elements as they lie, [A.rows, A.cols] and [B.rows, B.cols] */
    tn_epilogue e;          /* bias stands in both until the callers are moved */
} tn_gemm_args;

/** Any product with any epilogue. */
int tn_gemm_run(tn_ctx *c, const tn_gemm_args *g, tn_error *err);

/* The rows; args: const tn_gemm_args *. */
int tn_gemm_portable(tn_ctx *c, const void *args, tn_error *err);
int tn_gemm_native(tn_ctx *c, const void *args, tn_error *err);
bool tn_gemm_clblast_can(const tn_ctx *c, const void *args);
int tn_gemm_clblast(tn_ctx *c, const void *args, tn_error *err);

/** Final step of a product summed in `splits` parts: C = alpha * sum P + beta C + bias. */
int tn_gemm_sum(tn_ctx *c, const tn_tensor *P, int splits, const tn_gemm_args *g, tn_error *err);
#endif
