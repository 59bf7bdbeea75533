#include "attention_rows.h"
#include "cpu.h"

/* Heads, or parts of them, that a thread should have at least, so that none waits long for the last one. */
enum { ITEMS_A_THREAD = 4 };

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

static int launch_items(tn_ctx *c, const tn_attention_args *a, const tn_attention_items *k, const char *entry, int splits,
                        const tn_arg *args, int n_args, tn_error *err)
{
    const tn_range range = {2, {(size_t)splits, (size_t)a->batch * (size_t)a->heads}, {1, 1}};
    return tn_op_run(c, k->file, entry, k->options, args, n_args, &range, err);
}

/* Each part packs its head's keys and values anew: heads that divide among the threads stay whole. */
static int parts_of_head(const tn_ctx *c, const tn_attention_args *a, int least)
{
    const int units = (int)c->dev->info.compute_units, heads = a->batch * a->heads;
    if (heads % units == 0 && heads > units) return 1;
    return TN_MAX(1, TN_MIN(TN_CEIL_DIV(ITEMS_A_THREAD * units, heads), TN_CEIL_DIV(a->n, least)));
}

int tn_attention_items_forward(tn_ctx *c, const tn_attention_args *a, const tn_attention_items *k, tn_error *err)
{
    const int splits = parts_of_head(c, a, k->least);
    tn_arg args[7 + TN_CPU_SCRATCH_ARGS] = {TN_BUF(a->qkv.mem), TN_BUF(a->o.mem), TN_BUF(a->lse.mem), TN_INT(a->n),
                                            TN_INT(a->heads),   TN_FLT(a->scale), TN_INT(splits)};
    TN_TRY(tn_cpu_scratch(c, k->scratch, args + 7, err));
    return launch_items(c, a, k, "attn_forward", splits, args, TN_COUNT(args), err);
}

int tn_attention_items_backward(tn_ctx *c, const tn_attention_args *a, const tn_attention_items *k, tn_error *err)
{
    tn_arg args[9 + TN_CPU_SCRATCH_ARGS + 2] = {TN_BUF(a->qkv.mem),  TN_BUF(a->o.mem), TN_BUF(a->d_o.mem), TN_BUF(a->lse.mem),
                                                TN_BUF(a->dqkv.mem), TN_INT(a->n),     TN_INT(a->heads),   TN_FLT(a->scale)};
    int n = 8;
    if (k->keys) args[n++] = TN_INT(k->keys);
    TN_TRY(tn_cpu_scratch(c, k->scratch, args + n, err));
    n += TN_CPU_SCRATCH_ARGS;
    if (k->turns) args[n++] = TN_BUF(a->table.mem), args[n++] = TN_INT(a->skip);
    return launch_items(c, a, k, "attn_backward", 1, args, n, err);
}
