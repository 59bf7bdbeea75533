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

typedef int (*tn_gemm_fn)(tn_ctx *c, const tn_gemm_args *g, tn_error *err);

/** A row of the variant table: what it needs (can) and how it runs. */
typedef struct tn_gemm_variant {
    const char *name;
    bool (*can)(const tn_ctx *c, const tn_gemm_args *g);
    tn_gemm_fn run;
    bool slow_to_build; /* measured only when asked for (devices --tune) */
} tn_gemm_variant;

enum { TN_GEMM_PORTABLE, TN_GEMM_NATIVE, TN_GEMM_CLBLAST, TN_GEMM_VARIANTS };
extern const tn_gemm_variant tn_gemm_variants[TN_GEMM_VARIANTS];

/** Any product with any epilogue. */
int tn_gemm_run(tn_ctx *c, const tn_gemm_args *g, tn_error *err);

/** Does the device's list of variants name this one for GEMM? */
bool tn_gemm_forced(const tn_dev *d, const char *name);
bool tn_gemm_always(const tn_ctx *c, const tn_gemm_args *g);
int tn_gemm_portable(tn_ctx *c, const tn_gemm_args *g, tn_error *err);
bool tn_gemm_native_can(const tn_ctx *c, const tn_gemm_args *g);
int tn_gemm_native(tn_ctx *c, const tn_gemm_args *g, tn_error *err);
bool tn_gemm_clblast_can(const tn_ctx *c, const tn_gemm_args *g);
int tn_gemm_clblast(tn_ctx *c, const tn_gemm_args *g, tn_error *err);

/** Final step of a product summed in `splits` parts: C = alpha * sum P + beta C + bias. */
int tn_gemm_sum(tn_ctx *c, const tn_tensor *P, int splits, const tn_gemm_args *g, tn_error *err);

/** Shapes that behave alike are measured once. */
enum { TN_SHAPE_DENSE, TN_SHAPE_SKINNY, TN_SHAPE_TALL_K, TN_SHAPES };
int tn_gemm_shape(int M, int N, int K);

/** What was measured on a device: seconds (0: not tried or failed its check) and the winner, one a shape class. */
typedef struct tn_gemm_tuning {
    int best[TN_SHAPES];
    double seconds[TN_SHAPES][TN_GEMM_VARIANTS];
    double error[TN_SHAPES][TN_GEMM_VARIANTS];
    int unpack, qgemv; /* tn_qvariant: the fastest of those that agree with src/ref */
    int qgemv_rows;    /* up to so many tokens the fused product of a quantised matrix is faster; 0: never */
    bool with_slow, attention_cpu_ok, with_quant;
} tn_gemm_tuning;

/** The device's tuning: from memory, the cache file, or measured now (each candidate checked against src/ref first). */
int tn_tuning_get(tn_gemm_tuning **out, tn_dev *d, bool with_slow, tn_error *err);
/** The same with the part for quantised matrices, which is measured when one is first read. */
int tn_tuning_get_quant(tn_gemm_tuning **out, tn_dev *d, tn_error *err);
/** tuning_quant.c: measures that part. */
int tn_tune_quant(tn_gemm_tuning *t, tn_dev *d, tn_error *err);
#endif
