/** The GEMM variants, and the measured choice among them. */
#ifndef TN_GEMM_H
#define TN_GEMM_H
#include "ops.h"

typedef struct tn_gemm_args {
    bool ta, tb;
    float alpha, beta;
    tn_tensor A, B, C;
    int M, N, K;
    cl_mem bias;
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
    int qgemv_rows; /* up to so many tokens the fused product of a quantised matrix is faster; 0: never */
    bool with_slow, attention_cpu_ok, with_quant;
} tn_gemm_tuning;

/** The device's tuning: from memory, the cache file, or measured now (each candidate checked against src/ref first). */
int tn_tuning_get(tn_gemm_tuning **out, tn_dev *d, bool with_slow, tn_error *err);
/** The same with the part for quantised matrices, which is measured when one is first read. */
int tn_tuning_get_quant(tn_gemm_tuning **out, tn_dev *d, tn_error *err);
/** tuning_quant.c: measures that part. */
int tn_tune_quant(tn_gemm_tuning *t, tn_dev *d, tn_error *err);
#endif
