/* Attention on Hopper's warpgroup instructions (cl/nvidia/attention_wgmma.cl). */
#include "attention_rows.h"
#include "tensor_map.h"

#include <string.h>

/* As in the kernel file: items of a group, rows of a tile and of a group's block, groups that fit a multiprocessor. */
enum { FORWARD_ITEMS = 256, BACKWARD_ITEMS = 128, TILE = 64, FORWARD_ROWS = 128, BACKWARD_ROWS = 64, BESIDE = 2, DQ_BESIDE = 3 };

/* Two arguments: a descriptor of the tensor's images in boxes of a tile's rows and a head's columns. */
static int put_map(tn_ctx *c, tn_arg *to, const tn_attention_args *a, const tn_tensor *t, tn_error *err)
{
    const tn_map_view v = {.mem = t->mem,
                           .off = t->off,
                           .inner = t->cols,
                           .ld = t->ld,
                           .w = a->n,
                           .h = 1,
                           .images = a->batch,
                           .wide = TILE,
                           .tall = 1,
                           .step = 1,
                           .act = (int)a->act};
    tn_buffer *maps = NULL;
    uint32_t index = 0;
    if (!c->dry) TN_TRY(tn_tensor_map(c->dev, &v, &maps, &index, err));
    to[0] = TN_BUF(maps), to[1] = TN_UINT(index);
    return 0;
}

/* Blocks of so many rows, and groups that take one after another. */
typedef struct {
    int works, groups, items;
} sharing;

static sharing share(const tn_ctx *c, const tn_attention_args *a, int rows, int items, int beside)
{
    const int works = a->batch * a->heads * TN_CEIL_DIV(a->n, rows), most = beside * (int)c->dev->info.compute_units;
    return (sharing){works, TN_MIN(works, most), items};
}

static int launch(tn_ctx *c, const tn_attention_args *a, sharing s, const char *entry, const tn_arg *args, int n, tn_error *err)
{
    const tn_range range = {1, {(size_t)s.groups * (size_t)s.items}, {(size_t)s.items}};
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "-DACT=%d%s", (int)a->act, a->table.rows ? " -DTURN" : ""));
    return tn_op_run(c, "nvidia/attention_wgmma.cl", entry, o.s, args, n, &range, err);
}

int tn_attention_forward_wgmma(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_attention_args *a = args;
    const sharing s = share(c, a, FORWARD_ROWS, FORWARD_ITEMS, BESIDE);
    tn_arg x[9];
    TN_TRY(put_map(c, x, a, &a->qkv, err));
    const tn_arg rest[] = {TN_BUF(a->o.mem), TN_BUF(a->lse.mem), TN_INT(a->n),    TN_INT(a->heads),
                           TN_INT(s.works),  TN_INT(s.groups),   TN_FLT(a->scale)};
    memcpy(x + 2, rest, sizeof rest);
    return launch(c, a, s, "attn_forward", x, TN_COUNT(x), err);
}

/* What both passes of the backward end with. */
static void put_rest(tn_arg *to, const tn_attention_args *a, sharing s)
{
    const tn_arg rest[] = {TN_BUF(a->dqkv.mem), TN_INT(a->n),     TN_INT(a->heads),     TN_INT(s.works),
                           TN_INT(s.groups),    TN_FLT(a->scale), TN_BUF(a->table.mem), TN_INT(a->skip)};
    memcpy(to, rest, sizeof rest);
}

/* attn_dq leaves two numbers a row to attn_dkv, which reads them tile by tile: lse in base 2, and delta. */
int tn_attention_backward_wgmma(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_attention_args *a = args;
    const sharing for_dq = share(c, a, BACKWARD_ROWS, BACKWARD_ITEMS, DQ_BESIDE),
                  for_dkv = share(c, a, BACKWARD_ROWS, BACKWARD_ITEMS, BESIDE);
    const int padded = TN_ROUND_UP(a->n, TILE), turn = a->table.rows ? 0 : 2; /* arguments left out at the end */
    tn_tensor low, delta;
    tn_arg dq[17], dkv[14];
    TN_TRY(tn_ws_take(c, &low, TN_F32, a->batch * a->heads, padded, err));
    TN_TRY(tn_ws_take(c, &delta, TN_F32, a->batch * a->heads, padded, err));
    TN_TRY(put_map(c, dq, a, &a->qkv, err));
    TN_TRY(put_map(c, dq + 2, a, &a->o, err));
    TN_TRY(put_map(c, dq + 4, a, &a->d_o, err));
    dq[6] = TN_BUF(a->lse.mem), dq[7] = TN_BUF(low.mem), dq[8] = TN_BUF(delta.mem);
    dkv[0] = dq[0], dkv[1] = dq[1], dkv[2] = dq[4], dkv[3] = dq[5], dkv[4] = dq[7], dkv[5] = dq[8];
    put_rest(dq + 9, a, for_dq);
    put_rest(dkv + 6, a, for_dkv);
    TN_TRY(launch(c, a, for_dq, "attn_dq", dq, 17 - turn, err));
    return launch(c, a, for_dkv, "attn_dkv", dkv, 14 - turn, err);
}
