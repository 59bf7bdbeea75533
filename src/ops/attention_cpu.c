/* Attention on CPU devices (cl/cpu/attention.cl). */
#include "attention_rows.h"
#include "cpu.h"

/* As in the kernel file. */
enum { BLOCK = 48, KEYS = 48, SPAN = 13 * KEYS, TURNED = 32 /* a head's halves are whole vectors */ };

/* Heads a thread should have at least, so that none waits long for the last one. */
enum { ITEMS_A_THREAD = 4 };

bool tn_attention_cpu_can(const tn_ctx *c, const void *args)
{
    (void)c;
    return ((const tn_attention_args *)args)->hd % 16 == 0;
}

static size_t forward_floats(const tn_attention_args *a)
{
    const size_t hd = (size_t)a->hd, n = (size_t)a->n;
    return TN_ROUND_UP(n, (size_t)KEYS) * hd + n * hd + BLOCK * (SPAN + 2 * hd + 16);
}

static size_t backward_floats(const tn_attention_args *a)
{
    const size_t hd = (size_t)a->hd, rows = TN_ROUND_UP((size_t)a->n, (size_t)BLOCK);
    return rows * (3 * hd + 2) + 5 * KEYS * hd + (size_t)2 * BLOCK * KEYS;
}

/* Parts of a head's queries, for few heads on many threads. */
static int splits_of(const tn_ctx *c, const tn_attention_args *a)
{
    const int want = TN_CEIL_DIV(ITEMS_A_THREAD * (int)c->dev->info.compute_units, a->batch * a->heads);
    return TN_MAX(1, TN_MIN(want, TN_CEIL_DIV(a->n, 4 * BLOCK)));
}

static int launch(tn_ctx *c, const tn_attention_args *a, const char *entry, int splits, const char *turn, const tn_arg *args,
                  int n_args, tn_error *err)
{
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DHD=%d -DWIDE=%d%s", (int)a->act, a->hd, tn_cpu_wide(c->dev), turn));
    const tn_range range = {2, {(size_t)splits, (size_t)a->batch * (size_t)a->heads}, {1, 1}};
    return tn_op_run(c, "cpu/attention.cl", entry, o.s, args, n_args, &range, err);
}

int tn_attention_forward_cpu(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_attention_args *a = args;
    const int splits = splits_of(c, a);
    tn_arg all[7 + TN_CPU_SCRATCH_ARGS] = {TN_BUF(a->qkv.mem), TN_BUF(a->o.mem), TN_BUF(a->lse.mem), TN_INT(a->n),
                                           TN_INT(a->heads),   TN_FLT(a->scale), TN_INT(splits)};
    TN_TRY(tn_cpu_scratch(c, forward_floats(a), all + 7, err));
    return launch(c, a, "attn_forward", splits, "", all, TN_COUNT(all), err);
}

int tn_attention_backward_cpu(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_attention_args *a = args;
    const bool turns = a->table.rows && a->hd % TURNED == 0;
    tn_arg all[8 + TN_CPU_SCRATCH_ARGS + 2] = {TN_BUF(a->qkv.mem),  TN_BUF(a->o.mem), TN_BUF(a->d_o.mem), TN_BUF(a->lse.mem),
                                               TN_BUF(a->dqkv.mem), TN_INT(a->n),     TN_INT(a->heads),   TN_FLT(a->scale)};
    int n = 8;
    TN_TRY(tn_cpu_scratch(c, backward_floats(a), all + n, err));
    n += TN_CPU_SCRATCH_ARGS;
    if (turns) all[n++] = TN_BUF(a->table.mem), all[n++] = TN_INT(a->skip);
    TN_TRY(launch(c, a, "attn_backward", 1, turns ? " -DTURN" : "", all, n, err));
    tn_tensor dqkv = a->dqkv;
    return a->table.rows && !turns ? tn_rope(c, &dqkv, &a->table, a->batch, a->heads, a->skip, -1, err) : 0;
}
