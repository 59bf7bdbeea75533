/**
 * One function per operation: it checks sizes, picks a variant and launches. Tensors are row-major [rows, cols]; "act"
 * tensors are stored as ctx->act, statistics, losses and weights as float32 unless said otherwise.
 *
 * With ctx->dry set nothing is launched and only the workspace is counted: the plan and the run share one code path.
 */
#ifndef TN_OPS_H
#define TN_OPS_H
#include "quant.h"
#include "step.h"
#include "tensor.h"
#include <stdbool.h>

enum { TN_WS_SUBS = 256 };

typedef struct tn_ctx {
    tn_dev *dev;
    tn_dtype act;
    bool dry;
    cl_mem ws; /* scratch of one operation */
    size_t ws_size, ws_used, ws_peak;
    struct {
        size_t offset, bytes;
        cl_mem mem;
    } subs[TN_WS_SUBS]; /* sub-buffers of ws, kept */
    int n_subs;
    cl_mem constants, state; /* tn_step_constants, tn_optim_state; kept until tn_ctx_free */
} tn_ctx;

void tn_ctx_init(tn_ctx *c, tn_dev *d, tn_dtype act);
/** Gives the context a workspace of at least `bytes` (replacing a smaller one). */
int tn_ctx_reserve(tn_ctx *c, size_t bytes, tn_error *err);
void tn_ctx_free(tn_ctx *c);
/** What dropout, the loss and the optimisers read from here on. Before the first call: no seed, inv_mask 1, loss scale 1. */
int tn_ctx_step(tn_ctx *c, const tn_step_constants *s, tn_error *err);
/** Makes the two buffers where they are not there yet; for operations that read them. */
int tn_ctx_step_ready(tn_ctx *c, tn_error *err);
/** The optimisers' state: at the start, and to resume. */
int tn_ctx_state_set(tn_ctx *c, const tn_optim_state *s, tn_error *err);
/** Waits for the queue. */
int tn_ctx_state_get(tn_ctx *c, tn_optim_state *s, tn_error *err);
/** Scratch [rows, cols] until the next tn_ws_reset. */
int tn_ws_take(tn_ctx *c, tn_tensor *t, tn_dtype dt, int rows, int cols, tn_error *err);
void tn_ws_reset(tn_ctx *c);
/** Launches a kernel of cl/<file>; does nothing when dry. `options` follow "-DACT=..". */
int tn_op_run(tn_ctx *c, const char *file, const char *entry, const char *options, const tn_arg *args, int n_args, int dims,
              const size_t *global, const size_t *local, tn_error *err);
/** Elements a work-item should take at once for rows of `cols` elements: 16, 4 or 1. */
int tn_vec_width(const tn_ctx *c, int cols);

/* ---- gemm.c: C = alpha op(A) op(B) + beta C (+ bias[N], float32, may be NULL) ---- */
int tn_gemm(tn_ctx *c, bool ta, bool tb, float alpha, tn_tensor A, tn_tensor B, float beta, tn_tensor C, cl_mem bias,
            tn_error *err);

/* ---- norm.c ---- */
int tn_layernorm_forward(tn_ctx *c, const tn_tensor *x, const tn_tensor *gamma, const tn_tensor *beta, float eps, tn_tensor *y,
                         tn_tensor *stats, tn_error *err);
int tn_layernorm_backward(tn_ctx *c, const tn_tensor *x, const tn_tensor *gamma, const tn_tensor *stats, const tn_tensor *dy,
                          tn_tensor *dx, bool accumulate, tn_error *err);
/** dgamma += sum dy*xhat, dbeta += sum dy. stats (mean, rstd) one a row. */
int tn_layernorm_grad(tn_ctx *c, const tn_tensor *x, const tn_tensor *stats, const tn_tensor *dy, tn_tensor *dgamma,
                      tn_tensor *dbeta, tn_error *err);
/** out[1, C] += sum over rows of a (b NULL) or a*b. */
int tn_colsum(tn_ctx *c, const tn_tensor *a, const tn_tensor *b, tn_tensor *out, tn_error *err);
/** As tn_colsum for column slices of a: outs[i] += sums of the next part_cols[i] columns (outs[i].mem NULL: skip). */
int tn_colsum_parts(tn_ctx *c, const tn_tensor *a, int n_parts, const int *part_cols, tn_tensor *outs, tn_error *err);
/** out[B, C] float32 = alpha * sum over each sample's rows of a (b NULL) or a*b. */
int tn_sample_sum(tn_ctx *c, const tn_tensor *a, const tn_tensor *b, int sample_rows, float alpha, tn_tensor *out, tn_error *err);
/** GroupNorm (unit_rows = rows of a sample) or BatchNorm (unit_rows = all rows, groups = C). stats [units*groups, 2]. */
int tn_norm2d_stats(tn_ctx *c, const tn_tensor *x, int unit_rows, int groups, float eps, tn_tensor *stats, tn_error *err);
int tn_norm2d_apply(tn_ctx *c, const tn_tensor *x, const tn_tensor *stats, const tn_tensor *gamma, const tn_tensor *beta,
                    int unit_rows, int groups, tn_tensor *y, tn_error *err);
/** dx from dy; dgamma, dbeta += (mem NULL: not wanted). dx may be dy's own buffer. */
int tn_norm2d_backward(tn_ctx *c, const tn_tensor *x, const tn_tensor *stats, const tn_tensor *gamma, const tn_tensor *dy,
                       int unit_rows, int groups, tn_tensor *dx, tn_tensor *dgamma, tn_tensor *dbeta, tn_error *err);
int tn_batchnorm_track(tn_ctx *c, const tn_tensor *stats, tn_tensor *mean, tn_tensor *var, float eps, float momentum, int count,
                       tn_error *err);
int tn_batchnorm_stats(tn_ctx *c, const tn_tensor *mean, const tn_tensor *var, float eps, tn_tensor *stats, tn_error *err);

/* ---- attention.c: qkv [B*N, 3D], o [B*N, D], lse and delta [B*heads, N] ---- */
int tn_attention_forward(tn_ctx *c, const tn_tensor *qkv, int batch, int heads, tn_tensor *o, tn_tensor *lse, tn_error *err);
int tn_attention_backward(tn_ctx *c, const tn_tensor *qkv, const tn_tensor *o, const tn_tensor *lse, const tn_tensor *d_o,
                          int batch, int heads, tn_tensor *delta, tn_tensor *dqkv, tn_error *err);
/** In place on q and k; table [P, hd/2] of (cos, sin) float32; direction -1 undoes it (the backward). */
int tn_rope(tn_ctx *c, tn_tensor *qkv, const tn_tensor *table, int batch, int heads, int skip, int direction, tn_error *err);

/* ---- elementwise.c ---- */
typedef enum tn_fn { TN_GELU, TN_RELU, TN_SILU, TN_SIGMOID } tn_fn;
int tn_act_forward(tn_ctx *c, tn_fn f, const tn_tensor *x, tn_tensor *y, tn_error *err);
int tn_act_backward(tn_ctx *c, tn_fn f, const tn_tensor *x, const tn_tensor *dy, tn_tensor *dx, tn_error *err);
int tn_glu_forward(tn_ctx *c, tn_fn f, const tn_tensor *u, tn_tensor *y, tn_error *err);
int tn_glu_backward(tn_ctx *c, tn_fn f, const tn_tensor *u, const tn_tensor *dy, tn_tensor *du, tn_error *err);
/** o = x + scale[cols] * y; scale NULL: x + y. */
int tn_residual(tn_ctx *c, const tn_tensor *x, const tn_tensor *y, const tn_tensor *scale, tn_tensor *o, tn_error *err);
int tn_scale_cols(tn_ctx *c, const tn_tensor *x, const tn_tensor *scale, tn_tensor *o, tn_error *err);
int tn_add_into(tn_ctx *c, tn_tensor *dst, const tn_tensor *src, tn_error *err);
/** An element is kept where its hash is not below this. */
uint32_t tn_drop_threshold(float p);
/** y = mask*x/(1-p), or y += with add; the mask depends on (step seed, salt, element) only. rest: x less that. */
int tn_dropout(tn_ctx *c, const tn_tensor *x, tn_tensor *y, float p, uint32_t salt, bool add, bool rest, tn_error *err);
/** Columns [first, first + part) of y = g*u (+ v) (+ bias); u, v, y [rows, cols], g [1, cols], bias [part]. */
int tn_dora(tn_ctx *c, const tn_tensor *u, const tn_tensor *g, const tn_tensor *v, cl_mem bias, int first, int part, tn_tensor *y,
            tn_error *err);
/** From row `first` on, g = m / |w + t| and inv = 1 / |w + t| by rows; w of any storage, t float32, both [rows, in]. */
int tn_dora_scale(tn_ctx *c, const tn_tensor *w, const tn_tensor *t, const tn_tensor *m, int first, tn_tensor *g, tn_tensor *inv,
                  tn_error *err);
/** dm[part] += sums * inv, both read from column `first` on. */
int tn_dora_magnitude(tn_ctx *c, const tn_tensor *sums, const tn_tensor *inv, int first, int part, tn_tensor *dm, tn_error *err);
int tn_dropout2d(tn_ctx *c, const tn_tensor *x, tn_tensor *y, float p, uint32_t salt, int sample_rows, tn_error *err);
int tn_scale_channels(tn_ctx *c, const tn_tensor *x, const tn_tensor *z, int sample_rows, tn_tensor *y, tn_error *err);
int tn_add_channels(tn_ctx *c, tn_tensor *x, const tn_tensor *z, float k, int sample_rows, tn_error *err);

/* ---- spatial.c ---- */
int tn_patchify(tn_ctx *c, const tn_tensor *pixels, int batch, int height, int width, int patch, tn_tensor *cols, tn_error *err);
/** pos may be NULL. */
int tn_tokens_forward(tn_ctx *c, const tn_tensor *patches, const tn_tensor *cls, const tn_tensor *registers, const tn_tensor *pos,
                      int batch, int n_reg, tn_tensor *x, tn_error *err);
int tn_token_grad(tn_ctx *c, const tn_tensor *dx, int batch, int first, int count, tn_tensor *out, tn_error *err);
int tn_grid_forward(tn_ctx *c, const tn_tensor *x, int batch, int skip, tn_tensor *grid, tn_error *err);
int tn_grid_backward(tn_ctx *c, const tn_tensor *dgrid, int batch, int skip, tn_tensor *dx, tn_error *err);
/** Image sizes as [height, width]; y may be float32 where ctx->act is not. */
typedef struct tn_size2 {
    int h, w;
} tn_size2;
int tn_bilinear_forward(tn_ctx *c, const tn_tensor *x, int batch, tn_size2 in, tn_size2 out, float sy, float sx, tn_tensor *y,
                        tn_error *err);
int tn_bilinear_backward(tn_ctx *c, const tn_tensor *dy, int batch, tn_size2 in, tn_size2 out, float sy, float sx, tn_tensor *dx,
                         tn_error *err);
int tn_dwconv_forward(tn_ctx *c, const tn_tensor *x, const tn_tensor *w, int batch, tn_size2 s, tn_tensor *y, tn_error *err);
/** dx->mem NULL or dw->mem NULL: not wanted; dw accumulates. */
int tn_dwconv_backward(tn_ctx *c, const tn_tensor *x, const tn_tensor *w, const tn_tensor *dy, int batch, tn_size2 s, tn_tensor *dx,
                       tn_tensor *dw, tn_error *err);
int tn_conv3_forward(tn_ctx *c, const tn_tensor *x, const tn_tensor *w, int batch, tn_size2 s, tn_tensor *y, tn_error *err);
int tn_conv3_backward(tn_ctx *c, const tn_tensor *x, const tn_tensor *w, const tn_tensor *dy, int batch, tn_size2 s, tn_tensor *dx,
                      tn_tensor *dw, tn_error *err);

/* ---- train_ops.c ---- */
enum { TN_PARTIALS = 1024 };
typedef struct tn_loss_spec {
    bool focal;
    float alpha, beta;
} tn_loss_spec;
/** heat, target, dheat [B*S, 1] float32, mask [B, 1]; partial [TN_PARTIALS, 1]: the loss is their sum. The step's inv_mask
 * multiplies both, the loss scale dheat alone. */
int tn_heatmap_loss(tn_ctx *c, const tn_tensor *heat, const tn_tensor *target, const tn_tensor *mask, const tn_loss_spec *spec,
                    tn_tensor *dheat, tn_tensor *partial, tn_error *err);
/** Hyperparameters that stay as they are through a run. The rest is in the step constants. */
typedef struct tn_adam_spec {
    float beta1, beta2, eps;
} tn_adam_spec;
/** Elements [off, off + n) of the flat arenas of a group: parameters, gradients, moments (v: AdamW's), float32. */
typedef struct tn_optim_range {
    cl_mem p, g, m, v;
    cl_mem shadow; /* the parameters again, stored as shadow_type, element i at element i; NULL: none */
    tn_dtype shadow_type;
    size_t off, n;
    int group; /* of tn_optim_state */
} tn_optim_range;
/** Norm of g[off, off + n), and from it and the step constants the context's tn_optim_state: factor, counts, loss scale. */
int tn_clip(tn_ctx *c, cl_mem g, size_t off, size_t n, const tn_adam_spec *s, tn_error *err);
/** A step with what tn_clip left; nothing where that was not finite. */
int tn_adamw(tn_ctx *c, const tn_optim_range *r, const tn_adam_spec *s, tn_error *err);
int tn_sgd(tn_ctx *c, const tn_optim_range *r, float momentum, tn_error *err);
/** The shadow alone, after parameters were written from outside. */
int tn_shadow(tn_ctx *c, const tn_optim_range *r, tn_error *err);

/* ---- quant_ops.c, unpack.c ---- */
enum { TN_QTABLE_BYTES = 4 * (16 + 256 + 32 + 512) };
/** A quantised matrix on the device. scales: float32 or bytes, as tn_qscale_of says. */
typedef struct tn_qtensor {
    tn_qshape s;
    cl_mem packed, scales, nested, zeros, tables;
    float offset;
    bool own_tables;
} tn_qtensor;
/** The build options of kernels that read or write matrices of this shape; out: what is unpacked to. */
void tn_qoptions(char *buf, size_t n, const tn_qshape *s, tn_dtype out);
/** Buffers for a shape (whose block is settled, see tn_qblock). tables: of another tensor of the format, or NULL. */
int tn_qtensor_new(tn_qtensor *q, tn_dev *d, const tn_qshape *s, cl_mem tables, tn_error *err);
void tn_qtensor_free(tn_qtensor *q, tn_dev *d);
/** Bytes from and to the host. *m is made by the call; free with tn_qmatrix_free. */
int tn_qtensor_set(tn_qtensor *q, tn_dev *d, const tn_qmatrix *m, tn_error *err);
int tn_qtensor_get(const tn_qtensor *q, tn_dev *d, tn_qmatrix *m, tn_error *err);
/** Quantises values[rows, cols] on the device: the same bytes as tn_quantize. `name` is for errors. */
int tn_qtensor_quantize(tn_ctx *c, tn_qtensor *q, const float *values, const char *name, tn_error *err);
/** Unpacks into out (dense, float32 or ctx->act). */
int tn_unpack(tn_ctx *c, const tn_qtensor *q, tn_tensor *out, tn_error *err);
/** Kernels for the same work: any device's, a CPU's, and a CPU's that looks codes up with AVX-512 (the same as the one before
 * where the device's compiler has no such instructions). */
typedef enum tn_qvariant { TN_QV_PORTABLE, TN_QV_CPU, TN_QV_CPU_AVX512, TN_QV_COUNT } tn_qvariant;
extern const char *const tn_qvariant_names[TN_QV_COUNT];
/** One variant by hand, for tests and measurements; false in *can where it does not apply, and nothing is done. */
int tn_unpack_with(tn_ctx *c, tn_qvariant v, const tn_qtensor *q, tn_tensor *out, bool *can, tn_error *err);
enum { TN_QGEMV_ROWS = 8 };
/** y[m, n] = sum_k x[m, k] W[n, k] + bias[n], unpacking on the way: for x of at most TN_QGEMV_ROWS dense rows. */
bool tn_qgemv_can(const tn_qtensor *q, const tn_tensor *x);
int tn_qgemv(tn_ctx *c, const tn_tensor *x, const tn_qtensor *q, cl_mem bias, tn_tensor y, tn_error *err);
int tn_qgemv_with(tn_ctx *c, tn_qvariant v, const tn_tensor *x, const tn_qtensor *q, cl_mem bias, tn_tensor y, bool *can,
                  tn_error *err);
/** The measured choice: is tn_qgemv faster than unpacking and multiplying for this many rows? */
int tn_qgemv_pays(tn_ctx *c, const tn_qtensor *q, const tn_tensor *x, bool *pays, tn_error *err);
#endif
