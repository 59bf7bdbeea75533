/** Matrix products with what is done to them before they are stored, and the rows that compute them. */
#ifndef TN_GEMM_H
#define TN_GEMM_H
#include "packing.h"
#include "variant.h"

/** Rotary embedding of a product that is q | k | v (tn_rope): heads 0: none. */
typedef struct tn_turn {
    tn_tensor table; /* [tokens - skip, width / 2] of (cos, sin) */
    int heads, skip, batch;
} tn_turn;

/** A layer norm without vectors of its own in front of a product, which is made of x itself: rows of A count as
 * (x - mean) / sqrt(variance + eps). No sums: none. */
typedef struct tn_normed {
    tn_tensor sums;     /* [K / TN_SUM_COLUMNS, 2 * M] float32, of A's rows (tn_row_sums) */
    tn_buffer *columns; /* [N] float32: the sums of op(B)'s columns */
    float eps;
} tn_normed;

/**
 * What is done to a product before it is stored, in this order: s = alpha op(A) op(B) + alpha2 A2 B2^T + bias, its q and k
 * turned, u = s (kept in `pre` where that is wanted, or act'(u) is), s = act(u) or s * act'(slope) or s * slope, s * scale,
 * + residual, + beta C.
 * Zero-initialised: nothing. pre, slope, residual and C may be parts of a matrix, and of any storage type; slope and residual may
 * be C itself.
 */
typedef struct tn_epilogue {
    tn_buffer *bias; /* [N] float32 */
    bool has_act;
    tn_fn act;
    tn_tensor pre;      /* [M, N]: the sum before the activation is written here; rows 0: not kept */
    bool pre_slope;     /* the activation's slope there is, instead */
    tn_tensor slope;    /* [M, N]: multiplies by act'(slope) instead of applying act (the backward of act); rows 0: no */
    bool slope_ready;   /* by slope itself, as pre_slope left it */
    tn_buffer *scale;   /* [N] float32 */
    tn_tensor residual; /* [M, N]; rows 0: none */
    /* the second pair: adapters. A2 [M, parts * r] and B2 [N, r]: columns of C in part p (N / parts wide) take
     * A2[:, p*r .. p*r + r). With tb2 false B2 is [parts * r, N] and every column takes all of A2 (a gradient's dt A). */
    tn_tensor A2, B2;
    bool tb2;
    int parts; /* 0: no second pair */
    float alpha2;
    tn_mask mask;   /* of the second pair's product (the adapters' part of dx), over [M, N] */
    tn_turn turn;   /* C is a whole tensor then, and nothing else but a bias and a second pair is asked for */
    tn_normed norm; /* A is a whole tensor [M, K] then, and there is no second pair and no dropout */
    tn_tensor sums; /* [N / TN_SUM_COLUMNS, 2 * M] float32: what tn_row_sums would make of C, a whole tensor; rows 0: not wanted */
} tn_epilogue;

/** A product, or `batch` of them whose matrices lie a_step, b_step and c_step elements apart (A, B and C are the first ones;
 * several have no epilogue and no mask). */
typedef struct tn_gemm_args {
    bool ta, tb;
    float alpha, beta;
    tn_tensor A, B, C;
    int M, N, K;                                                               /* filled in by tn_gemm_run, and so is: */
    int (*any)(struct tn_ctx *c, const struct tn_gemm_args *g, tn_error *err); /* itself, for the products that a tail needs */
    tn_mask mask_a, mask_b; /* on A's and B's elements as they lie, [A.rows, A.cols] and [B.rows, B.cols] */
    /* the only mask's draws (tn_dropout_bits), from 16-bit word bits_at on, for kernels that read them; drawn: 0, or a number of
     * the buffer's own, for in a dry pass it is not there */
    int drawn;
    const tn_buffer *bits;
    size_t bits_at;
    tn_epilogue e;
    int batch; /* 0 and 1: one */
    size_t a_step, b_step, c_step;
    /* n_q not 0: B is not there yet, it is so many quantised matrices under each other. Only rows that say so are given that. */
    tn_qtensor q[TN_UNPACK_PARTS];
    int n_q;
    tn_packed *keep; /* where its row keeps what it packs of B, which does not change; NULL: it packs B in every use */
} tn_gemm_args;

/** The rows. Each runs any epilogue: what its kernel cannot do at once it leaves to tn_gemm_tail, so that a row which only
 * multiplies is measured with the launches that it needs. */
extern const tn_variant_op tn_gemm_op;

/** Those that take a norm in, or leave sums behind: tn_gemm_run hands them over. Its rows are those that do it at once, and one
 * that does it apart over tn_gemm_op's. */
extern const tn_variant_op tn_gemm_normed_op;
bool tn_gemm_is_normed(const tn_gemm_args *g);

/** B of g, whose A is set, becomes 1 to TN_UNPACK_PARTS quantised matrices with as many columns, under each other, and is unpacked
 * as A is stored when the product runs: by its row, or into the workspace. */
void tn_gemm_quantised(tn_gemm_args *g, const tn_qtensor *const *q, int n);
/** Any product with any epilogue. TN_ERR_ARGUMENT where shapes, types or strides do not fit. */
int tn_gemm_run(tn_ctx *c, const tn_gemm_args *g, tn_error *err);
/** The first half of tn_gemm_run: *out is g with what that fills in. */
int tn_gemm_check(tn_gemm_args *out, const tn_gemm_args *g, tn_error *err);
/* gemm_tail.c */
bool tn_gemm_has_epilogue(const tn_epilogue *e);
/** Is an operand, or the second pair's product, dropped out? */
bool tn_gemm_masked(const tn_gemm_args *g);
/** One product C = alpha op(A) op(B) + beta C with nothing else? */
bool tn_gemm_is_plain(const tn_gemm_args *g);

int tn_gemm_portable(tn_ctx *c, const void *args, tn_error *err);
int tn_gemm_native(tn_ctx *c, const void *args, tn_error *err);
bool tn_gemm_clblast_can(const tn_ctx *c, const void *args);
int tn_gemm_clblast(tn_ctx *c, const void *args, tn_error *err);

/** Runs g through `run`, which can multiply (alpha, beta) at least: masks by copies, a batch one by one, the rest by
 * gemm_sum over a float32 product in the workspace. */
int tn_gemm_tail(tn_ctx *c, const tn_gemm_args *g, int (*run)(tn_ctx *, const void *, tn_error *), tn_error *err);
/** Runs g through `run` without its turn, which follows as a pass of its own. */
int tn_gemm_turned(tn_ctx *c, const tn_gemm_args *g, int (*run)(tn_ctx *, const void *, tn_error *), tn_error *err);
/** Last step of a product summed in `splits` parts P [batch][splits][M][N]: alpha times their sum, + pair [M, N] (NULL: none)
 * with e.mask, then the rest of the epilogue. */
int tn_gemm_sum(tn_ctx *c, const tn_tensor *P, int splits, const tn_gemm_args *g, const tn_tensor *pair, tn_error *err);

/** gemm_build.c: the options and arguments of a launch, as cl/shared/gemm.h orders them. */
typedef struct tn_gemm_build {
    tn_arg args[64];
    int n;
    char options[232];
    bool too_long;
} tn_gemm_build;
void tn_gemm_option(tn_gemm_build *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void tn_gemm_arg(tn_gemm_build *b, tn_arg a);
void tn_gemm_put_step(tn_gemm_build *b, const tn_ctx *c);
/** `name`: MASK_A and so on; width: of the masked tensor's rows, or 0 where the kernel knows it. */
void tn_gemm_put_mask(tn_gemm_build *b, const char *name, tn_mask m, int width);
/** For a CPU's kernel: do rows of its masks begin with whole words of draws (ALIGNED of cl/shared/common.h)? widths: or'ed. */
void tn_gemm_put_aligned(tn_gemm_build *b, int widths);
/** For it: `cols` of a row that the mask drops of, else 0. */
int tn_gemm_mask_cols(tn_mask m, int cols);
/** Behind the mask, for a kernel that reads bits. */
void tn_gemm_put_bits(tn_gemm_build *b, const tn_gemm_args *g);
/** The table, tokens of a sample, those that are not turned, and the columns of q and k. */
void tn_gemm_put_turn(tn_gemm_build *b, const tn_turn *t);
/** bias, pre, activation or slope, scale and residual. */
void tn_gemm_put_epilogue(tn_gemm_build *b, const tn_gemm_args *g);
int tn_gemm_launch(tn_ctx *c, const tn_gemm_build *b, const char *file, const char *entry, const size_t *global,
                   const size_t *local, tn_error *err);
/** Do rows of a view, and of those `step` elements on, begin at 8 elements' multiples (16 bytes of half storage)? */
bool tn_gemm_pieces(const tn_tensor *t, size_t step);
/** Columns of C that share columns of A2, and columns of A2 that one column of C takes. */
int tn_gemm_part(const tn_epilogue *e, int N);
int tn_gemm_rank(const tn_epilogue *e);

enum { TN_NARROW = 32, TN_LONG_SUM = 4096 }; /* few columns, at most; many products to a sum, at least: kinds of their own */
/** gemm_key.c: the registry's keys and copies. */
void tn_gemm_key(char *out, size_t n, const void *args);
void tn_gemm_kind(char *out, size_t n, const void *args);
int tn_gemm_make(void *copy, tn_ctx *c, const void *args, tn_error *err);
/** Bits of the only mask, of no meaning: a buffer for the caller. */
int tn_gemm_make_bits(tn_gemm_args *g, tn_ctx *c, tn_error *err);
void tn_gemm_release(void *copy, tn_ctx *c);
double tn_gemm_work(const void *args);
void tn_gemm_shrink(void *args, double most);
#endif
