/** Plain traffic by kernels on all compute units: what others are held against. */
#ifndef TN_TRAFFIC_H
#define TN_TRAFFIC_H
#include "ops.h"

/** `bytes` (a multiple of 16) from the beginning of one buffer to that of another. */
int tn_copy_by_kernel(tn_ctx *c, tn_buffer *from, tn_buffer *to, size_t bytes, tn_error *err);
/** Reads `bytes` (a multiple of 64) of float32 and leaves sums of them in `sums`, tn_read_sums(c, bytes) of them, whose sum is that
 * of all. */
int tn_read_by_kernel(tn_ctx *c, tn_buffer *from, tn_buffer *sums, size_t bytes, tn_error *err);
size_t tn_read_sums(const tn_ctx *c, size_t bytes);
/** Writes value to `bytes` (a multiple of 64). */
int tn_write_by_kernel(tn_ctx *c, tn_buffer *to, float value, size_t bytes, tn_error *err);
#endif
