/**
 * Which variants a context ran, so that a run can be told from one that took other kernels:
 * {"gemm": {"bf16,f32,f32 nt 581x384x384": "native 6 2"}, ...}; the name of the row, then its tunables.
 */
#ifndef TN_USED_H
#define TN_USED_H
#include "variant.h"
#include <jansson.h>

int tn_used_note(tn_ctx *c, const tn_variant_op *op, const tn_choice *k, const void *args, tn_error *err);
/** How many shapes of `now` ran by another variant in `before`; shapes that only one of them has do not count. `first`: what
 * the first was and is, as text. Either may be NULL: no difference. */
int tn_used_differences(const json_t *before, const json_t *now, char *first, size_t n);
#endif
