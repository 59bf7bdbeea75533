/* Attention of bfloat16 on the tiles of CPU devices (cl/cpu/attention_amx.cl). */
#include "attention_rows.h"
#include "cpu.h"

/* As in the kernel file. */
enum { TILE_WORDS = 256, CONFIG = 16, BLOCK = 32, SPAN = 640, TOKENS = 32, ROWS = 16 };

/* Heads a thread should have at least, so that none waits long for the last one; what a core's cache keeps, in bytes; and keys of a
 * panel: the more, the fewer passes over dq. */
enum { ITEMS_A_THREAD = 4, CACHE = 1408 * 1024, MOST_KEYS = 128, LEAST_KEYS = 32 };

bool tn_attention_amx_can(const tn_ctx *c, const void *args)
{
    const tn_attention_args *a = args;
    (void)c;
    return a->act == TN_BF16 && a->hd % 32 == 0;
}

/* Tiles of all tokens of a head, wide or deep. */
static size_t tokens_words(const tn_attention_args *a)
{
    return TN_CEIL_DIV((size_t)a->n, TOKENS) * ((size_t)a->hd / ROWS) * TILE_WORDS;
}

static size_t forward_words(const tn_attention_args *a)
{
    const size_t hd = (size_t)a->hd;
    return CONFIG + 2 * tokens_words(a) + TILE_WORDS * (2 * hd / 32 + 2 * (SPAN / 32)) + BLOCK * (SPAN + hd);
}

static size_t backward_words(const tn_attention_args *a, int keys)
{
    const size_t hd = (size_t)a->hd, T = TN_CEIL_DIV((size_t)a->n, TOKENS), high = (size_t)keys / ROWS;
    return CONFIG + 4 * tokens_words(a) + 3 * TILE_WORDS * high * (hd / 32 + T) + TOKENS * T * (hd + 2) + BLOCK * (2 * BLOCK + hd);
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
    TN_TRY(tn_options_set(&o, err, "-DHD=%d%s", a->hd, turn));
    const tn_range range = {2, {(size_t)splits, (size_t)a->batch * (size_t)a->heads}, {1, 1}};
    return tn_op_run(c, "cpu/attention_amx.cl", entry, o.s, args, n_args, &range, err);
}

int tn_attention_forward_amx(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_attention_args *a = args;
    const int splits = splits_of(c, a);
    tn_arg all[7 + TN_CPU_SCRATCH_ARGS] = {TN_BUF(a->qkv.mem), TN_BUF(a->o.mem), TN_BUF(a->lse.mem), TN_INT(a->n),
                                           TN_INT(a->heads),   TN_FLT(a->scale), TN_INT(splits)};
    TN_TRY(tn_cpu_scratch(c, forward_words(a), all + 7, err));
    return launch(c, a, "attn_forward", splits, "", all, TN_COUNT(all), err);
}

int tn_attention_backward_amx(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_attention_args *a = args;
    int keys = MOST_KEYS, n = 9;
    while (keys > LEAST_KEYS && backward_words(a, keys) * sizeof(float) > CACHE) keys /= 2;
    tn_arg all[9 + TN_CPU_SCRATCH_ARGS + 2] = {TN_BUF(a->qkv.mem), TN_BUF(a->o.mem),    TN_BUF(a->d_o.mem),
                                               TN_BUF(a->lse.mem), TN_BUF(a->dqkv.mem), TN_INT(a->n),
                                               TN_INT(a->heads),   TN_FLT(a->scale),    TN_INT(keys)};
    TN_TRY(tn_cpu_scratch(c, backward_words(a, keys), all + n, err));
    n += TN_CPU_SCRATCH_ARGS;
    if (a->table.rows) all[n++] = TN_BUF(a->table.mem), all[n++] = TN_INT(a->skip);
    return launch(c, a, "attn_backward", 1, a->table.rows ? " -DTURN" : "", all, n, err);
}
