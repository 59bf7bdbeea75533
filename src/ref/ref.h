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
#define tn_ref_row_sums           tn_ref_row_sums_double
#define tn_ref_attention          tn_ref_attention_double
#define tn_ref_attention_backward tn_ref_attention_backward_double
#define tn_ref_rope               tn_ref_rope_double
#define tn_ref_operand            tn_ref_operand_double
#define tn_ref_act                tn_ref_act_double
#define tn_ref_act_slope          tn_ref_act_slope_double
#define tn_ref_norm2d             tn_ref_norm2d_double
#define tn_ref_norm2d_backward    tn_ref_norm2d_backward_double
#define tn_ref_norm_few           tn_ref_norm_few_double
#define tn_ref_norm_few_backward  tn_ref_norm_few_backward_double
#define tn_ref_grn                tn_ref_grn_double
#define tn_ref_grn_backward       tn_ref_grn_backward_double
#define tn_ref_convolve           tn_ref_convolve_double
#define tn_ref_convolve_backward  tn_ref_convolve_backward_double
#define tn_ref_bilinear           tn_ref_bilinear_double
#define tn_ref_bilinear_backward  tn_ref_bilinear_backward_double
#define tn_ref_deform             tn_ref_deform_double
#define tn_ref_deform_backward    tn_ref_deform_backward_double
#define tn_ref_upsample_add       tn_ref_upsample_add_double
#define tn_ref_nearest_backward   tn_ref_nearest_backward_double
#define tn_ref_rows               tn_ref_rows_double
#define tn_ref_rows_backward      tn_ref_rows_backward_double
#define tn_ref_patchify           tn_ref_patchify_double
#define tn_ref_patchify_bytes     tn_ref_patchify_bytes_double
#define tn_ref_groups_spread      tn_ref_groups_spread_double
#define tn_ref_groups_collect     tn_ref_groups_collect_double
#define tn_ref_clip               tn_ref_clip_double
#define tn_ref_heatmap_target     tn_ref_heatmap_target_double
#define tn_ref_heatmap_loss       tn_ref_heatmap_loss_double
#define tn_ref_adamw              tn_ref_adamw_double
#define tn_ref_sgd                tn_ref_sgd_double
#else
typedef float tn_real;
#endif

/** A product with everything that tn_gemm_args asks for; the [M, N] arrays all have ldc. keep [M, N] dense: multiplies the
 * second pair's product. NULL and 0: without. Masks of A and B are the caller's, who multiplies them in. */
typedef struct tn_ref_product {
    bool ta, tb, tb2;
    int M, N, K, lda, ldb, ldc;
    double alpha, beta, alpha2;
    const tn_real *A, *B, *bias, *scale, *slope, *residual, *A2, *B2, *keep;
    tn_real *pre;
    int pre_slope, slope_ready; /* pre: the activation's slope; slope: one already */
    int act;                    /* 1 + fn, also slope's; 0: none */
    int parts, r;
} tn_ref_product;
void tn_ref_gemm(const tn_ref_product *p, tn_real *C);

/** x [rows, cols]; unit_rows and groups: of the norms of images alone (see tn_norm2d_stats). */
typedef struct tn_ref_norm {
    const tn_real *x, *gamma, *beta; /* beta: forward */
    tn_real eps;
    int rows, cols, unit_rows, groups;
} tn_ref_norm;
void tn_ref_layernorm(const tn_ref_norm *n, tn_real *y);
/** sums [cols / block, rows, 2]: of each block of columns the sum and the sum of squares. */
void tn_ref_row_sums(const tn_real *x, int rows, int cols, int block, tn_real *sums);
void tn_ref_layernorm_backward(const tn_ref_norm *n, const tn_real *dy, tn_real *dx, tn_real *dgamma, tn_real *dbeta);

/** qkv [batch*n, 3*heads*hd] -> o [batch*n, heads*hd]; lse may be NULL. */
void tn_ref_attention(const tn_real *qkv, int batch, int n, int heads, int hd, tn_real *o, tn_real *lse);
void tn_ref_attention_backward(const tn_real *qkv, const tn_real *d_o, int batch, int n, int heads, int hd, tn_real *dqkv);
/** W [rows, cols] as the right operand [N, K] of a product on a matrix unit: W itself, or (turned) W is [K, N]. lanes 0: in rows;
 * else in blocks [N / lanes][K / 16] of 8 pairs along K a row (rows change faster than pairs), zeros outside. */
void tn_ref_operand(const tn_real *W, int rows, int cols, int turned, int lanes, tn_real *out);
/** table [n - skip][hd/2] of (cos, sin). */
void tn_ref_rope(tn_real *qkv, const tn_real *table, int batch, int n, int heads, int hd, int skip, int direction);

/** fn: 0 gelu, 1 relu, 2 silu, 3 sigmoid. */
double tn_ref_act(int fn, double x);
double tn_ref_act_slope(int fn, double x);

void tn_ref_norm2d(const tn_ref_norm *n, tn_real *y);
void tn_ref_norm2d_backward(const tn_ref_norm *n, const tn_real *dy, tn_real *dx, tn_real *dgamma, tn_real *dbeta);
/** y [rows, outs] = v . act(norm) + k of each row (v, k) of w [outs, cols + 1]; fn as tn_ref_act has it. */
void tn_ref_norm_few(const tn_ref_norm *n, int fn, const tn_real *w, int outs, tn_real *y);
/** dx is written, dw, dgamma and dbeta are added to. */
typedef struct tn_ref_few_grads {
    const tn_real *dy;
    tn_real *dx, *dw, *dgamma, *dbeta;
} tn_ref_few_grads;
void tn_ref_norm_few_backward(const tn_ref_norm *n, int fn, const tn_real *w, int outs, const tn_ref_few_grads *g);
/** Global response normalisation: x + gamma * (x * N) + beta, N a channel's norm over the unit's rows, over the channels' mean. */
void tn_ref_grn(const tn_ref_norm *n, tn_real *y);
void tn_ref_grn_backward(const tn_ref_norm *n, const tn_real *dy, tn_real *dx, tn_real *dgamma, tn_real *dbeta);

/** Channels last, zero padding: x [batch*in_h*in_w, ci], w [co, ci/groups, kernel, kernel], bias [co] or NULL, y and dy
 * [batch*out_h*out_w, co]. */
typedef struct tn_ref_conv {
    const tn_real *x, *w, *bias;
    int batch, in_h, in_w, out_h, out_w, ci, co, kernel, stride, pad, groups;
} tn_ref_conv;
void tn_ref_convolve(const tn_ref_conv *v, tn_real *y);
/** dx, dw and db are written or added to; NULL: not wanted. */
void tn_ref_convolve_backward(const tn_ref_conv *v, const tn_real *dy, tn_real *dx, tn_real *dw, tn_real *db);

/** sy, sx: input pixels to one of the output. */
typedef struct tn_ref_resize {
    int batch, in_h, in_w, out_h, out_w, channels;
    float sy, sx;
} tn_ref_resize;
void tn_ref_bilinear(const tn_ref_resize *r, const tn_real *x, tn_real *y);
void tn_ref_bilinear_backward(const tn_ref_resize *r, const tn_real *dy, tn_real *dx);
/** y = x + z at PyTorch's nearest position; x and y of the output's size, z of the input's. */
void tn_ref_upsample_add(const tn_ref_resize *r, const tn_real *x, const tn_real *z, tn_real *y);
/** dz += dy at every position that took from it. */
void tn_ref_nearest_backward(const tn_ref_resize *r, const tn_real *dy, tn_real *dz);

/** Rows (v [n], k) through an affine map w [n, m], b [n] or NULL: (v w, v b + k), m + 1 entries each. v is that of the first, the
 * next row's ld entries on; k likewise with k_step, or NULL: 0. */
typedef struct tn_ref_rows_map {
    const tn_real *v, *k, *w, *b;
    int rows, ld, k_step, n, m;
} tn_ref_rows_map;
void tn_ref_rows(const tn_ref_rows_map *r, tn_real *out);
/** Added to: dw, db, and dv and dk, which lie as v and k do (d: of the result); NULL: not wanted. */
void tn_ref_rows_backward(const tn_ref_rows_map *r, const tn_real *d, tn_real *dw, tn_real *db, tn_real *dv, tn_real *dk);

/** Multi-scale deformable self-attention (Zhu et al. 2020). N: positions of all levels, one level after another; D = heads * width.
 * value [batch*N, D]; samples [batch*N, 3*heads*levels*points]: offsets (x, y) in pixels of their level by head, level and point,
 * then as many logits, of which each head has a softmax. A query looks from the middle of its own cell; a level is zero outside. */
typedef struct tn_ref_deformable {
    const tn_real *value, *samples;
    int batch, heads, width, levels, points;
    const int *h, *w; /* of the levels */
} tn_ref_deformable;
void tn_ref_deform(const tn_ref_deformable *a, tn_real *o);
/** From d_o [batch*N, D]. */
void tn_ref_deform_backward(const tn_ref_deformable *a, const tn_real *d_o, tn_real *dvalue, tn_real *dsamples);

/** b [rows, each] of groups of rows as wide [rows, each * groups], zeros between them; and d += what of wide lies in them. */
void tn_ref_groups_spread(const tn_real *b, int rows, int each, int groups, tn_real *wide);
void tn_ref_groups_collect(const tn_real *wide, int rows, int each, int groups, tn_real *d);
typedef struct tn_ref_patches {
    int batch, frames, h, w, patch;
} tn_ref_patches;
/** pixels [batch, frames * 3, h, w] -> cols [batch * patches, frames * 3 * patch * patch]. */
void tn_ref_patchify(const tn_ref_patches *s, const tn_real *pixels, tn_real *cols);
/** From RGB bytes [batch, frames, h, w, 3]: / 255, then by ImageNet's mean and deviation when asked for. */
void tn_ref_patchify_bytes(const tn_ref_patches *s, const uint8_t *frames, bool normalize, tn_real *cols);
typedef struct tn_ref_target {
    int batch, height, width;
    double sigma;
    bool negative; /* frames without a ball count: their mask is 1 */
    int heats;     /* of a sample */
} tn_ref_target;
/** labels [batch, heats, 3]: x, y, visible (-1: no label) -> target [batch, height, width, heats], mask [batch, heats]. */
void tn_ref_heatmap_target(const tn_ref_target *t, const tn_real *labels, tn_real *target, tn_real *mask);

typedef struct tn_ref_loss {
    int batch, sample; /* pixels of a heatmap */
    bool logits;       /* as tn_loss_spec */
    double alpha, beta, pos_weight, bound, inv_mask;
    int heats; /* of a sample */
} tn_ref_loss;
/** Returns the loss; dp may be NULL. p, t, dp [batch, sample, heats], mask [batch, heats]. */
double tn_ref_heatmap_loss(const tn_ref_loss *l, const tn_real *p, const tn_real *t, const tn_real *mask, tn_real *dp);
/** A gradient's norm and what it makes of a step (tn_clip): returns the factor, 0 where the norm is not finite, and moves the
 * loss scale (good: steps since it changed) as torch.amp.GradScaler does where `scaling`. */
double tn_ref_clip(const tn_real *g, int n, double max_norm, bool scaling, double *loss_scale, int *good, double *norm);
typedef struct tn_ref_optim {
    double lr, wd, b1, b2, eps, momentum, grad_scale; /* b1, b2, eps: AdamW's; momentum: SGD's */
    int step;                                         /* counted from 1 */
} tn_ref_optim;
/** g is left zero. */
void tn_ref_adamw(const tn_ref_optim *o, tn_real *p, tn_real *g, tn_real *m, tn_real *v, int n);
void tn_ref_sgd(const tn_ref_optim *o, tn_real *p, tn_real *g, tn_real *buf, int n);
#endif
