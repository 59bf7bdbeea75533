/** Shared by the kernels that read quantised matrices. */
#ifndef TN_UNPACK_H
#define TN_UNPACK_H
#include "ops.h"

/** packed, scales, nested, zeros, tables, offset, block: what every kernel that reads a quantised matrix begins with. Returns
 * how many there are (7). */
int tn_qargs(tn_arg *a, const tn_qtensor *q);
/** The largest power of two up to 64 that divides v. */
int tn_qrun(int v);
/** "nf4 nested 64": format, whether its scales are quantised too, block. */
void tn_qkind(char *out, size_t n, const tn_qshape *s);
/** Random codes and scales of a shape. */
int tn_qtensor_random(tn_qtensor *q, tn_ctx *c, const tn_qshape *s, tn_error *err);

static inline size_t tn_qcount(const tn_qtensor *q)
{
    return (size_t)q->s.rows * (size_t)q->s.cols;
}
#endif
