/** What the rows of the product share beside gemm.h: the end of a product on NVIDIA's matrix units (cl/nvidia/epilogue.h). */
#ifndef TN_GEMM_ROWS_H
#define TN_GEMM_ROWS_H
#include "gemm.h"

enum { TN_PAIR_STEP = 16 }; /* depth of one step of the second pair on the matrix unit */

/** One product of 16-bit matrices, all of one type, with an end that epilogue.h has? */
bool tn_gemm_ends_on_matrix_unit(const tn_gemm_args *g);
/** Is there no second pair, or one that tiles `tile` columns wide multiply beside the first? */
bool tn_gemm_pair_fits(const tn_gemm_args *g, int tile);
/** The matrix that the epilogue reads or keeps beside C; rows 0: none. */
tn_tensor tn_gemm_extra(const tn_gemm_args *g);
/** The options and arguments of epilogue.h's P_END. */
void tn_gemm_put_matrix_unit(tn_gemm_build *b, const tn_gemm_args *g);

bool tn_gemm_row_can(const tn_ctx *c, const void *args);
int tn_gemm_row(tn_ctx *c, const void *args, tn_error *err);
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
