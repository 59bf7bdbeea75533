/** GroupNorm and BatchNorm on CPU devices, for channels in whole vectors: the steps of norm.c's operations. */
#ifndef TN_NORM_CPU_H
#define TN_NORM_CPU_H
#include "ops.h"
#include "spatial.h"

bool tn_norm_cpu_can(const tn_ctx *c, const tn_tensor *x);
/** tn_norm2d_stats and tn_norm2d_apply. */
int tn_norm_cpu_stats(tn_ctx *c, const tn_tensor *x, int unit_rows, int groups, float eps, tn_tensor *stats, tn_error *err);
int tn_norm_cpu_apply(tn_ctx *c, const tn_norm2d *n, const tn_norm_end *end, tn_tensor *y, tn_error *err);
/** What the first step of the backward leaves in the workspace: sums of dy and of dy xhat [units * chunks, C], and the channels'
 * statistics [2 * units, C]. */
typedef struct tn_norm_parts {
    tn_tensor p0, p1, lines;
    int chunks; /* of a unit */
} tn_norm_parts;
int tn_norm_cpu_parts(tn_ctx *c, const tn_norm2d *n, const tn_tensor *dy, tn_norm_parts *out, tn_error *err);
/** The last one. sums [units * groups, 2]: means over a group of gamma dy and of gamma dy xhat. */
int tn_norm_cpu_backward(tn_ctx *c, const tn_norm2d *n, const tn_norm_parts *p, const tn_tensor *sums, const tn_tensor *dy,
                         tn_tensor *dx, tn_error *err);
#endif
