/**
 * Every operation of a graph, one row each. The enum, the attributes, the row table (operations.c), the executor's
 * table (schedule/exec.c) and the exporter's (convert/onnx.c) are all made from these two lists, so that a row without
 * one of its parts does not compile or link. docs/adding-an-operation.md says what a row needs.
 *
 * Columns: id, name, attributes, most inputs and outputs, what it costs (cost_*), its backward rule (tn_back_*), when it may be
 * run again in the backward pass, which inputs its first output may overwrite (a mask of TN_IN*), and TN_OPERATION_* flags.
 */
#ifndef TN_OPERATIONS_H
#define TN_OPERATIONS_H
#include "levels.h"
#include "numeric.h"
#include <stdbool.h>

/* ---- attributes ---- */

typedef char tn_attr_none;
typedef struct tn_attr_patchify {
    int height, width, patch;
    bool normalize; /* frames of bytes: by ImageNet's mean and deviation; else to [0, 1] */
    int frames;     /* of a sample: T */
} tn_attr_patchify;
/** Heatmap size, the Gaussian's deviation in its pixels, and whether a frame without a ball asks for an empty heatmap. */
typedef struct tn_attr_target {
    int height, width;
    float sigma;
    bool negative;
} tn_attr_target;
/** What the adapters see is dropped out with probability `dropout`; salt names the mask. */
typedef struct tn_attr_lora {
    float dropout;
    uint32_t salt;
    int bits_at; /* where its draws begin in the bits that the node reads, if it reads any (fuse_bits.c) */
} tn_attr_lora;
/** The masks of a layer's adapters: [rows, cols] each, whose words begin at `at`. */
typedef struct tn_attr_bits {
    int n, rows;
    float p;
    int cols[TN_BITS_MOST], at[TN_BITS_MOST];
    uint32_t salt[TN_BITS_MOST];
} tn_attr_bits;
/** What a product ends with (fuse.c): act: fn is applied, before it the sum, or with keeps_slope fn's slope there, is kept as
 * out[1] if that is wanted. heads: its q and k are turned by the table in[3], but for the first `skip` rows of a sample. */
typedef struct tn_attr_linear {
    bool act, keeps_slope;
    tn_fn fn;
    int heads, skip;
    float eps; /* of the norm of x that is taken in (take_norms.c); in[4]: its rows' sums. out[2]: those of what it makes */
} tn_attr_linear;
/** adapters: of dt's share (in[1]); fn: whose slope at in[2], or with slope_kept in[2] itself, the sum is multiplied by. */
typedef struct tn_attr_linear_dx {
    tn_attr_lora adapters;
    tn_fn fn;
    bool slope_kept;
} tn_attr_linear_dx;
typedef struct tn_attr_tokens {
    int registers;
} tn_attr_tokens;
/** adapters: of t, where fuse.c put it here. */
typedef struct tn_attr_layernorm {
    float eps;
    tn_attr_lora adapters;
} tn_attr_layernorm;
/** The first `skip` rows of a sample are left as they are. */
typedef struct tn_attr_rope {
    int heads, skip;
} tn_attr_rope;
typedef struct tn_attr_heads {
    int heads;
} tn_attr_heads;
typedef struct tn_attr_fn {
    tn_fn fn;
} tn_attr_fn;
/** Of a sample's rows those from `skip` on, h x w of them. */
typedef struct tn_attr_map {
    int skip, h, w;
} tn_attr_map;
/** sy, sx: source pixels a target pixel. */
typedef struct tn_attr_resize {
    int in_h, in_w, out_h, out_w;
    float sy, sx;
} tn_attr_resize;
/** Square kernels, zero padding all around; out_h and out_w as tn_conv_attributes makes them (PyTorch's floor). groups: of C and O.
 * doubled: x is half as high and as wide as in_h x in_w and is enlarged on the way, as BILINEAR has it, and dx is of that x
 * (fuse_doubling.c); with depthwise 3x3 kernels. norm_groups: 0, or those of a GroupNorm of y, whose statistics out[1] becomes. */
typedef struct tn_attr_conv {
    int in_h, in_w, out_h, out_w, kernel, stride, pad, groups;
    bool doubled;
    int norm_groups;
} tn_attr_conv;
/** Of the convolution that the adapter stands beside. */
typedef struct tn_attr_adapt {
    int groups;
} tn_attr_adapt;
/** Of each row the entries from `first` on, and its constant or 0 instead. */
typedef struct tn_attr_rows {
    int first;
    bool constant;
} tn_attr_rows;
/** TN_STATS_OWN: of x. TN_STATS_TRACKED: of x, and the running ones follow. TN_STATS_RUNNING: the running ones. */
typedef enum tn_stats { TN_STATS_OWN, TN_STATS_TRACKED, TN_STATS_RUNNING } tn_stats;
typedef struct tn_attr_norm2d {
    int unit_rows, groups;
    tn_stats stats;
    bool act, keeps_slope; /* y = fn of the norm's, which is kept as out[2], or fn's slope there is, if that is wanted (fuse.c) */
    tn_fn fn;
} tn_attr_norm2d;
typedef struct tn_attr_sample {
    int rows; /* of a sample */
} tn_attr_sample;
typedef struct tn_attr_dropout2d {
    float p;
    uint32_t salt;
    int rows; /* of a sample */
} tn_attr_dropout2d;
/** rest: x less what dropout makes of it. */
typedef struct tn_attr_dropout {
    float p;
    uint32_t salt;
    bool rest;
} tn_attr_dropout;

typedef struct tn_attr_deform {
    tn_levels levels;
    int heads, points; /* points: samples of a head and level */
} tn_attr_deform;

/* ---- rows ---- */

enum { TN_IN0 = 1, TN_IN1 = 2, TN_IN2 = 4 };
enum {
    TN_OPERATION_ADDS = 1,    /* can add to what its output already holds (tn_gnode.onto) */
    TN_OPERATION_IN_PLACE = 2 /* has no other way: out[0] is in[0]'s storage */
};
/** Whether the backward pass may run an operation again instead of keeping what it made. */
typedef enum tn_again {
    TN_AGAIN_NEVER,
    TN_AGAIN_CHEAP,
    TN_AGAIN_DEAR,
    TN_AGAIN_DEAREST /* what it makes is small beside what it and the products before it cost */
} tn_again;

/* clang-format off */
/* What is read -> what is written; x is [rows, cols], slots are tn_gnode.w. */
#define TN_FORWARD_OPERATIONS(X) \
    /* pixels [B*T*3*H, W] float32 or frames [B*T*H, 3*W] of bytes -> columns [B*P, T*3*p*p] */ \
    X(PATCHIFY, patchify, tn_attr_patchify, 1, 1, moves, none, NEVER, 0, 0) \
    /* -> the draws of a layer's masks, a bit each (fuse_bits.c) */ \
    X(DROPOUT_BITS, dropout_bits, tn_attr_bits, 0, 1, moves, none, NEVER, 0, 0) \
    /* x (, bits) -> t [rows, sum of ranks]: dropout(x) A^T of each adapted part, side by side; small, so it is kept, and nothing
     * reads x again for it alone */ \
    X(LINEAR_T, linear_t, tn_attr_lora, 2, 1, linear_t, linear_t, NEVER, 0, 0) \
    /* x (, t) -> y: x W^T + bias (+ scale t B^T), the parts side by side. Fused: act of it, or in[2] + w0 * it, or turned by in[3] */ \
    X(LINEAR, linear, tn_attr_linear, 5, 3, linear, linear, DEAR, 0, 0) \
    /* w0 [O, N], w1 [N, K] -> m = w0 w1 [O, K]: two linear layers as one */ \
    X(SLOTS_PRODUCT, slots_product, tn_attr_none, 0, 1, slots_product, slots_product, NEVER, 0, 0) \
    /* x, m [O, K], y -> y + x m^T */ \
    X(LINEAR_BY, linear_by, tn_attr_none, 3, 1, linear_by, linear_by, DEAR, 0, 0) \
    /* const R; w0 positions -> resized position rows, float32 */ \
    X(POSITIONS, positions, tn_attr_none, 1, 1, positions, positions, DEAR, 0, 0) \
    /* patches (, positions); w0 cls, w1 registers -> [B*N, D] */ \
    X(TOKENS, tokens, tn_attr_tokens, 2, 1, moves, tokens, DEAR, 0, 0) \
    /* x (, bits); w0 gamma, w1 beta -> y, stats [rows, 2] float32. Fused: out[2] is LINEAR_T's of y */ \
    X(LAYERNORM, layernorm, tn_attr_layernorm, 2, 3, layernorm, layernorm, CHEAP, 0, 0) \
    /* x -> its rows' sums in blocks of columns [blocks, 2 * rows] float32 (take_norms.c) */ \
    X(ROW_SUMS, row_sums, tn_attr_none, 1, 1, reduce, none, NEVER, 0, 0) \
    /* qkv, table -> qkv with q and k turned */ \
    X(ROPE, rope, tn_attr_rope, 2, 1, few, rope, DEAR, TN_IN0, TN_OPERATION_IN_PLACE) \
    /* qkv [B*N, 3D] -> o [B*N, D], lse [B*heads, N] float32 */ \
    X(ATTENTION, attention, tn_attr_heads, 1, 2, attention, attention, DEAREST, 0, 0) \
    /* maps [B*h*w, D] of each level -> x [B*N, D], N positions of all levels, one level after another */ \
    X(LEVELS_JOIN, levels_join, tn_levels, 8, 1, moves, levels_join, DEAR, 0, 0) \
    /* const positions [N, D]; w0 a row for each level -> their sum [N, D] float32 */ \
    X(LEVEL_POSITIONS, level_positions, tn_levels, 1, 1, few, level_positions, DEAR, 0, 0) \
    /* x [B*N, D], positions [N, D] float32 -> x + positions in each sample */ \
    X(ADD_POSITIONS, add_positions, tn_attr_none, 2, 1, few, add_positions, CHEAP, TN_IN0, 0) \
    /* value [B*N, D], samples [B*N, 3*heads*levels*points]: offsets (x, y), then logits (tn_deform of ops.h) -> o [B*N, D] */ \
    X(DEFORM_ATTENTION, deform_attention, tn_attr_deform, 2, 1, deform, deform_attention, DEAREST, 0, 0) \
    /* x, y -> x + w0*y (w0 -1: x + y) */ \
    X(RESIDUAL, residual, tn_attr_none, 2, 1, few, residual, DEAREST, TN_IN0 | TN_IN1, 0) \
    X(ACT, act, tn_attr_fn, 1, 1, function, act, CHEAP, TN_IN0, 0) \
    /* u [rows, 2c] -> f(left) * right [rows, c] */ \
    X(GLU, glu, tn_attr_fn, 1, 1, function, glu, CHEAP, 0, 0) \
    /* x [B*N, D] -> a map [B*h*w, D]: patches behind other tokens, a level between others */ \
    X(GRID, grid, tn_attr_map, 1, 1, moves, grid, DEAR, 0, 0) \
    X(BILINEAR, bilinear, tn_attr_resize, 1, 1, resize, bilinear, DEAR, 0, 0) \
    /* x [B*out_h*out_w, C], z [B*in_h*in_w, C] -> x + z at the nearest position, PyTorch's floor(i * in / out) */ \
    X(UPSAMPLE_ADD, upsample_add, tn_attr_resize, 2, 1, few, upsample_add, DEAR, TN_IN0, 0) \
    /* x [B*in_h*in_w, C]; w0 [O, C/groups, k, k], w1 bias [O] or -1 -> y [B*out_h*out_w, O]. Fused: stats [B*norm_groups, 2] float32 */ \
    X(CONV, conv, tn_attr_conv, 1, 2, conv, conv, DEAR, 0, 0) \
    /* y [rows, O], t [rows, r] -> y + scale t B^T of the part, whose B is [O, r/groups]: an adapter's share of a convolution */ \
    X(ADAPT, adapt, tn_attr_adapt, 2, 1, linear_dt, adapt, DEAR, TN_IN0, 0) \
    /* rows (v, k) in one tensor, or v in w2 and k in w3; w0 W [N, ...], w1 b [N]: an affine map -> (v W, v b + k) [rows, K + 1]
     * float32 */ \
    X(AFFINE_ROWS, affine_rows, tn_attr_rows, 1, 1, few, affine_rows, DEAR, 0, 0) \
    /* x, rows [O, ...]: for each output a kernel and its constant -> y [B*out_h*out_w, O] float32 */ \
    X(CONV_FEW, conv_few, tn_attr_conv, 2, 1, conv, conv_few, DEAR, 0, 0) \
    /* x; w0 gamma, w1 beta, w2 running mean, w3 running variance -> y, fn of it where act says so, stats [units*groups, 2]
     * float32. Fused: those are in[1] */ \
    X(NORM2D, norm2d, tn_attr_norm2d, 2, 3, norm, norm2d, CHEAP, TN_IN0, 0) \
    /* x, rows [O, C + 1]; slots as norm2d's -> y [B*rows, O] float32: rows over fn of the norm (v.a + k), stats. Fused: those are in[2] */ \
    X(NORM2D_FEW, norm2d_few, tn_attr_norm2d, 3, 2, norm_few, norm2d_few, DEAR, 0, 0) \
    /* x [B*rows, C]; w0 gamma, w1 beta -> y, norms [2B, C] float32 */ \
    X(GRN, grn, tn_attr_sample, 1, 2, norm, grn, CHEAP, TN_IN0, 0) \
    /* x -> s [B, C] float32 */ \
    X(SAMPLE_MEAN, sample_mean, tn_attr_sample, 1, 1, reduce, sample_mean, DEAR, 0, 0) \
    /* x, z [B, C] float32 -> x * z */ \
    X(SCALE_CHANNELS, scale_channels, tn_attr_sample, 2, 1, few, scale_channels, DEAR, TN_IN0, 0) \
    X(DROPOUT2D, dropout2d, tn_attr_dropout2d, 1, 1, few, dropout2d, CHEAP, TN_IN0, 0) \
    X(DROPOUT, dropout, tn_attr_dropout, 1, 1, few, dropout, DEAR, TN_IN0, 0) \
    /* -> g = m/n, 1/n [1, cols] float32, n the row norms of W + s B A; 1 where a part has no magnitude */ \
    X(DORA_SCALE, dora_scale, tn_attr_none, 0, 2, dora_scale, none, NEVER, 0, 0) \
    /* u, g, v or -1, 1/n -> g*u (+ v) + bias; the norms get no gradient */ \
    X(DORA, dora, tn_attr_none, 4, 1, few, dora, DEAR, TN_IN0 | TN_IN2, 0) \
    /* labels [B*K, 3] (x, y, visible), K heatmaps of a sample -> target [B*S, K], mask [B, K] */ \
    X(TARGET, target, tn_attr_target, 1, 2, moves, none, NEVER, 0, 0) \
    /* heat [B*S, K], target, mask -> dheat, partial [TN_PARTIALS, 1] */ \
    X(LOSS, loss, tn_attr_none, 3, 2, function, loss, NEVER, 0, 0)

/* Gradients of slots are added to the store; those of tensors are new tensors. */
#define TN_BACKWARD_OPERATIONS(X) \
    X(ADD, add, tn_attr_none, 2, 1, few, none, NEVER, TN_IN0 | TN_IN1, 0) \
    X(COPY, copy, tn_attr_none, 1, 1, moves, none, NEVER, 0, 0) \
    /* dy -> dt: scale dy B. Fused: t -> every trained bias and B of the parts too */ \
    X(LINEAR_DT, linear_dt, tn_attr_none, 2, 1, linear_dt, none, NEVER, 0, 0) \
    /* x or -1, dy, t or -1: every trained weight, bias and B of the parts */ \
    X(LINEAR_GRAD, linear_grad, tn_attr_none, 3, 0, linear_grad, none, NEVER, 0, 0) \
    /* dy -> dx: dy W. Fused: + mask (its bits in[3]) of dt A (in[1]), times the slope at in[2] */ \
    X(LINEAR_DX, linear_dx, tn_attr_linear_dx, 4, 1, linear_dx, none, NEVER, 0, TN_OPERATION_ADDS) \
    /* dm float32: w0, w1 */ \
    X(SLOTS_PRODUCT_GRAD, slots_product_grad, tn_attr_none, 1, 0, slots_product, none, NEVER, 0, 0) \
    /* x, do -> dm float32 */ \
    X(LINEAR_BY_GRAD, linear_by_grad, tn_attr_none, 2, 1, linear_by, none, NEVER, 0, 0) \
    /* do, m -> dx. Fused: times the slope at in[2] */ \
    X(LINEAR_BY_DX, linear_by_dx, tn_attr_linear_dx, 3, 1, linear_by, none, NEVER, 0, 0) \
    /* x, dt (, bits): every trained A */ \
    X(LINEAR_T_GRAD, linear_t_grad, tn_attr_lora, 3, 0, linear_t, none, NEVER, 0, 0) \
    /* dt -> dx */ \
    X(LINEAR_T_DX, linear_t_dx, tn_attr_lora, 1, 1, linear_t, none, NEVER, 0, TN_OPERATION_ADDS) \
    X(POSITIONS_GRAD, positions_grad, tn_attr_none, 2, 0, positions, none, NEVER, 0, 0) \
    /* dx -> d positions or -1; w0 cls, w1 registers */ \
    X(TOKENS_GRAD, tokens_grad, tn_attr_tokens, 1, 1, reduce, none, NEVER, 0, 0) \
    X(TOKENS_DX, tokens_dx, tn_attr_tokens, 1, 1, moves, none, NEVER, 0, 0) \
    /* x, stats, dy */ \
    X(LAYERNORM_GRAD, layernorm_grad, tn_attr_layernorm, 3, 0, reduce, none, NEVER, 0, 0) \
    /* the same; w0 gamma. Fused: out[1] is w1 * out[0], out[2] LINEAR_DT's of one part of that, or of out[0] where there is none */ \
    X(LAYERNORM_DX, layernorm_dx, tn_attr_layernorm, 3, 3, layernorm, none, NEVER, 0, TN_OPERATION_ADDS) \
    X(ROPE_BACK, rope_back, tn_attr_rope, 2, 1, few, none, NEVER, TN_IN0, TN_OPERATION_IN_PLACE) \
    /* qkv, o, lse, do -> dqkv, delta [B*heads, N] float32. Fused: q and k turned back by in[4] */ \
    X(ATTENTION_BACK, attention_back, tn_attr_rope, 5, 2, attention_back, none, NEVER, 0, 0) \
    /* dy -> dpositions: its sum over samples */ \
    X(POSITIONS_SUM, positions_sum, tn_attr_none, 1, 1, reduce, none, NEVER, 0, TN_OPERATION_ADDS) \
    /* dpositions: w0 */ \
    X(LEVEL_GRAD, level_grad, tn_levels, 1, 0, reduce, none, NEVER, 0, 0) \
    /* value, samples, do -> dsamples */ \
    X(DEFORM_DSAMPLES, deform_dsamples, tn_attr_deform, 3, 1, deform, none, NEVER, 0, 0) \
    /* samples, do -> dvalue */ \
    X(DEFORM_DVALUE, deform_dvalue, tn_attr_deform, 2, 1, deform_dvalue, none, NEVER, 0, 0) \
    /* do -> w0*do */ \
    X(SCALE_COLS, scale_cols, tn_attr_none, 1, 1, few, none, NEVER, TN_IN0, 0) \
    /* do, y: w0 */ \
    X(SCALE_GRAD, scale_grad, tn_attr_none, 2, 0, reduce, none, NEVER, 0, 0) \
    /* x, dy -> dx */ \
    X(ACT_BACK, act_back, tn_attr_fn, 2, 1, function, none, NEVER, TN_IN1, 0) \
    X(GLU_BACK, glu_back, tn_attr_fn, 2, 1, function, none, NEVER, TN_IN0, 0) \
    /* dmap -> dx, 0 in the other rows */ \
    X(GRID_BACK, grid_back, tn_attr_map, 1, 1, moves, none, NEVER, 0, TN_OPERATION_ADDS) \
    /* dy -> dx. Fused: of dy + in[1], of which dy may be lost */ \
    X(BILINEAR_BACK, bilinear_back, tn_attr_resize, 2, 1, resize, none, NEVER, 0, 0) \
    /* dy -> dz: the sum over the positions that took from it */ \
    X(NEAREST_BACK, nearest_back, tn_attr_resize, 1, 1, reduce, none, NEVER, 0, TN_OPERATION_ADDS) \
    /* dy -> dx; w0 */ \
    X(CONV_DX, conv_dx, tn_attr_conv, 1, 1, conv_dx, none, NEVER, 0, 0) \
    /* x or -1, dy (-> dx): w0, w1 and, where that is wanted as well, dx in the same pass */ \
    X(CONV_GRAD, conv_grad, tn_attr_conv, 2, 1, conv_grad, none, NEVER, 0, 0) \
    /* dy -> dt: scale dy B */ \
    X(ADAPT_DT, adapt_dt, tn_attr_adapt, 1, 1, linear_dt, none, NEVER, 0, 0) \
    /* t, dy: B */ \
    X(ADAPT_GRAD, adapt_grad, tn_attr_adapt, 2, 0, linear_dt, none, NEVER, 0, 0) \
    /* rows or -1, d of the result -> d rows or -1; w0, w1 and, without rows, w2, w3 */ \
    X(AFFINE_ROWS_BACK, affine_rows_back, tn_attr_rows, 2, 1, few, none, NEVER, 0, 0) \
    /* x or -1, rows, dy -> dx or -1, d rows or -1 */ \
    X(CONV_FEW_BACK, conv_few_back, tn_attr_conv, 3, 2, conv_few_back, none, NEVER, 0, 0) \
    /* x, stats, dy, which is that of fn of the norm where act says so -> dx; w0, w1 */ \
    X(NORM2D_BACK, norm2d_back, tn_attr_norm2d, 3, 1, norm, none, NEVER, TN_IN2, 0) \
    /* x, stats, rows, dy -> dx, d rows or -1; w0, w1 */ \
    X(NORM2D_FEW_BACK, norm2d_few_back, tn_attr_norm2d, 4, 2, norm_few, none, NEVER, TN_IN0, 0) \
    /* x, norms, dy -> dx; w0, w1 */ \
    X(GRN_BACK, grn_back, tn_attr_sample, 3, 1, norm, none, NEVER, TN_IN2, 0) \
    X(DROPOUT2D_BACK, dropout2d_back, tn_attr_dropout2d, 1, 1, few, none, NEVER, TN_IN0, 0) \
    X(DROPOUT_BACK, dropout_back, tn_attr_dropout, 1, 1, few, none, NEVER, TN_IN0, TN_OPERATION_ADDS) \
    /* dy, u or -1, 1/n: magnitudes and biases of the parts */ \
    X(DORA_GRAD, dora_grad, tn_attr_none, 3, 0, reduce, none, NEVER, 0, 0) \
    /* dy, g -> g*dy */ \
    X(DORA_DU, dora_du, tn_attr_none, 2, 1, few, none, NEVER, TN_IN0, 0) \
    /* ds -> dx: ds / rows in every row of the sample */ \
    X(SAMPLE_MEAN_BACK, sample_mean_back, tn_attr_sample, 1, 1, few, none, NEVER, 0, TN_OPERATION_ADDS) \
    /* dy, z -> dx */ \
    X(SCALE_CHANNELS_DX, scale_channels_dx, tn_attr_sample, 2, 1, few, none, NEVER, TN_IN0, 0) \
    /* x, dy -> dz [B, C] float32 */ \
    X(SCALE_CHANNELS_DZ, scale_channels_dz, tn_attr_sample, 2, 1, reduce, none, NEVER, 0, 0)
/* clang-format on */

#define TN_OPERATIONS(X) TN_FORWARD_OPERATIONS(X) TN_BACKWARD_OPERATIONS(X)

#define TN_OPERATION_ID(ID, ...) TN_OP_##ID,
typedef enum tn_opcode { TN_OPERATIONS(TN_OPERATION_ID) TN_OP_COUNT } tn_opcode;

/** A node's attributes, under the name of its operation: n->a.bilinear.in_h. */
#define TN_OPERATION_ATTRIBUTES(ID, name, attributes, ...) attributes name;
typedef union tn_attributes {
    TN_OPERATIONS(TN_OPERATION_ATTRIBUTES)
} tn_attributes;
#endif
