/** What the rows of the product share beside gemm.h: the end of a product on a GPU's matrix units (cl/shared/matrix_unit.h). */
#ifndef TN_GEMM_ROWS_H
#define TN_GEMM_ROWS_H
#include "gemm.h"

/* NOLINTBEGIN(bugprone-macro-parentheses): an initialiser takes no parentheses */
/** An operation of products, but for its name and its rows. */
#define TN_GEMM_OPERATION(op, table)                                                                                               \
    {                                                                                                                              \
        .name = op, .rows = table, .n = TN_COUNT(table), .key = tn_gemm_key, .kind = tn_gemm_kind, .make = tn_gemm_make,           \
        .release = tn_gemm_release, .args_size = sizeof(tn_gemm_args), .work = tn_gemm_work, .shrink = tn_gemm_shrink              \
    }
/* NOLINTEND(bugprone-macro-parentheses) */

enum { TN_PAIR_STEP = 16 }; /* depth of one step of the second pair on the matrix unit */

/** Is a matrix stored as `act`, every row beginning at a multiple of 16 bytes? */
bool tn_gemm_fits_unit(const tn_tensor *t, tn_dtype act);
/** One product of 16-bit matrices, all of one type, with an end that matrix_unit.h has? */
bool tn_gemm_ends_on_matrix_unit(const tn_gemm_args *g);
/** Is there no second pair, or one that tiles `tile` columns wide multiply beside the first? */
bool tn_gemm_pair_fits(const tn_gemm_args *g, int tile);
/** The matrix that the epilogue reads or keeps beside C; rows 0: none. */
tn_tensor tn_gemm_extra(const tn_gemm_args *g);
/** Unpacks a product's quantised right operand to where a row wants it; P: of A's type, as many elements as that takes. */
int tn_gemm_unpack(tn_ctx *c, const tn_gemm_args *g, tn_qoperand to, const tn_tensor *P, tn_error *err);
/** What kernels of NVIDIA's take in front of those: P_ROW_SUMS. */
void tn_gemm_put_norm(tn_gemm_build *b, const tn_normed *n);
/** The options and arguments of matrix_unit.h's P_END. */
void tn_gemm_put_matrix_unit(tn_gemm_build *b, const tn_gemm_args *g);

/* gemm_native.c: what a kernel of registers takes, MR rows by NRV vectors of 16 columns, and B [N, K] in panels of so many, of
 * float32 or (dot) of pairs of bfloat16, as B is then; K is even. */
void tn_gemm_block(const tn_ctx *c, int N, int *mr, int *nrv);
int tn_gemm_panels(tn_ctx *c, tn_tensor *P, const tn_tensor *B, int nrv, bool dot, tn_error *err);
/** A CPU's tile: rows of so many bfloat16, and its words of 4 bytes. */
enum { TN_TILE_ROWS = 16, TN_TILE_DEPTH = 32, TN_TILE_WORDS = 256 };
/* gemm_amx.c: B [N, K] in tiles. */
int tn_gemm_tiles(tn_ctx *c, tn_tensor *P, const tn_tensor *B, tn_error *err);

/* gemm_amx.c, gemm_amx_grad.c */
bool tn_gemm_amx_can(const tn_ctx *c, const void *args);
int tn_gemm_amx(tn_ctx *c, const void *args, tn_error *err);
/** Products of float32, which tn_gemm_amx multiplies in parts. */
bool tn_gemm_amx_parts_can(const tn_ctx *c, const void *args);
/** What the tiles' sums are multiplied by: dropout of an operand drops out alone, its scale is here. */
float tn_gemm_amx_alpha(const tn_gemm_args *g);
/** A product with A transposed. */
bool tn_gemm_amx_grad_can(const tn_gemm_args *g);
int tn_gemm_amx_grad(tn_ctx *c, const tn_gemm_args *g, tn_error *err);

/* gemm_dpas.c, gemm_amd.c */
bool tn_gemm_dpas_can(const tn_ctx *c, const void *args);
int tn_gemm_dpas(tn_ctx *c, const void *args, tn_error *err);
bool tn_gemm_amd_can(const tn_ctx *c, const void *args);
int tn_gemm_amd(tn_ctx *c, const void *args, tn_error *err);

bool tn_gemm_outer_can(const tn_ctx *c, const void *args);
int tn_gemm_outer(tn_ctx *c, const void *args, tn_error *err);
bool tn_gemm_row_can(const tn_ctx *c, const void *args);
int tn_gemm_row(tn_ctx *c, const void *args, tn_error *err);
bool tn_gemm_small_can(const tn_ctx *c, const void *args);
int tn_gemm_small(tn_ctx *c, const void *args, tn_error *err);
bool tn_gemm_thin_can(const tn_ctx *c, const void *args);
int tn_gemm_thin(tn_ctx *c, const void *args, tn_error *err);
bool tn_gemm_thin_grad_can(const tn_ctx *c, const void *args);
int tn_gemm_thin_grad(tn_ctx *c, const void *args, tn_error *err);
/* gemm_native.c */
bool tn_gemm_dot_can(const tn_ctx *c, const void *args);
int tn_gemm_dot(tn_ctx *c, const void *args, tn_error *err);
bool tn_gemm_mma_can(const tn_ctx *c, const void *args);
int tn_gemm_mma(tn_ctx *c, const void *args, tn_error *err);
bool tn_gemm_wgmma_can(const tn_ctx *c, const void *args);
int tn_gemm_wgmma(tn_ctx *c, const void *args, tn_error *err);
#endif
