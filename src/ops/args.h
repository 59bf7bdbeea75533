/** What a row of the operations with variants is given (gemm.h has GEMM's). */
#ifndef TN_ARGS_H
#define TN_ARGS_H
#include "ops.h"

/** qkv [batch * n, 3 * heads * hd] and what belongs to it, as in ops.h; forward uses qkv, o and lse. table: rows 0: none. */
typedef struct tn_attention_args {
    tn_tensor qkv, o, lse, d_o, delta, dqkv, table;
    int batch, heads, n, hd, skip;
    float scale;
    tn_dtype act;
} tn_attention_args;

/** Forward: x, gamma, beta, y, stats, eps. Backward: x, gamma, stats, dy, dx, accumulate, and scale and scaled (rows 0: none). */
typedef struct tn_layernorm_args {
    tn_tensor x, gamma, beta, y, stats, dy, dx, scale, scaled;
    float eps;
    bool accumulate;
    tn_dtype act;
} tn_layernorm_args;

/** What a convolution's outputs depend on, as rows of a matrix: row (image, i, j) of a grid has the taps' pixels side by side,
 * channels [from, from + channels) of each; the first one is pixel (i * stride + top, j * stride + left), those outside are zeros.
 */
typedef struct tn_conv_rows {
    tn_tensor image; /* [batch * size.h * size.w, width] */
    tn_size2 size, grid;
    int batch, from, channels, top, left, stride, kh, kw;
} tn_conv_rows;

/** C = rows W^T + bias, W [N, kh * kw * channels]. Row (image, i, j) of the grid is written to pixel (i * step + y, j * step + x)
 * of images `to`, whose pixels are C's rows; C may be columns of a matrix. */
typedef struct tn_conv_args {
    tn_conv_rows rows;
    tn_tensor W, C;
    tn_buffer *bias; /* [N]; NULL: none */
    tn_size2 to;
    int step, y, x;
} tn_conv_args;

/** sum [N, kh * kw * channels] float32 = dy^T rows, or += with add; dy may be columns of a matrix. */
typedef struct tn_conv_grad_args {
    tn_conv_rows rows;
    tn_tensor dy, sum;
    bool add;
} tn_conv_grad_args;

/** A depthwise convolution from x to y, or back from dy to dx by the kernel turned round. w [C, K * K]; bias: rows 0: none. */
typedef struct tn_dwconv_args {
    tn_conv s;
    tn_tensor from, w, bias, to;
    bool back;
    tn_dtype act;
} tn_dwconv_args;

/** The same of a doubled map, forward with the statistics of y where `stats` [batch * groups, 2] has rows. */
typedef struct tn_dwdouble_args {
    tn_dwconv_args of; /* first: what is asked of both is asked of it */
    tn_tensor stats;
    int groups;
    float eps;
} tn_dwdouble_args;

/** dw and db (rows 0: not wanted) from x and dy, and dx where it has rows. */
typedef struct tn_dwconv_grad_args {
    tn_conv s;
    tn_tensor x, dy, w, dx, dw, db;
    tn_dtype act;
} tn_dwconv_grad_args;

typedef struct tn_unpack_args {
    tn_qtensor q;
    tn_tensor out;
    tn_qoperand to;                       /* zero: as it lies */
    int n_more;                           /* matrices of the same shape that come under the first in out */
    tn_qtensor more[TN_UNPACK_PARTS - 1]; /* (q, k and v of attention) */
} tn_unpack_args;

typedef struct tn_qgemv_args {
    tn_tensor x;
    tn_qtensor q;
    tn_buffer *bias; /* may be NULL */
    tn_tensor y;
} tn_qgemv_args;
#endif
