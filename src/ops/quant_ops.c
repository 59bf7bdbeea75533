#include "ops.h"

#include <stdio.h>

int tn_dequant4(tn_ctx *c, const tn_qtensor *q, tn_tensor *out, tn_error *err)
{
    int shift = 0;
    while ((1 << shift) < q->block) shift++;
    if (1 << shift != q->block || q->block < 16)
        return tn_fail(err, TN_ERR_ARGUMENT, "4-bit unpacking: block size %d is not a power of two from 16", q->block);
    char opts[64];
    snprintf(opts, sizeof opts, "-DNESTED=%d -DOUT=%d -DLOW_FIRST=%d", q->is_nested, (int)out->dtype, q->low_first);
    size_t n = (size_t)q->rows * (size_t)q->cols, global = TN_CEIL_DIV(n, (size_t)16), local = 64;
    tn_arg args[] = {TN_BUF(q->packed),
                     TN_BUF(q->is_nested ? q->packed : q->absmax),
                     TN_BUF(q->is_nested ? q->absmax_q : q->packed),
                     TN_BUF(q->is_nested ? q->nested : q->packed),
                     TN_BUF(q->is_nested ? q->map : q->packed),
                     TN_BUF(q->code),
                     TN_FLT(q->offset),
                     TN_INT(shift),
                     TN_BUF(out->mem),
                     TN_UINT(out->off),
                     TN_UINT(n)};
    return tn_op_run(c, "portable/quant.cl", "dequant4", opts, args, TN_COUNT(args), 1, &global, &local, err);
}
