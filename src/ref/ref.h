/**
 * Plain C of every operation, forward and backward, summed in double: the oracle of the tests, of the self-test and of
 * the tuner. Layouts are those of src/ops/ops.h; all arrays are dense float32. Backward functions add into d* arrays
 * of parameters and overwrite d* arrays of activations.
 */
#ifndef TN_REF_H
#define TN_REF_H
#include <stdbool.h>
#include <stdint.h>

void tn_ref_gemm(bool ta, bool tb, int M, int N, int K, float alpha, const float *A, int lda, const float *B, int ldb, float beta,
                 float *C, int ldc, const float *bias);

/** A product with everything that tn_gemm_args asks for; the [M, N] arrays all have ldc. keep [M, N] dense: multiplies the
 * second pair's product. NULL and 0: without. Masks of A and B are the caller's, who multiplies them in. */
typedef struct tn_ref_product {
    bool ta, tb, tb2;
    int M, N, K, lda, ldb, ldc;
    double alpha, beta, alpha2;
    const float *A, *B, *bias, *scale, *slope, *residual, *A2, *B2, *keep;
    float *pre;
    int act; /* 1 + fn, also slope's; 0: none */
    int parts, r;
} tn_ref_product;
void tn_ref_gemm_epilogue(const tn_ref_product *p, float *C);

void tn_ref_layernorm(const float *x, const float *gamma, const float *beta, float eps, int rows, int cols, float *y);
void tn_ref_layernorm_backward(const float *x, const float *gamma, float eps, const float *dy, int rows, int cols, float *dx,
                               float *dgamma, float *dbeta);

/** qkv [batch*n, 3*heads*hd] -> o [batch*n, heads*hd]; lse may be NULL. */
void tn_ref_attention(const float *qkv, int batch, int n, int heads, int hd, float *o, float *lse);
void tn_ref_attention_backward(const float *qkv, const float *d_o, int batch, int n, int heads, int hd, float *dqkv);
/** table [n - skip][hd/2] of (cos, sin). */
void tn_ref_rope(float *qkv, const float *table, int batch, int n, int heads, int hd, int skip, int direction);

/** fn: 0 gelu, 1 relu, 2 silu, 3 sigmoid. */
double tn_ref_act(int fn, double x);
double tn_ref_act_slope(int fn, double x);

void tn_ref_norm2d(const float *x, const float *gamma, const float *beta, float eps, int rows, int cols, int unit_rows, int groups,
                   float *y);
void tn_ref_norm2d_backward(const float *x, const float *gamma, float eps, const float *dy, int rows, int cols, int unit_rows,
                            int groups, float *dx, float *dgamma, float *dbeta);

/** 3x3, padding 1, channels last; w [co, ci/groups, 3, 3]. */
void tn_ref_conv3(const float *x, const float *w, int batch, int h, int wd, int ci, int co, bool depthwise, float *y);
void tn_ref_conv3_backward(const float *x, const float *w, const float *dy, int batch, int h, int wd, int ci, int co,
                           bool depthwise, float *dx, float *dw);

void tn_ref_bilinear(const float *x, int batch, int h, int w, int H, int W, int c, float sy, float sx, float *y);
void tn_ref_bilinear_backward(const float *dy, int batch, int h, int w, int H, int W, int c, float sy, float sx, float *dx);

void tn_ref_patchify(const float *pixels, int batch, int h, int w, int patch, float *cols);

/** Returns the loss; dp may be NULL. mask has one value a sample. */
double tn_ref_heatmap_loss(const float *p, const float *t, const float *mask, int batch, int sample, bool focal, double alpha,
                           double beta, double inv_mask, float *dp);
/** A gradient's norm and what it makes of a step (tn_clip): returns the factor, 0 where the norm is not finite, and moves the
 * loss scale (good: steps since it changed) as torch.amp.GradScaler does where `scaling`. */
double tn_ref_clip(const float *g, int n, double max_norm, bool scaling, double *loss_scale, int *good, double *norm);
void tn_ref_adamw(float *p, const float *g, float *m, float *v, int n, double lr, double wd, double b1, double b2, double eps,
                  int step, double grad_scale);
void tn_ref_sgd(float *p, const float *g, float *buf, int n, double lr, double wd, double momentum, bool first, double grad_scale);
#endif
