#include "attention_rows.h"
#include "tuning.h"

#include <math.h>
#include <stdio.h>

/* Entries attn_delta, attn_dq and attn_dkv. */
static int backward(tn_ctx *c, const tn_attention_args *a, const tn_attention_kernels *k, tn_error *err)
{
    const tn_arg a1[] = {TN_BUF(a->o.mem), TN_BUF(a->d_o.mem), TN_BUF(a->delta.mem), TN_INT(a->n), TN_INT(a->heads)};
    const tn_arg a2[] = {TN_BUF(a->qkv.mem),  TN_BUF(a->d_o.mem), TN_BUF(a->lse.mem), TN_BUF(a->delta.mem),
                         TN_BUF(a->dqkv.mem), TN_INT(a->n),       TN_INT(a->heads),   TN_FLT(a->scale)};
    TN_TRY(tn_attention_launch(c, a, k, "attn_delta", k->items, a1, TN_COUNT(a1), err));
    TN_TRY(tn_attention_launch(c, a, k, "attn_dq", k->dq, a2, TN_COUNT(a2), err));
    TN_TRY(tn_attention_launch(c, a, k, "attn_dkv", k->dkv, a2, TN_COUNT(a2), err));
    tn_tensor dqkv = a->dqkv;
    return a->table.rows ? tn_rope(c, &dqkv, &a->table, a->batch, a->heads, a->skip, -1, err) : 0;
}

/* ---- the rows ---- */

/* As the tiles in cl/portable/attention.cl: three, or four and two squares, stay under 32 KiB of local memory. */
static tn_attention_kernels portable(const tn_attention_args *a)
{
    const int tile = a->hd <= 64 ? 16 : 8;
    return (tn_attention_kernels){"portable/attention.cl", "", 64, 2 * tile, tile, tile};
}

static int attention_forward_portable(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_attention_kernels k = portable(args);
    return tn_attention_launch_forward(c, args, &k, err);
}

static int attention_backward_portable(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_attention_kernels k = portable(args);
    return backward(c, args, &k, err);
}

/* ---- the operations ---- */

static void attention_kind(char *out, size_t n, const void *args)
{
    const tn_attention_args *a = args;
    snprintf(out, n, "%s width %d%s", tn_dtype_name(a->act), a->hd, a->table.rows ? ", turned" : "");
}

static void attention_key(char *out, size_t n, const void *args)
{
    const tn_attention_args *a = args;
    char kind[TN_KEY];
    attention_kind(kind, sizeof kind, a);
    snprintf(out, n, "%s, %d heads of %d tokens", kind, a->batch * a->heads, a->n);
}

static double attention_work(const void *args)
{
    const tn_attention_args *a = args;
    return 4.0 * a->batch * a->heads * a->n * a->n * a->hd;
}

/* Heads are what the batch decides; a head is a sample of its own from here on. */
static void attention_shrink(void *args, double most)
{
    tn_attention_args *a = args;
    a->batch = tn_bucket(a->batch * a->heads);
    a->heads = 1;
    while (a->batch > 1 && attention_work(a) > most) a->batch /= 2;
}

static int attention_make(void *copy, tn_ctx *c, const void *args, tn_error *err)
{
    tn_attention_args *a = copy;
    const tn_attention_args *from = args;
    const int rows = from->batch * from->n, d = from->heads * from->hd, bh = from->batch * from->heads;
    *a = *from;
    tn_tensor *const t[] = {&a->qkv, &a->o, &a->lse, &a->d_o, &a->delta, &a->dqkv, &a->table};
    const int shape[][2] = {
        {rows, 3 * d}, {rows, d}, {bh, from->n}, {rows, d}, {bh, from->n}, {rows, 3 * d}, {from->table.rows, from->hd}};
    for (size_t i = 0; i < TN_COUNT(t); i++) t[i]->mem = NULL;
    for (size_t i = 0; i < TN_COUNT(t); i++) {
        const tn_dtype dt = i == 2 || i == 4 || i == 6 ? TN_F32 : from->act;
        if (!shape[i][0]) continue;
        TN_TRY(tn_tensor_new(t[i], c->dev, dt, shape[i][0], shape[i][1], "tuning", err));
        TN_TRY(tn_tensor_random(c->dev, t[i], err));
    }
    return 0;
}

static void attention_release(void *copy, tn_ctx *c)
{
    tn_attention_args *a = copy;
    tn_tensor *const t[] = {&a->qkv, &a->o, &a->lse, &a->d_o, &a->delta, &a->dqkv, &a->table};
    for (size_t i = TN_COUNT(t); i-- > 0;) tn_tensor_free(c->dev, t[i]);
}

static const tn_variant forward_rows[] = {
    {.name = "wgmma", .needs = TN_CAP_NV_WGMMA, .can = tn_attention_nvidia_can, .run = tn_attention_forward_wgmma},
    {.name = "mma", .needs = TN_CAP_NV_MMA80, .can = tn_attention_nvidia_can, .run = tn_attention_forward_mma},
    {.name = "dpas",
     .any = TN_CAP_DPAS8 | TN_CAP_DPAS16,
     .can = tn_attention_vendors_can,
     .run = tn_attention_forward_dpas,
     .apart = true},
    {.name = "mfma",
     .any = TN_CAP_MFMA90A | TN_CAP_MFMA942,
     .can = tn_attention_vendors_can,
     .run = tn_attention_forward_amd,
     .apart = true},
    {.name = "wmma",
     .any = TN_CAP_WMMA11 | TN_CAP_WMMA12,
     .can = tn_attention_vendors_can,
     .run = tn_attention_forward_amd,
     .apart = true},
    {.name = "amx", .needs = TN_CAP_VECTORS | TN_CAP_AMX_BF16, .can = tn_attention_amx_can, .run = tn_attention_forward_amx},
    {.name = "dot", .needs = TN_CAP_VECTORS | TN_CAP_AVX512_BF16, .can = tn_attention_dot_can, .run = tn_attention_forward_dot},
    {.name = "cpu", .needs = TN_CAP_VECTORS, .can = tn_attention_cpu_can, .run = tn_attention_forward_cpu},
    {.name = "portable", .run = attention_forward_portable, .not_on_cpus = true},
};
static const tn_variant backward_rows[] = {
    {.name = "wgmma", .needs = TN_CAP_NV_WGMMA, .can = tn_attention_nvidia_can, .run = tn_attention_backward_wgmma},
    {.name = "mma", .needs = TN_CAP_NV_MMA80, .can = tn_attention_nvidia_can, .run = tn_attention_backward_mma},
    {.name = "dpas",
     .any = TN_CAP_DPAS8 | TN_CAP_DPAS16,
     .can = tn_attention_vendors_can,
     .run = tn_attention_backward_dpas,
     .apart = true},
    {.name = "mfma",
     .any = TN_CAP_MFMA90A | TN_CAP_MFMA942,
     .can = tn_attention_vendors_can,
     .run = tn_attention_backward_amd,
     .apart = true},
    {.name = "wmma",
     .any = TN_CAP_WMMA11 | TN_CAP_WMMA12,
     .can = tn_attention_vendors_can,
     .run = tn_attention_backward_amd,
     .apart = true},
    {.name = "amx", .needs = TN_CAP_VECTORS | TN_CAP_AMX_BF16, .can = tn_attention_amx_can, .run = tn_attention_backward_amx},
    {.name = "dot", .needs = TN_CAP_VECTORS | TN_CAP_AVX512_BF16, .can = tn_attention_dot_can, .run = tn_attention_backward_dot},
    {.name = "cpu", .needs = TN_CAP_VECTORS, .can = tn_attention_cpu_can, .run = tn_attention_backward_cpu},
    {.name = "portable", .run = attention_backward_portable, .not_on_cpus = true},
};

/* NOLINTBEGIN(bugprone-macro-parentheses): an initialiser takes no parentheses */
#define ATTENTION(op, table)                                                                                                       \
    {                                                                                                                              \
        .name = op, .rows = table, .n = TN_COUNT(table), .key = attention_key, .kind = attention_kind, .make = attention_make,     \
        .release = attention_release, .args_size = sizeof(tn_attention_args), .work = attention_work, .shrink = attention_shrink   \
    }
/* NOLINTEND(bugprone-macro-parentheses) */
const tn_variant_op tn_attention_op = ATTENTION("attention", forward_rows);
const tn_variant_op tn_attention_back_op = ATTENTION("attention-back", backward_rows);

static int attention_prepare(tn_attention_args *a, const tn_tensor *qkv, int batch, int heads, tn_error *err)
{
    *a = (tn_attention_args){.qkv = *qkv, .batch = batch, .heads = heads, .n = qkv->rows / batch, .hd = qkv->cols / 3 / heads};
    a->scale = 1.0f / sqrtf((float)a->hd);
    if (a->hd * heads * 3 == qkv->cols && a->hd <= 128 && a->n * batch == qkv->rows) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "attention: head width %d is over 128, or width %d is no multiple of %d heads", a->hd,
                   qkv->cols / 3, heads);
}

int tn_attention_forward(tn_ctx *c, const tn_tensor *qkv, int batch, int heads, tn_tensor *o, tn_tensor *lse, tn_error *err)
{
    tn_attention_args a;
    TN_TRY(attention_prepare(&a, qkv, batch, heads, err));
    TN_TRY(tn_storage(&a.act, "attention", TN_LIST(qkv, o), TN_LIST(lse), err));
    a.o = *o;
    a.lse = *lse;
    return tn_variant_run(c, &tn_attention_op, &a, err);
}

int tn_attention_backward(tn_ctx *c, const tn_attention *f, const tn_tensor *d_o, tn_tensor *delta, tn_tensor *dqkv, tn_error *err)
{
    tn_attention_args a;
    TN_TRY(attention_prepare(&a, f->qkv, f->batch, f->heads, err));
    TN_TRY(tn_storage(&a.act, "attention's backward", TN_LIST(f->qkv, f->o, d_o, dqkv), TN_LIST(f->lse, delta), err));
    a.o = *f->o;
    a.lse = *f->lse;
    a.d_o = *d_o;
    a.delta = *delta;
    a.dqkv = *dqkv;
    a.skip = f->skip;
    if (f->table) a.table = *f->table;
    if (f->table && (f->table->cols != a.hd || f->table->rows + f->skip != a.n))
        return tn_fail(err, TN_ERR_ARGUMENT, "attention's backward: a table [%d, %d] does not turn %d tokens of width %d back",
                       f->table->rows, f->table->cols, a.n - f->skip, a.hd);
    return tn_variant_run(c, &tn_attention_back_op, &a, err);
}
