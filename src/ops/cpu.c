#include "cpu.h"

#include <limits.h>

enum { VECTOR = 16, FLAG = 16 /* a flag has a cache line of its own */ };

bool tn_cpu_wide(const tn_dev *d)
{
    return (d->caps & TN_CAP_AVX512) != 0;
}

bool tn_cpu_kernels(const tn_dev *d)
{
    return d->info.type == TN_DEVICE_CPU && (d->caps & TN_CAP_VECTORS) && !(d->quirk_flags & TN_QUIRK_UNTRIED);
}

/* Kernels leave it as they find it. */
static int busy_ready(tn_ctx *c, size_t flags, tn_error *err)
{
    const size_t bytes = flags * FLAG * sizeof(int32_t);
    if (c->dry || c->busy) return 0;
    TN_TRY(tn_buffer_new(&c->busy, c->dev, bytes, "which scratch is taken", err));
    return tn_buffer_fill(c->busy, 0, bytes, 0, err);
}

int tn_cpu_scratch(tn_ctx *c, size_t floats, tn_arg *args, tn_error *err)
{
    const int slots = (int)c->dev->info.compute_units;
    const size_t each = TN_ROUND_UP(floats, (size_t)VECTOR) + VECTOR;
    tn_tensor room;
    if (each > INT_MAX) return tn_fail(err, TN_ERR_ARGUMENT, "scratch of %zu floats a thread is more than a kernel counts", each);
    TN_TRY(tn_ws_take(c, &room, TN_F32, slots, (int)each, err));
    TN_TRY(busy_ready(c, (size_t)slots, err));
    args[0] = TN_BUF(room.mem);
    args[1] = TN_UINT(each);
    args[2] = TN_BUF(c->busy);
    args[3] = TN_INT(slots);
    return 0;
}
