/**
 * One function per operation: it checks its tensors, picks a variant where there are several, and launches. Tensors are
 * row-major [rows, cols]. What holds for all of them unless a function says otherwise:
 *
 * - Storage: activations and their gradients are stored as their tensors say, all of one call alike (TN_ERR_ARGUMENT where
 *   they differ); statistics, losses, parameters and their gradients are float32.
 * - Layout: only products and the y of tn_qgemv take parts of a matrix (ld over cols, an offset). Every other tensor is dense
 *   and starts its buffer; one that is not is TN_ERR_ARGUMENT. Any alignment that a buffer or sub-buffer has will do.
 * - Aliasing: an operation that goes element by element (activations' backward, residual, scale, dropout, norm2d's backward)
 *   may write onto an input of the same shape; every other output must be a buffer of its own.
 * - Sizes: a kernel counts in 31 bits; more elements than that are TN_ERR_ARGUMENT.
 *
 * With ctx->dry set nothing is launched and only the workspace is counted: the plan and the run share one code path.
 */
#ifndef TN_OPS_H
#define TN_OPS_H
#include "levels.h"
#include "quant.h"
#include "step.h"
#include "tape.h"
#include "tensor.h"
#include <stdbool.h>

enum { TN_WS_SUBS = 256, TN_MAX_TUNABLES = 4 };
struct tn_wanted;   /* tuning.h */
struct tn_forced;   /* variant.h */
struct tn_registry; /* variant.h */
struct tn_ahead;    /* ahead.h */
struct tn_needs;    /* needs.h */

typedef struct tn_ctx {
    tn_dev *dev;
    bool dry;
    tn_tape *tape;                      /* launches are recorded here instead of run; NULL: they run */
    bool plan_only;                     /* of a plan that may never run: variants nobody has checked yet count as good */
    const struct tn_registry *registry; /* of variants; NULL: only the rows that run anywhere. Borrowed */
    struct tn_wanted *wanted;           /* in a dry pass: shapes are registered here for the tuner. Borrowed, NULL: not */
    struct tn_ahead *ahead;             /* in a dry pass: launches are registered here to be built. Borrowed, NULL: not */
    struct tn_needs *needs;             /* in a dry pass: kernels are registered here. Borrowed, NULL: not */
    struct tn_forced *forced;           /* of a self-test: the row it is about. Borrowed, NULL: none */
    struct json_t *used;                /* variants that ran (used.h); NULL: none so far */
    int tune[TN_MAX_TUNABLES];          /* of the row that runs */
    tn_buffer *ws;                      /* scratch of one operation */
    size_t ws_size, ws_used, ws_peak;
    struct {
        size_t offset, bytes;
        tn_buffer *mem;
    } subs[TN_WS_SUBS]; /* sub-buffers of ws, kept */
    int n_subs;
    tn_buffer *constants, *state; /* tn_step_constants, tn_optim_state; kept until tn_ctx_free */
    tn_buffer *counts;            /* zeros between launches (grads.c); likewise */
    tn_buffer *busy;              /* likewise: which threads' scratch is taken (cpu.c) */
    struct tn_grads *grads;       /* gradients that wait for others (grads.h). Borrowed, NULL: none wait */
} tn_ctx;

void tn_ctx_init(tn_ctx *c, tn_dev *d);
/** Without a registry: what the checks themselves run in. */
void tn_ctx_bare(tn_ctx *c, tn_dev *d);
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
/** A list of tensors, as tn_storage takes it. */
#define TN_LIST(...) ((const tn_tensor *const[]){__VA_ARGS__, NULL})
/** The storage type that acts have in common; floats must be float32. All must be dense and start their buffer, or the call
 * fails with a sentence that begins with `op`. A tensor without rows is one that is not wanted. floats may be NULL. */
int tn_storage(tn_dtype *out, const char *op, const tn_tensor *const *acts, const tn_tensor *const *floats, tn_error *err);
/** Fails where a kernel could not count to n. */
int tn_countable(const char *op, size_t n, tn_error *err);
/** Build options of a kernel; too long ones are an error, since a cut one would build another kernel. */
typedef struct tn_options {
    char s[256];
} tn_options;
int tn_options_set(tn_options *o, tn_error *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/** Launches a kernel of cl/<file>, built with `options`; does nothing when dry. */
int tn_op_run(tn_ctx *c, const char *file, const char *entry, const char *options, const tn_arg *args, int n_args,
              const tn_range *range, tn_error *err);
/** A fill and a copy as a part of a pass: nothing when dry, recorded when there is a tape. */
int tn_op_fill(tn_ctx *c, tn_buffer *b, size_t offset, size_t bytes, uint32_t pattern, tn_error *err);
int tn_op_copy(tn_ctx *c, tn_buffer *src, tn_buffer *dst, size_t dst_off, size_t bytes, tn_error *err);
/** Elements a work-item should take at once for rows of `cols` elements: 16, 4 or 1. */
int tn_vec_width(const tn_ctx *c, int cols);
/** The same for kernels built with WHOLE (cl/shared/common.h): on a GPU 16 bytes of a storage type, where rows are made of such. */
int tn_run_width(const tn_ctx *c, tn_dtype t, int cols);
/** Work-items of a group along n of them, for kernels that take any: at most 64. Those of a CPU device compile for each such
 * number, so that there are few: 1, 8, 64, the items beyond n idle. */
size_t tn_group_items(const tn_ctx *c, size_t n);

/* ---- products: tn_gemm_run of gemm.h ---- */

/* ---- row_sums.c: a layer norm in two halves, the second of which a product can take in (gemm.h) ---- */
/** Are sums, by its shape, such of x? */
bool tn_sums_fit(const tn_tensor *x, const tn_tensor *sums);
/** sums [cols / 64, 2 * rows] float32: of each 64 columns of x the sum and the sum of squares of every row. cols: a multiple of 64.
 * Of 16-bit values these are as exact as their storage; the variance made of them has a mean's square times 1e-7 for its error. */
int tn_row_sums(tn_ctx *c, const tn_tensor *x, const tn_tensor *sums, tn_error *err);
/** y = (x - mean) / sqrt(variance + eps) of each row, by its sums. */
int tn_row_norm(tn_ctx *c, const tn_tensor *x, const tn_tensor *sums, float eps, const tn_tensor *y, tn_error *err);

/* ---- norm.c ---- */
int tn_layernorm_forward(tn_ctx *c, const tn_tensor *x, const tn_tensor *gamma, const tn_tensor *beta, float eps, tn_tensor *y,
                         tn_tensor *stats, tn_error *err);
/** What layernorm's backward reads, and scale [1, cols], which makes `scaled` of dx; NULL: not wanted. */
typedef struct tn_layernorm_back {
    const tn_tensor *x, *gamma, *stats, *dy, *scale;
    tn_tensor *scaled;
} tn_layernorm_back;
/** dx from dy, or dx += with accumulate; scaled = scale * dx. */
int tn_layernorm_backward(tn_ctx *c, const tn_layernorm_back *b, tn_tensor *dx, bool accumulate, tn_error *err);
/** dgamma += sum dy*xhat, dbeta += sum dy (mem NULL: not wanted). stats (mean, rstd) one a row. */
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
typedef struct tn_norm2d {
    const tn_tensor *x, *stats, *gamma, *beta; /* beta: read by tn_norm2d_apply alone */
    int unit_rows, groups;
} tn_norm2d;
/** y = fn(u) of the norm's u; kept (NULL: nothing): becomes u, or with `slope` fn's slope at u. */
typedef struct tn_norm_end {
    tn_fn fn;
    tn_tensor *kept;
    bool slope;
} tn_norm_end;
/** end: NULL, or how y is made of the norm. */
int tn_norm2d_apply(tn_ctx *c, const tn_norm2d *n, const tn_norm_end *end, tn_tensor *y, tn_error *err);
/** dx from dy; dgamma, dbeta += (mem NULL: not wanted). dx may be dy's own buffer. fn: NULL, or what stands behind the norm, of
 * which dy is the gradient: its slope is worked out again from x, and n's beta is read. */
int tn_norm2d_backward(tn_ctx *c, const tn_norm2d *n, const tn_fn *fn, const tn_tensor *dy, tn_tensor *dx, tn_tensor *dgamma,
                       tn_tensor *dbeta, tn_error *err);
/* ---- norm_few.c ---- */
/** A few outputs of an activation behind a norm: y [rows, O] float32 = rows' weights over fn(norm(x)) and their constants, without
 * that ever being stored. rows [O, C + 1] float32, O up to TN_FEW_OUTPUTS. */
typedef struct tn_norm_few {
    tn_norm2d n; /* its beta is always read */
    tn_fn fn;
    const tn_tensor *rows;
} tn_norm_few;
int tn_norm_few_forward(tn_ctx *c, const tn_norm_few *f, tn_tensor *y, tn_error *err);
/** From dy [rows, O]: dx (which may be x's own buffer) and drows [O, C + 1] are written, dgamma and dbeta added to; rows 0: not
 * wanted. */
typedef struct tn_norm_few_grads {
    const tn_tensor *dy;
    tn_tensor *dx, *drows, *dgamma, *dbeta;
} tn_norm_few_grads;
int tn_norm_few_backward(tn_ctx *c, const tn_norm_few *f, const tn_norm_few_grads *g, tn_error *err);

/* ---- norm.c ---- */
int tn_batchnorm_track(tn_ctx *c, const tn_tensor *stats, tn_tensor *mean, tn_tensor *var, float eps, float momentum, int count,
                       tn_error *err);
int tn_batchnorm_stats(tn_ctx *c, const tn_tensor *mean, const tn_tensor *var, float eps, tn_tensor *stats, tn_error *err);

/* ---- grn.c ---- */
/** Global response normalisation (Woo et al. 2023) of samples of so many rows: norms [2B, C] float32 has in row b how large each
 * channel of sample b is (its Euclidean norm over the positions) beside the channels' mean + eps, in row B + b the norm itself. */
typedef struct tn_grn {
    const tn_tensor *x, *norms, *gamma, *beta; /* gamma, beta [1, C] float32; beta: read by tn_grn_forward alone */
    int sample_rows;
    float eps;
} tn_grn;
/** y = x + gamma * (x * norms) + beta; writes norms. y may be x's own buffer. */
int tn_grn_forward(tn_ctx *c, const tn_grn *n, tn_tensor *y, tn_error *err);
/** dx from dy; dgamma, dbeta += (mem NULL: not wanted). dx may be dy's own buffer. */
int tn_grn_backward(tn_ctx *c, const tn_grn *n, const tn_tensor *dy, tn_tensor *dx, tn_tensor *dgamma, tn_tensor *dbeta,
                    tn_error *err);

/* ---- attention.c, rope.c: qkv [B*N, 3D], o [B*N, D], lse and delta [B*heads, N] ---- */
int tn_attention_forward(tn_ctx *c, const tn_tensor *qkv, int batch, int heads, tn_tensor *o, tn_tensor *lse, tn_error *err);
/** What the forward pass read and left. table: q and k were turned by it (tn_rope, but for the first `skip` rows of a sample), and
 * their gradients are turned back; NULL: they are as they are. */
typedef struct tn_attention {
    const tn_tensor *qkv, *o, *lse;
    int batch, heads;
    const tn_tensor *table;
    int skip;
} tn_attention;
int tn_attention_backward(tn_ctx *c, const tn_attention *f, const tn_tensor *d_o, tn_tensor *delta, tn_tensor *dqkv, tn_error *err);
/** In place on q and k; table [P, hd/2] of (cos, sin) float32; direction -1 undoes it (the backward). */
int tn_rope(tn_ctx *c, tn_tensor *qkv, const tn_tensor *table, int batch, int heads, int skip, int direction, tn_error *err);

/* ---- elementwise.c ---- */
int tn_act_forward(tn_ctx *c, tn_fn f, const tn_tensor *x, tn_tensor *y, tn_error *err);
/** dx may be dy. */
/** y = f(u), and u becomes f's slope there. */
int tn_act_keep(tn_ctx *c, tn_fn f, tn_tensor *u, tn_tensor *y, tn_error *err);
int tn_act_backward(tn_ctx *c, tn_fn f, const tn_tensor *x, const tn_tensor *dy, tn_tensor *dx, tn_error *err);
int tn_glu_forward(tn_ctx *c, tn_fn f, const tn_tensor *u, tn_tensor *y, tn_error *err);
/** du may be u. */
int tn_glu_backward(tn_ctx *c, tn_fn f, const tn_tensor *u, const tn_tensor *dy, tn_tensor *du, tn_error *err);
/** o = x + scale[cols] * y; scale NULL: x + y. */
int tn_residual(tn_ctx *c, const tn_tensor *x, const tn_tensor *y, const tn_tensor *scale, tn_tensor *o, tn_error *err);
int tn_scale_cols(tn_ctx *c, const tn_tensor *x, const tn_tensor *scale, tn_tensor *o, tn_error *err);
/** p in steps of 1/65536, for tn_keeps. */
uint32_t tn_drop_threshold(float p);
/** Inverted dropout: element (r, c) of a [rows, cols] tensor is kept and divided by 1 - p, or is zero, by a draw that depends on
 * (step seed, salt, element) only. p 0: everything is kept as it is. */
typedef struct tn_mask {
    float p;
    uint32_t salt;
} tn_mask;
/** y = x dropped out, or y += with add; rest: x less that. */
int tn_dropout(tn_ctx *c, const tn_tensor *x, tn_tensor *y, tn_mask m, bool add, bool rest, tn_error *err);
/** The draws of masks [rows, cols] as bits, one mask behind the other, for products on NVIDIA's matrix units
 * (cl/gpu/dropout_bits.cl says how they lie). cols: multiples of 32. */
typedef struct tn_bits {
    int rows, n;
    float p;
    int cols[TN_BITS_MOST];
    uint32_t salt[TN_BITS_MOST];
} tn_bits;
int tn_dropout_bits(tn_ctx *c, const tn_bits *b, tn_tensor *out, tn_error *err);
/** The same for whole channels: a draw for each column of each sample. */
int tn_dropout2d(tn_ctx *c, const tn_tensor *x, tn_tensor *y, tn_mask m, int sample_rows, tn_error *err);
/** u, v [rows, cols], v or NULL; g [1, cols]; bias [part] or NULL. */
typedef struct tn_dora_part {
    const tn_tensor *u, *g, *v;
    tn_buffer *bias;
    int first, part;
} tn_dora_part;
/** Columns [first, first + part) of y = g*u (+ v) (+ bias). */
int tn_dora(tn_ctx *c, const tn_dora_part *d, tn_tensor *y, tn_error *err);
/** From row `first` on, g = m / |w + t| and inv = 1 / |w + t| by rows; w of any storage, perhaps a part of a buffer, t float32,
 * both [rows, in]. */
int tn_dora_scale(tn_ctx *c, const tn_tensor *w, const tn_tensor *t, const tn_tensor *m, int first, tn_tensor *g, tn_tensor *inv,
                  tn_error *err);
/** dm[part] += sums * inv, both read from column `first` on. */
int tn_dora_magnitude(tn_ctx *c, const tn_tensor *sums, const tn_tensor *inv, int first, int part, tn_tensor *dm, tn_error *err);
int tn_scale_channels(tn_ctx *c, const tn_tensor *x, const tn_tensor *z, int sample_rows, tn_tensor *y, tn_error *err);
/** x = k * z in every row of the sample, or x += with add; z [B, C] float32. */
int tn_spread_channels(tn_ctx *c, const tn_tensor *z, float k, int sample_rows, tn_tensor *x, bool add, tn_error *err);

/* ---- spatial.c ---- */
typedef struct tn_patches {
    int height, width, patch;
    bool normalize; /* bytes: by ImageNet's mean and deviation; else to [0, 1] */
    int frames;     /* T, of a sample */
} tn_patches;
/** pixels: values [B*T*3*height, width] float32, or RGB bytes [B*T*height, 3*width] -> cols [B*P, T*3*patch*patch]. */
int tn_patchify(tn_ctx *c, const tn_tensor *pixels, const tn_patches *p, tn_tensor *cols, tn_error *err);
/** What a sample's tokens are made of: patches [B*P, D], cls [1, D], registers [n_reg, D], pos [1+P, D] or NULL. */
typedef struct tn_tokens {
    const tn_tensor *patches, *cls, *registers, *pos;
    int n_reg;
} tn_tokens;
int tn_tokens_forward(tn_ctx *c, const tn_tokens *t, int batch, tn_tensor *x, tn_error *err);
/** y = x + pos in each sample; pos [N, D] float32. */
int tn_add_positions(tn_ctx *c, const tn_tensor *x, const tn_tensor *pos, tn_tensor *y, tn_error *err);
/** out [count, D] float32 += sums over the samples of rows first to first + count - 1 of dx. */
int tn_token_grad(tn_ctx *c, const tn_tensor *dx, int batch, int first, int count, tn_tensor *out, tn_error *err);
/** Rows skip, skip + 1, ... of each sample of x, as many as grid has of them. */
int tn_grid_forward(tn_ctx *c, const tn_tensor *x, int batch, int skip, tn_tensor *grid, tn_error *err);
/** dgrid there, and 0 in the other rows. */
int tn_grid_backward(tn_ctx *c, const tn_tensor *dgrid, int batch, int skip, tn_tensor *dx, tn_error *err);
/** The rows of grid in their places of x, or added to what is there; the other rows stay as they are. */
int tn_grid_put(tn_ctx *c, const tn_tensor *grid, int batch, int skip, bool add, tn_tensor *x, tn_error *err);
/** Image sizes as [height, width]. */
typedef struct tn_size2 {
    int h, w;
} tn_size2;
/** sy, sx: pixels of `in` to one of `out`. y and dy may be float32 where x and dx are not. */
typedef struct tn_resize {
    tn_size2 in, out;
    float sy, sx;
} tn_resize;
int tn_bilinear_forward(tn_ctx *c, const tn_tensor *x, int batch, const tn_resize *r, tn_tensor *y, tn_error *err);
/** more: NULL, or like dy: of their sum, which may be left in dy. */
int tn_bilinear_backward(tn_ctx *c, tn_tensor *dy, const tn_tensor *more, int batch, const tn_resize *r, tn_tensor *dx,
                         tn_error *err);
/** y [B*out, C] = x + z [B*in, C] at the nearest position, floor(i * s) as PyTorch's F.interpolate has it. y may be x's own buffer.
 */
int tn_upsample_add(tn_ctx *c, const tn_tensor *x, const tn_tensor *z, const tn_resize *r, tn_tensor *y, tn_error *err);
/** dz = the sum of dy over the positions that took from each, or dz += with add. */
int tn_nearest_backward(tn_ctx *c, const tn_tensor *dy, const tn_resize *r, tn_tensor *dz, bool add, tn_error *err);

/* ---- conv.c ---- */
/** A convolution of a batch of images with a square kernel and `pad` zeros around; out is what tn_conv_size makes of in. */
typedef struct tn_conv {
    int batch;
    tn_size2 in, out;
    int kernel, stride, pad, groups; /* groups: of both the C and the O channels */
    bool doubled; /* the images are half as high and as wide as `in`, which tn_bilinear_forward makes of them: for
                   * depthwise 3x3 kernels, stride 1 and one zero around */
} tn_conv;
/** Pixels of an image as it is given. */
static inline int tn_conv_given(const tn_conv *s)
{
    return s->in.h * s->in.w / (s->doubled ? 4 : 1);
}
/** x [batch*in.h*in.w, C] (doubled: a quarter of the rows, so has dx), w [O, C/groups * kernel * kernel] (float32, or stored as x
 * is), bias [1, O] float32 (rows 0: none) -> y [batch*out.h*out.w, O]. */
int tn_conv_forward(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const tn_tensor *bias, tn_tensor *y,
                    tn_error *err);
/** The same, and of y what tn_norm2d_stats makes of units of an image: stats [batch*groups, 2]. */
typedef struct tn_conv_norm {
    int groups;
    float eps;
    tn_tensor *stats;
} tn_conv_norm;
int tn_conv_forward_stats(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *w, const tn_tensor *bias, tn_tensor *y,
                          const tn_conv_norm *n, tn_error *err);
/** A convolution's backward: from dy, dx is written, dw and db are added to; rows 0: not wanted. x is read for dw alone. */
typedef struct tn_conv_grads {
    const tn_tensor *x, *w, *dy;
    tn_tensor *dx, *dw, *db;
} tn_conv_grads;
int tn_conv_backward(tn_ctx *c, const tn_conv *s, const tn_conv_grads *g, tn_error *err);

/* ---- affine_rows.c ---- */
/** Rows [R, n] through an affine map: each becomes (v W, v b + k) with v its entries from `first` on, as many as W has rows. All
 * float32. */
typedef struct tn_affine_rows {
    const tn_tensor *v; /* the rows */
    const tn_tensor *k; /* their constants [1, R]; rows 0: 0. v itself: each the last entry of its row */
    int first;
    const tn_tensor *w, *b; /* W [N, K], b [1, N] or rows 0 */
} tn_affine_rows;
/** out [R, K + 1] */
int tn_affine_rows_forward(tn_ctx *c, const tn_affine_rows *r, tn_tensor *out, tn_error *err);
/** d [R, K + 1]: of the result. What is added to: rows 0: not wanted; dv and dk lie as v and k do. */
typedef struct tn_affine_rows_grads {
    const tn_tensor *d;
    tn_tensor *dw, *db, *dv, *dk;
} tn_affine_rows_grads;
int tn_affine_rows_backward(tn_ctx *c, const tn_affine_rows *r, const tn_affine_rows_grads *g, tn_error *err);

/* ---- conv_few.c: stride 1, one group, few outputs; rows [O, C * kernel * kernel + 1]: for each a kernel [C, kernel, kernel] and
 * the constant that is added; y and dy [batch*out.h*out.w, O] float32 ---- */
int tn_conv_few_forward(tn_ctx *c, const tn_conv *s, const tn_tensor *x, const tn_tensor *rows, tn_tensor *y, tn_error *err);
/** dx and drows are written; rows 0: not wanted. x is read for drows alone. */
typedef struct tn_conv_few_grads {
    const tn_tensor *x, *rows, *dy;
    tn_tensor *dx, *drows;
} tn_conv_few_grads;
int tn_conv_few_backward(tn_ctx *c, const tn_conv *s, const tn_conv_few_grads *g, tn_error *err);

/* ---- levels.c, deform.c: N positions of all levels in each sample, one level after another ---- */
/** y = pos + the level's row of embed; y and pos [N, D], embed [levels, D], float32. */
int tn_level_positions(tn_ctx *c, const tn_levels *l, const tn_tensor *pos, const tn_tensor *embed, tn_tensor *y, tn_error *err);
/** embed += sums of dpos [N, D] over each level's rows. */
int tn_level_grad(tn_ctx *c, const tn_tensor *dpos, const tn_levels *l, tn_tensor *embed, tn_error *err);
/** Multi-scale deformable self-attention (Zhu et al. 2020): value [B*N, D], samples [B*N, 3*heads*levels*points], which are offsets
 * (x, y) in pixels of their level by head, level and point, then as many logits. A query's head takes the softmax of its logits, of
 * value bilinearly interpolated at the middle of the query's cell plus each offset, 0 outside of a level (as F.grid_sample with
 * align_corners=False). A head's columns stand together in value and o [B*N, D]. */
typedef struct tn_deform {
    const tn_tensor *value, *samples; /* tn_deform_dvalue reads no value */
    const tn_levels *levels;
    int heads, points;
} tn_deform;
int tn_deform_forward(tn_ctx *c, const tn_deform *f, tn_tensor *o, tn_error *err);
int tn_deform_dsamples(tn_ctx *c, const tn_deform *f, const tn_tensor *d_o, tn_tensor *dsamples, tn_error *err);
int tn_deform_dvalue(tn_ctx *c, const tn_deform *f, const tn_tensor *d_o, tn_tensor *dvalue, tn_error *err);

/* ---- groups.c ---- */
/** b [rows, each] of `groups` groups of rows -> wide [rows, each * groups], zeros between the groups; b may begin anywhere in its
 * buffer and is stored as wide is. */
int tn_groups_spread(tn_ctx *c, const tn_tensor *b, int groups, tn_tensor *wide, tn_error *err);
/** The other way: d += what of wide is not between the groups; float32. */
int tn_groups_collect(tn_ctx *c, const tn_tensor *wide, int groups, tn_tensor *d, tn_error *err);

/* ---- train_ops.c ---- */
/** A loss of a heatmap p beside its target t. logits: false: (p - t)^2; true: with q = sigmoid(p)
 *   -pos_weight t (1 - q)^alpha log q - (1 - t)^(beta + 1) q^alpha log(1 - q),
 * whose slope is 0 where p is beyond +-bound, and whose value is that at the bound. */
typedef struct tn_loss_spec {
    bool logits;
    float alpha, beta, pos_weight, bound;
} tn_loss_spec;
/** Whether the heatmaps of a model trained with the loss of this name (training.loss.name) are logits. */
bool tn_loss_logits(const char *name);
/** The loss of a name: mse; focal (CornerNet's, q kept to 1e-6 from its ends; it takes alpha and beta); bce and TrackNetV2's wbce
 * (they take pos_weight). */
tn_loss_spec tn_loss_named(const char *name, double alpha, double beta, double pos_weight);
bool tn_loss_same(const tn_loss_spec *a, const tn_loss_spec *b);
/** The heatmaps that labels ask for, K of each sample. */
typedef struct tn_target_spec {
    int height, width;
    float sigma;   /* of the Gaussian, heatmap pixels */
    bool negative; /* a frame without a ball asks for an empty heatmap (its mask is 1), instead of for nothing (0) */
} tn_target_spec;
/** labels [B*K, 3] float32 (x, y in heatmap pixels; 1 visible, 0 not, -1 no label) -> target [B*S, K] (a Gaussian of peak 1 at the
 * ball; 0 where none is visible) and mask [B, K] (1 where it is, and where `negative` wherever there is a label). */
int tn_heatmap_target(tn_ctx *c, const tn_tensor *labels, const tn_target_spec *s, tn_tensor *target, tn_tensor *mask,
                      tn_error *err);
/** heat, target, dheat [B*S, K] float32, mask [B, K]; partial [TN_PARTIALS, 1]: the loss is their sum. The step's inv_mask
 * multiplies both, the loss scale dheat alone. */
int tn_heatmap_loss(tn_ctx *c, const tn_tensor *heat, const tn_tensor *target, const tn_tensor *mask, const tn_loss_spec *spec,
                    tn_tensor *dheat, tn_tensor *partial, tn_error *err);
/** Hyperparameters that stay as they are through a run. The rest is in the step constants. */
typedef struct tn_adam_spec {
    float beta1, beta2, eps;
} tn_adam_spec;
/** Elements [off, off + n) of the flat arenas of a group: parameters, gradients, moments (v: AdamW's), float32. */
typedef struct tn_optim_range {
    tn_buffer *p, *g, *m, *v;
    tn_buffer *shadow; /* the parameters again, stored as shadow_type; NULL: none */
    tn_dtype shadow_type;
    size_t off, n;
    int group;  /* of tn_optim_state */
    float rate; /* multiplies the step's learning rate */
} tn_optim_range;
/** Norm of g[off, off + n), and from it and the step constants the context's tn_optim_state: factor, counts, loss scale. */
int tn_clip(tn_ctx *c, tn_buffer *g, size_t off, size_t n, const tn_adam_spec *s, tn_error *err);
/** Its two halves, for a gradient in several places: sums of squares of parts of g, *parts (may be NULL) of them, at most
 * TN_PARTIALS floats; and what the sum of all of them means. */
int tn_grad_norm(tn_ctx *c, tn_buffer *g, size_t off, size_t n, tn_buffer *sums, int *parts, tn_error *err);
int tn_clip_sums(tn_ctx *c, tn_buffer *sums, int parts, const tn_adam_spec *s, tn_error *err);
/** A step with what tn_clip left; nothing where that was not finite. Either way the range's gradient is zero afterwards, for the
 * next step's to be added to. */
int tn_adamw(tn_ctx *c, const tn_optim_range *r, const tn_adam_spec *s, tn_error *err);
int tn_sgd(tn_ctx *c, const tn_optim_range *r, float momentum, tn_error *err);

/* ---- quant_ops.c, unpack.c ---- */
enum { TN_QTABLE_BYTES = 4 * (16 + 256 + 32 + 512) };
/** A quantised matrix on the device. scales: float32 or bytes, as tn_qscale_of says. */
typedef struct tn_qtensor {
    tn_qshape s;
    tn_buffer *packed, *scales, *nested, *zeros, *tables;
    float offset;
    bool own_tables;
} tn_qtensor;
/** The build options of kernels that read or write matrices of this shape; out: what is unpacked to. */
void tn_qoptions(char *buf, size_t n, const tn_qshape *s, tn_dtype out);
/** Buffers for a shape (whose block is settled, see tn_qblock). tables: of another tensor of the format, or NULL. */
int tn_qtensor_new(tn_qtensor *q, tn_dev *d, const tn_qshape *s, tn_buffer *tables, tn_error *err);
/** The same in the region of a buffer that begins at `at`, a multiple of the device's alignment; NULL: in buffers of its own. */
int tn_qtensor_new_in(tn_qtensor *q, tn_dev *d, const tn_qshape *s, tn_buffer *tables, tn_buffer *in, size_t at, tn_error *err);
/** What the region is long. */
size_t tn_qregion_bytes(const tn_qshape *s, size_t align);
void tn_qtensor_free(tn_qtensor *q, tn_dev *d);
/** Bytes from and to the host. *m is made by the call; free with tn_qmatrix_free. */
int tn_qtensor_set(tn_qtensor *q, tn_dev *d, const tn_qmatrix *m, tn_error *err);
int tn_qtensor_get(const tn_qtensor *q, tn_dev *d, tn_qmatrix *m, tn_error *err);
/** Quantises values[rows, cols] on the device: the same bytes as tn_quantize. `name` is for errors. */
int tn_qtensor_quantize(tn_ctx *c, tn_qtensor *q, const float *values, const char *name, tn_error *err);
enum { TN_UNPACK_PARTS = 3 };
/** Unpacks into out: dense, of any storage type, may begin anywhere in its buffer. */
int tn_unpack(tn_ctx *c, const tn_qtensor *q, tn_tensor *out, tn_error *err);
/** n matrices with as many columns under each other in out; up to TN_UNPACK_PARTS of one shape in one launch. */
int tn_unpack_parts(tn_ctx *c, const tn_qtensor *const *q, int n, tn_tensor *out, tn_error *err);
/** How a matrix unit wants the right operand of a product, op(B) [N, K], where B is a quantised matrix or several under each other.
 */
typedef struct tn_qoperand {
    bool turned; /* B is [K, N], else [N, K] */
    int lanes;   /* 8, 16: in blocks of so many rows, 16 deep (cl/intel/dpas.h), with zeros outside; 0: in rows */
} tn_qoperand;
/** Are they of one shape, and of one whose rows and blocks are whole eights? */
bool tn_qoperand_can(const tn_qtensor *const *q, int n);
/** Elements of such an operand, made of n matrices of a shape. */
size_t tn_qoperand_count(const tn_qshape *s, int n, tn_qoperand to);
/** Unpacks, in one launch, matrices of which tn_qoperand_can is true. out: of 16 bits, of as many elements, begins its buffer. */
int tn_unpack_operand(tn_ctx *c, const tn_qtensor *const *q, int n, tn_qoperand to, const tn_tensor *out, tn_error *err);
enum { TN_QGEMV_ROWS = TN_FEW_ROWS };
/** y[m, n] = sum_k x[m, k] W[n, k] + bias[n] (bias may be NULL) for few rows of x, by whatever is fastest: a kernel that
 * unpacks on the way (at most TN_QGEMV_ROWS rows, y stored as x is), or unpacking and a product. y may be a part of a matrix. */
int tn_qgemv(tn_ctx *c, const tn_tensor *x, const tn_qtensor *q, tn_buffer *bias, tn_tensor y, tn_error *err);
/** Would tn_qgemv unpack on the way? Then it is faster than unpacking and multiplying; else the caller may do more with the
 * product (tn_gemm_run). */
int tn_qgemv_pays(tn_ctx *c, const tn_qtensor *q, const tn_tensor *x, bool *pays, tn_error *err);
#endif
