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

int tn_cpu_scratch(tn_ctx *c, size_t floats, tn_arg *args, tn_error *err)
{
    const int slots = (int)c->dev->info.compute_units;
    const size_t each = TN_ROUND_UP(floats, (size_t)VECTOR) + VECTOR;
    tn_tensor room, busy;
    if (each > INT_MAX) return tn_fail(err, TN_ERR_ARGUMENT, "scratch of %zu floats a thread is more than a kernel counts", each);
    TN_TRY(tn_ws_take(c, &room, TN_F32, slots, (int)each, err));
    TN_TRY(tn_ws_take(c, &busy, TN_F32, slots, FLAG, err));
    TN_TRY(tn_op_fill(c, busy.mem, 0, tn_tensor_bytes(&busy), 0, err));
    args[0] = TN_BUF(room.mem);
    args[1] = TN_UINT(each);
    args[2] = TN_BUF(busy.mem);
    args[3] = TN_INT(slots);
    return 0;
}
