#include "gemm.h"

#include <math.h>
#include <stdio.h>

/* The variant table of attention has two rows: the CPU's (checked against src/ref by the tuner), and the portable one. */
static int use_cpu(tn_ctx *c, int hd, bool *out, tn_error *err)
{
    *out = false;
    if (c->dev->info.type != TN_DEVICE_CPU || hd % 16) return 0;
    tn_gemm_tuning *t;
    TN_TRY(tn_tuning_get(&t, c->dev, false, err));
    *out = t->attention_cpu_ok;
    return 0;
}

typedef struct {
    bool cpu;
    const char *file;
    char opts[32];
    int hd, n, heads, batch;
    float scale;
} plan;

static int prepare(tn_ctx *c, plan *p, const tn_tensor *qkv, int batch, int heads, tn_error *err)
{
    p->hd = qkv->cols / 3 / heads;
    p->n = qkv->rows / batch;
    p->heads = heads;
    p->batch = batch;
    p->scale = 1.0f / sqrtf((float)p->hd);
    if (p->hd * heads * 3 != qkv->cols || p->hd > 128)
        return tn_fail(err, TN_ERR_ARGUMENT, "attention: head width %d is over 128, or width %d is no multiple of %d heads", p->hd,
                       qkv->cols / 3, heads);
    TN_TRY(use_cpu(c, p->hd, &p->cpu, err));
    p->file = p->cpu ? "cpu/attention.cl" : "portable/attention.cl";
    snprintf(p->opts, sizeof p->opts, "-DHD=%d", p->hd);
    return 0;
}

/* tile: what one group (portable) or one item (CPU) handles. */
static int launch(tn_ctx *c, const plan *p, const char *entry, int tile_portable, int tile_cpu, const tn_arg *args, int n_args,
                  tn_error *err)
{
    size_t items = p->cpu ? 1 : 64;
    size_t tiles = (size_t)TN_CEIL_DIV(p->n, p->cpu ? tile_cpu : tile_portable);
    size_t global[] = {tiles * items, (size_t)p->batch * (size_t)p->heads}, local[] = {items, 1};
    return tn_op_run(c, p->file, entry, p->opts, args, n_args, 2, global, local, err);
}

int tn_attention_forward(tn_ctx *c, const tn_tensor *qkv, int batch, int heads, tn_tensor *o, tn_tensor *lse, tn_error *err)
{
    plan p;
    TN_TRY(prepare(c, &p, qkv, batch, heads, err));
    tn_arg args[] = {TN_BUF(qkv->mem), TN_BUF(o->mem), TN_BUF(lse->mem), TN_INT(p.n), TN_INT(heads), TN_FLT(p.scale)};
    return launch(c, &p, "attn_forward", p.hd <= 64 ? 32 : 16, 32, args, TN_COUNT(args), err);
}

int tn_attention_backward(tn_ctx *c, const tn_tensor *qkv, const tn_tensor *o, const tn_tensor *lse, const tn_tensor *d_o,
                          int batch, int heads, tn_tensor *delta, tn_tensor *dqkv, tn_error *err)
{
    plan p;
    TN_TRY(prepare(c, &p, qkv, batch, heads, err));
    tn_arg a1[] = {TN_BUF(o->mem), TN_BUF(d_o->mem), TN_BUF(delta->mem), TN_INT(p.n), TN_INT(heads)};
    size_t items = p.cpu ? 1 : 64;
    size_t global[] = {p.cpu ? (size_t)p.n : TN_ROUND_UP((size_t)p.n, items), (size_t)batch * (size_t)heads};
    size_t local[] = {items, 1};
    TN_TRY(tn_op_run(c, p.file, "attn_delta", p.opts, a1, TN_COUNT(a1), 2, global, local, err));
    tn_arg a2[] = {TN_BUF(qkv->mem),  TN_BUF(d_o->mem), TN_BUF(lse->mem), TN_BUF(delta->mem),
                   TN_BUF(dqkv->mem), TN_INT(p.n),      TN_INT(heads),    TN_FLT(p.scale)};
    const int tile = p.hd <= 64 ? 16 : 8;
    TN_TRY(launch(c, &p, "attn_dq", tile, 32, a2, TN_COUNT(a2), err));
    return launch(c, &p, "attn_dkv", tile, 16, a2, TN_COUNT(a2), err);
}

int tn_rope(tn_ctx *c, tn_tensor *qkv, const tn_tensor *table, int batch, int heads, int skip, int direction, tn_error *err)
{
    const int hd = qkv->cols / 3 / heads, n = qkv->rows / batch, rows = batch * (n - skip);
    char opts[48];
    snprintf(opts, sizeof opts, "-DHD=%d -DDIR=%d", hd, direction);
    tn_arg args[] = {TN_BUF(qkv->mem), TN_BUF(table->mem), TN_INT(n), TN_INT(heads), TN_INT(skip), TN_INT(rows)};
    size_t global[] = {(size_t)(hd / 2), (size_t)heads * 2, (size_t)rows};
    return tn_op_run(c, "portable/rope.cl", "rope", opts, args, TN_COUNT(args), 3, global, NULL, err);
}
