/** An adapter's dt = scale dy B and dB += scale dy^T t at once: dy, much the largest, is read once. */
#ifndef TN_THIN_BOTH_H
#define TN_THIN_BOTH_H
#include "gemm.h"

/** dt: C = alpha A B. db: C += alpha A^T B with the same A. Both batches of the same parts. Filled in as by tn_gemm_check. */
typedef struct tn_thin_both {
    tn_gemm_args dt, db;
} tn_thin_both;
extern const tn_variant_op tn_thin_both_op;

/** dt: A [rows, width] (of batch parts side by side), B [width, r], C [rows, r], 16 bits or float32. db: the same A, B = t [rows,
 * r], C [width, r] float32, added to. TN_ERR_ARGUMENT where these do not belong together. */
int tn_thin_both_run(tn_ctx *c, const tn_gemm_args *dt, const tn_gemm_args *db, tn_error *err);
#endif
