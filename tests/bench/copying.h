/** What a device copies, for benchmarks to hold kernels against: by the driver, which PoCL gives one core, and by a kernel. */
#ifndef TN_TEST_COPYING_H
#define TN_TEST_COPYING_H
#include "traffic.h"

typedef struct copying {
    tn_ctx *c;
    tn_buffer *from, *to;
    size_t bytes; /* of each; a multiple of 16 */
} copying;

static inline void copying_free(copying *k)
{
    tn_buffer_free(k->to);
    tn_buffer_free(k->from);
    *k = (copying){0};
}

/** Two buffers of about so many bytes. */
static inline int copying_new(copying *k, tn_ctx *c, size_t bytes, tn_error *err)
{
    *k = (copying){.c = c, .bytes = bytes / 16 * 16};
    TN_TRY(tn_buffer_new(&k->from, c->dev, k->bytes, "bench", err));
    TN_TRY(tn_buffer_new(&k->to, c->dev, k->bytes, "bench", err));
    return tn_buffer_fill(k->from, 0, k->bytes, 0x3f812345u, err);
}

/** These two do not wait. */
static inline int copying_by_driver(const copying *k, tn_error *err)
{
    return tn_buffer_copy(k->from, 0, k->to, 0, k->bytes, err);
}

static inline int copying_by_kernel(const copying *k, tn_error *err)
{
    return tn_copy_by_kernel(k->c, k->from, k->to, k->bytes, err);
}
#endif
