#include "attention_rows.h"

int tn_attention_launch(tn_ctx *c, const tn_attention_args *a, const tn_attention_kernels *k, const char *entry, int tile,
                        const tn_arg *args, int n_args, tn_error *err)
{
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DHD=%d%s", (int)a->act, a->hd, k->options));
    const size_t items = (size_t)k->items, groups = (size_t)TN_CEIL_DIV(a->n, tile);
    const tn_range range = {2, {groups * items, (size_t)a->batch * (size_t)a->heads}, {items, 1}};
    return tn_op_run(c, k->file, entry, o.s, args, n_args, &range, err);
}

int tn_attention_launch_forward(tn_ctx *c, const tn_attention_args *a, const tn_attention_kernels *k, tn_error *err)
{
    const tn_arg args[] = {TN_BUF(a->qkv.mem), TN_BUF(a->o.mem), TN_BUF(a->lse.mem),
                           TN_INT(a->n),       TN_INT(a->heads), TN_FLT(a->scale)};
    return tn_attention_launch(c, a, k, "attn_forward", k->forward, args, TN_COUNT(args), err);
}
