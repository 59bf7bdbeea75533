/* Attention on CPU devices (cl/cpu/attention.cl): "cpu" multiplies float32, "dot" pairs of bfloat16. */
#include "attention_rows.h"
#include "cpu.h"

#define FILE_ "cpu/attention.cl"

/* As in the kernel file. */
enum { BLOCK = 48, KEYS = 48, SPAN = 13 * KEYS, TURNED = 32 /* a head's halves are whole vectors */ };

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

static int options_of(tn_options *o, const tn_ctx *c, const tn_attention_args *a, word per, bool turns, tn_error *err)
{
    return tn_options_set(o, err, "-DACT=%d -DHD=%d -DWIDE=%d%s%s", (int)a->act, a->hd, tn_cpu_wide(c->dev),
                          per == PAIR ? " -DDOT" : "", turns ? " -DTURN" : "");
}

static int forward(tn_ctx *c, const tn_attention_args *a, word per, tn_error *err)
{
    tn_options o;
    TN_TRY(options_of(&o, c, a, per, false, err));
    const tn_attention_items k = {.file = FILE_, .options = o.s, .scratch = forward_floats(a, per), .least = 4 * BLOCK};
    return tn_attention_items_forward(c, a, &k, err);
}

static int backward_by(tn_ctx *c, const tn_attention_args *a, word per, tn_error *err)
{
    const bool turns = a->table.rows && a->hd % TURNED == 0;
    tn_options o;
    TN_TRY(options_of(&o, c, a, per, turns, err));
    const tn_attention_items k = {.file = FILE_, .options = o.s, .scratch = backward_floats(a, per), .turns = turns};
    TN_TRY(tn_attention_items_backward(c, a, &k, err));
    tn_tensor dqkv = a->dqkv;
    return a->table.rows && !turns ? tn_rope(c, &dqkv, &a->table, a->batch, a->heads, a->skip, -1, err) : 0;
}

int tn_attention_forward_cpu(tn_ctx *c, const void *args, tn_error *err)
{
    return forward(c, args, ONE, err);
}

int tn_attention_backward_cpu(tn_ctx *c, const void *args, tn_error *err)
{
    return backward_by(c, args, ONE, err);
}

int tn_attention_forward_dot(tn_ctx *c, const void *args, tn_error *err)
{
    return forward(c, args, PAIR, err);
}

int tn_attention_backward_dot(tn_ctx *c, const void *args, tn_error *err)
{
    return backward_by(c, args, PAIR, err);
}
