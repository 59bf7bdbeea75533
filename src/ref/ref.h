/**
 * Plain C of every operation, forward and backward, summed in double: the oracle of the tests, of the self-test and of
 * the tuner. Layouts are those of src/ops/ops.h; all arrays are dense float32. Backward functions add into d* arrays
 * of parameters and overwrite d* arrays of activations.
 *
 * Compiled with TN_REF_DOUBLE the arrays are double and every name ends in _double, for tests that take differences.
 */
#ifndef TN_REF_H
#define TN_REF_H
#include <stdbool.h>
#include <stdint.h>

#ifdef TN_REF_DOUBLE
typedef double tn_real;
#define tn_ref_gemm               tn_ref_gemm_double
#define tn_ref_layernorm          tn_ref_layernorm_double
#define tn_ref_layernorm_backward tn_ref_layernorm_backward_double
#define tn_ref_attention          tn_ref_attention_double
#define tn_ref_attention_backward tn_ref_attention_backward_double
#define tn_ref_rope               tn_ref_rope_double
#define tn_ref_act                tn_ref_act_double
#define tn_ref_act_slope          tn_ref_act_slope_double
#define tn_ref_norm2d             tn_ref_norm2d_double
#define tn_ref_norm2d_backward    tn_ref_norm2d_backward_double
#define tn_ref_conv3              tn_ref_conv3_double
#define tn_ref_conv3_backward     tn_ref_conv3_backward_double
#define tn_ref_bilinear           tn_ref_bilinear_double
#define tn_ref_bilinear_backward  tn_ref_bilinear_backward_double
#define tn_ref_patchify           tn_ref_patchify_double
#define tn_ref_patchify_bytes     tn_ref_patchify_bytes_double
#define tn_ref_gemm_epilogue      tn_ref_gemm_epilogue_double
#define tn_ref_clip               tn_ref_clip_double
#define tn_ref_heatmap_target     tn_ref_heatmap_target_double
#define tn_ref_heatmap_loss       tn_ref_heatmap_loss_double
#define tn_ref_adamw              tn_ref_adamw_double
#define tn_ref_sgd                tn_ref_sgd_double
#else
typedef float tn_real;
#endif

void tn_ref_gemm(bool ta, bool tb, int M, int N, int K, tn_real alpha, const tn_real *A, int lda, const tn_real *B, int ldb,
                 tn_real beta, tn_real *C, int ldc, const tn_real *bias);

/** A product with everything that tn_gemm_args asks for; the [M, N] arrays all have ldc. keep [M, N] dense: multiplies the
 * second pair's product. NULL and 0: without. Masks of A and B are the caller's, who multiplies them in. */
typedef struct tn_ref_product {
    bool ta, tb, tb2;
    int M, N, K, lda, ldb, ldc;
    double alpha, beta, alpha2;
    const tn_real *A, *B, *bias, *scale, *slope, *residual, *A2, *B2, *keep;
    tn_real *pre;
    int act; /* 1 + fn, also slope's; 0: none */
    int parts, r;
} tn_ref_product;
void tn_ref_gemm_epilogue(const tn_ref_product *p, tn_real *C);

void tn_ref_layernorm(const tn_real *x, const tn_real *gamma, const tn_real *beta, tn_real eps, int rows, int cols, tn_real *y);
void tn_ref_layernorm_backward(const tn_real *x, const tn_real *gamma, tn_real eps, const tn_real *dy, int rows, int cols,
                               tn_real *dx, tn_real *dgamma, tn_real *dbeta);

/** qkv [batch*n, 3*heads*hd] -> o [batch*n, heads*hd]; lse may be NULL. */
void tn_ref_attention(const tn_real *qkv, int batch, int n, int heads, int hd, tn_real *o, tn_real *lse);
void tn_ref_attention_backward(const tn_real *qkv, const tn_real *d_o, int batch, int n, int heads, int hd, tn_real *dqkv);
/** table [n - skip][hd/2] of (cos, sin). */
void tn_ref_rope(tn_real *qkv, const tn_real *table, int batch, int n, int heads, int hd, int skip, int direction);

/** fn: 0 gelu, 1 relu, 2 silu, 3 sigmoid. */
double tn_ref_act(int fn, double x);
double tn_ref_act_slope(int fn, double x);

void tn_ref_norm2d(const tn_real *x, const tn_real *gamma, const tn_real *beta, tn_real eps, int rows, int cols, int unit_rows,
                   int groups, tn_real *y);
void tn_ref_norm2d_backward(const tn_real *x, const tn_real *gamma, tn_real eps, const tn_real *dy, int rows, int cols,
                            int unit_rows, int groups, tn_real *dx, tn_real *dgamma, tn_real *dbeta);

/** 3x3, padding 1, channels last; w [co, ci/groups, 3, 3]. */
void tn_ref_conv3(const tn_real *x, const tn_real *w, int batch, int h, int wd, int ci, int co, bool depthwise, tn_real *y);
void tn_ref_conv3_backward(const tn_real *x, const tn_real *w, const tn_real *dy, int batch, int h, int wd, int ci, int co,
                           bool depthwise, tn_real *dx, tn_real *dw);

void tn_ref_bilinear(const tn_real *x, int batch, int h, int w, int H, int W, int c, float sy, float sx, tn_real *y);
void tn_ref_bilinear_backward(const tn_real *dy, int batch, int h, int w, int H, int W, int c, float sy, float sx, tn_real *dx);

void tn_ref_patchify(const tn_real *pixels, int batch, int h, int w, int patch, tn_real *cols);
/** From RGB bytes [batch, h, w, 3]: / 255, then by ImageNet's mean and deviation when asked for. */
void tn_ref_patchify_bytes(const uint8_t *frames, int batch, int h, int w, int patch, bool normalize, tn_real *cols);
/** labels [batch, 3]: x, y, visible -> target [batch, h, w], mask [batch]. */
void tn_ref_heatmap_target(const tn_real *labels, int batch, int h, int w, double sigma, tn_real *target, tn_real *mask);

/** Returns the loss; dp may be NULL. mask has one value a sample. */
double tn_ref_heatmap_loss(const tn_real *p, const tn_real *t, const tn_real *mask, int batch, int sample, bool focal, double alpha,
                           double beta, double inv_mask, tn_real *dp);
/** A gradient's norm and what it makes of a step (tn_clip): returns the factor, 0 where the norm is not finite, and moves the
 * loss scale (good: steps since it changed) as torch.amp.GradScaler does where `scaling`. */
double tn_ref_clip(const tn_real *g, int n, double max_norm, bool scaling, double *loss_scale, int *good, double *norm);
void tn_ref_adamw(tn_real *p, const tn_real *g, tn_real *m, tn_real *v, int n, double lr, double wd, double b1, double b2,
                  double eps, int step, double grad_scale);
void tn_ref_sgd(tn_real *p, const tn_real *g, tn_real *buf, int n, double lr, double wd, double momentum, bool first,
                double grad_scale);
#endif
