/** The sums of a norm's backward, in parts that are added in their order (norm.c): for the norms on any device. */
#ifndef TN_NORM_PARTS_H
#define TN_NORM_PARTS_H
#include "ops.h"

/** What the first step of the backward leaves in the workspace: sums of dy and of dy xhat [units * chunks, C], and on CPU devices
 * the channels' statistics [2 * units, C]; on GPUs, of a few outputs, drows of each chunk [units * chunks, O * (C + 1)]. */
typedef struct tn_norm_parts {
    tn_tensor p0, p1, lines, rows;
    int chunks; /* of a unit */
} tn_norm_parts;
/** dgamma and dbeta += (mem NULL: not wanted), and sums [units * groups, 2] of the workspace: means over a group of gamma dy and of
 * gamma dy xhat. */
int tn_norm_parts_add(tn_ctx *c, const tn_norm2d *n, const tn_norm_parts *p, tn_tensor *dgamma, tn_tensor *dbeta, tn_tensor *sums,
                      tn_error *err);
/** out [1, C] += the lines of p. */
int tn_parts_sum(tn_ctx *c, const tn_tensor *p, tn_tensor *out, tn_error *err);
#endif
