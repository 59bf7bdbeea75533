/* Attention on CPU devices (cl/cpu/attention.cl): "cpu" multiplies float32, "dot" pairs of bfloat16. */
#include "attention_rows.h"
#include "cpu.h"

/* As in the kernel file. */
enum { BLOCK = 48, KEYS = 48, SPAN = 13 * KEYS, TURNED = 32 /* a head's halves are whole vectors */ };

/* Heads a thread should have at least, so that none waits long for the last one. */
enum { ITEMS_A_THREAD = 4 };

/* Elements of a word, in which the kernels multiply. */
typedef enum { ONE = 1, PAIR = 2 } word;

bool tn_attention_cpu_can(const tn_ctx *c, const void *args)
{
    (void)c;
    return ((const tn_attention_args *)args)->hd % 16 == 0;
}

bool tn_attention_dot_can(const tn_ctx *c, const void *args)
{
    const tn_attention_args *a = args;
    (void)c;
    return a->act == TN_BF16 && a->hd % 32 == 0;
}

/* The sums of the kernel file's carve functions. */
static size_t forward_floats(const tn_attention_args *a, word per)
{
    const size_t hd = (size_t)a->hd, n = (size_t)a->n, words = hd / per;
    return TN_ROUND_UP(n, (size_t)KEYS) * words + TN_CEIL_DIV(n, (size_t)per) * hd + BLOCK * (words + SPAN + hd + 16);
}

static size_t backward_floats(const tn_attention_args *a, word per)
{
    const size_t hd = (size_t)a->hd, rows = TN_ROUND_UP((size_t)a->n, (size_t)BLOCK), words = hd / per;
    const size_t weights = per == PAIR ? 3 * BLOCK * KEYS / 2 : 2 * BLOCK * KEYS;
    return rows * (3 * hd + 2) + KEYS * (3 * words + 2 * hd) + weights;
}

/* Parts of a head's queries, for few heads on many threads. */
static int splits_of(const tn_ctx *c, const tn_attention_args *a)
{
    const int want = TN_CEIL_DIV(ITEMS_A_THREAD * (int)c->dev->info.compute_units, a->batch * a->heads);
    return TN_MAX(1, TN_MIN(want, TN_CEIL_DIV(a->n, 4 * BLOCK)));
}

static const char *options_of(word per, bool turns)
{
    if (per == PAIR) return turns ? " -DDOT -DTURN" : " -DDOT";
    return turns ? " -DTURN" : "";
}

static int launch(tn_ctx *c, const tn_attention_args *a, const char *entry, const char *options, int splits, const tn_arg *args,
                  int n_args, tn_error *err)
{
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DHD=%d -DWIDE=%d%s", (int)a->act, a->hd, tn_cpu_wide(c->dev), options));
    const tn_range range = {2, {(size_t)splits, (size_t)a->batch * (size_t)a->heads}, {1, 1}};
    return tn_op_run(c, "cpu/attention.cl", entry, o.s, args, n_args, &range, err);
}

static int forward(tn_ctx *c, const tn_attention_args *a, word per, tn_error *err)
{
    const int splits = splits_of(c, a);
    tn_arg all[7 + TN_CPU_SCRATCH_ARGS] = {TN_BUF(a->qkv.mem), TN_BUF(a->o.mem), TN_BUF(a->lse.mem), TN_INT(a->n),
                                           TN_INT(a->heads),   TN_FLT(a->scale), TN_INT(splits)};
    TN_TRY(tn_cpu_scratch(c, forward_floats(a, per), all + 7, err));
    return launch(c, a, "attn_forward", options_of(per, false), splits, all, TN_COUNT(all), err);
}

static int backward(tn_ctx *c, const tn_attention_args *a, word per, tn_error *err)
{
    const bool turns = a->table.rows && a->hd % TURNED == 0;
    tn_arg all[8 + TN_CPU_SCRATCH_ARGS + 2] = {TN_BUF(a->qkv.mem),  TN_BUF(a->o.mem), TN_BUF(a->d_o.mem), TN_BUF(a->lse.mem),
                                               TN_BUF(a->dqkv.mem), TN_INT(a->n),     TN_INT(a->heads),   TN_FLT(a->scale)};
    int n = 8;
    TN_TRY(tn_cpu_scratch(c, backward_floats(a, per), all + n, err));
    n += TN_CPU_SCRATCH_ARGS;
    if (turns) all[n++] = TN_BUF(a->table.mem), all[n++] = TN_INT(a->skip);
    TN_TRY(launch(c, a, "attn_backward", options_of(per, turns), 1, all, n, err));
    tn_tensor dqkv = a->dqkv;
    return a->table.rows && !turns ? tn_rope(c, &dqkv, &a->table, a->batch, a->heads, a->skip, -1, err) : 0;
}

int tn_attention_forward_cpu(tn_ctx *c, const void *args, tn_error *err)
{
    return forward(c, args, ONE, err);
}

int tn_attention_backward_cpu(tn_ctx *c, const void *args, tn_error *err)
{
    return backward(c, args, ONE, err);
}

int tn_attention_forward_dot(tn_ctx *c, const void *args, tn_error *err)
{
    return forward(c, args, PAIR, err);
}

int tn_attention_backward_dot(tn_ctx *c, const void *args, tn_error *err)
{
    return backward(c, args, PAIR, err);
}
