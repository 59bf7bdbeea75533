/* Attention of bfloat16 on the tiles of CPU devices (cl/cpu/attention_amx.cl). */
#include "attention_rows.h"

#define AMX "cpu/attention_amx.cl"

/* As in the kernel file. */
enum { TILE_WORDS = 256, CONFIG = 16, AMX_BLOCK = 32, AMX_SPAN = 640, TOKENS = 32, ROWS = 16 };

/* What a core's cache keeps, in bytes; and keys of a panel: the more, the fewer passes over dq. */
enum { CACHE = 1408 * 1024, MOST_KEYS = 128, LEAST_KEYS = 32 };

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
    return CONFIG + 2 * tokens_words(a) + TILE_WORDS * (2 * hd / 32 + 2 * (AMX_SPAN / 32)) + AMX_BLOCK * (AMX_SPAN + hd);
}

static size_t backward_words(const tn_attention_args *a, int keys)
{
    const size_t hd = (size_t)a->hd, T = TN_CEIL_DIV((size_t)a->n, TOKENS), high = (size_t)keys / ROWS;
    return CONFIG + 4 * tokens_words(a) + 3 * TILE_WORDS * high * (hd / 32 + T) + TOKENS * T * (hd + 2) +
           AMX_BLOCK * (2 * AMX_BLOCK + hd);
}

int tn_attention_forward_amx(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_attention_args *a = args;
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DHD=%d", a->hd));
    const tn_attention_items k = {.file = AMX, .options = o.s, .scratch = forward_words(a), .least = 4 * AMX_BLOCK};
    return tn_attention_items_forward(c, a, &k, err);
}

int tn_attention_backward_amx(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_attention_args *a = args;
    const bool turns = a->table.rows > 0;
    int keys = MOST_KEYS;
    while (keys > LEAST_KEYS && backward_words(a, keys) * sizeof(float) > CACHE) keys /= 2;
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DHD=%d%s", a->hd, turns ? " -DTURN" : ""));
    const tn_attention_items k = {.file = AMX, .options = o.s, .scratch = backward_words(a, keys), .keys = keys, .turns = turns};
    return tn_attention_items_backward(c, a, &k, err);
}
