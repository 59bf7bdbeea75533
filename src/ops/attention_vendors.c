/* Attention on the matrix units of Intel's and AMD's GPUs (cl/intel/attention_dpas*.cl, cl/amd/attention_matrix*.cl). */
#include "attention_rows.h"
#include "dpas.h"

/* As in the kernel files. */
enum { STEP = 16, WORDS = 512 /* of a packed step */, SUB_GROUPS = 8, WAVES = 4 };

bool tn_attention_vendors_can(const tn_ctx *c, const void *args)
{
    const tn_attention_args *a = args;
    (void)c;
    return a->hd == 64 && a->act != TN_F32;
}

/* ---- Intel ---- */

static tn_attention_kernels dpas_kernels(const tn_ctx *c, bool back, bool turned)
{
    static const char *const options[2][2] = {{" " TN_DPAS_OPTIONS " -DSG=8", " " TN_DPAS_OPTIONS " -DSG=8 -DTURN"},
                                              {" " TN_DPAS_OPTIONS " -DSG=16", " " TN_DPAS_OPTIONS " -DSG=16 -DTURN"}};
    const bool wide = c->dev->caps & TN_CAP_DPAS16;
    return (tn_attention_kernels){.file = back ? "intel/attention_dpas_back.cl" : "intel/attention_dpas.cl",
                                  .options = options[wide][turned],
                                  .items = (wide ? 16 : 8) * SUB_GROUPS,
                                  .forward = (wide ? 16 : 8) * SUB_GROUPS,
                                  .dq = 8 * SUB_GROUPS,
                                  .dkv = 8 * SUB_GROUPS};
}

/* Room for `parts` packed matrices of each head. */
static int dpas_room(tn_ctx *c, tn_tensor *out, const tn_attention_args *a, int parts, tn_error *err)
{
    return tn_ws_take(c, out, TN_F32, a->batch * a->heads * TN_CEIL_DIV(a->n, STEP), parts * WORDS, err);
}

/* They are packed by the very program that multiplies, in whole steps: a group for each row's words. */
static int dpas_pack(tn_ctx *c, const tn_attention_args *a, const tn_attention_kernels *k, int parts, const tn_arg *args,
                     int n_args, tn_error *err)
{
    const tn_attention_kernels pack = {.file = k->file, .options = k->options, .items = parts * (WORDS / STEP)};
    tn_attention_args whole = *a;
    whole.n = TN_ROUND_UP(a->n, STEP);
    return tn_attention_launch(c, &whole, &pack, "attn_pack", 1, args, n_args, err);
}

int tn_attention_forward_dpas(tn_ctx *c, const void *args, tn_error *err)
{
    enum { PARTS = 2 };
    const tn_attention_args *a = args;
    const tn_attention_kernels k = dpas_kernels(c, false, false);
    const size_t mark = c->ws_used;
    tn_tensor kv;
    TN_TRY(dpas_room(c, &kv, a, PARTS, err));
    const tn_arg pack[] = {TN_BUF(a->qkv.mem), TN_BUF(kv.mem), TN_INT(a->n), TN_INT(a->heads)};
    const tn_arg list[] = {TN_BUF(a->qkv.mem), TN_BUF(kv.mem),   TN_BUF(a->o.mem), TN_BUF(a->lse.mem),
                           TN_INT(a->n),       TN_INT(a->heads), TN_FLT(a->scale)};
    int rc = dpas_pack(c, a, &k, PARTS, pack, TN_COUNT(pack), err);
    if (!rc) rc = tn_attention_launch(c, a, &k, "attn_forward", k.forward, list, TN_COUNT(list), err);
    c->ws_used = mark;
    return rc;
}

/* What each of the two passes reads is packed into the same room before it. */
static int dpas_back(tn_ctx *c, const tn_attention_args *a, const tn_tensor *packed, tn_error *err)
{
    enum { DQ_PARTS = 3, DKV_PARTS = 4 };
    const tn_attention_kernels k = dpas_kernels(c, true, a->table.rows > 0);
    const int turn = a->table.rows ? 0 : 2; /* arguments left out at the end */
    tn_arg pack[] = {TN_BUF(a->qkv.mem), TN_BUF(a->d_o.mem), TN_BUF(packed->mem), TN_INT(a->n), TN_INT(a->heads), TN_INT(0)};
    const tn_arg dq[] = {TN_BUF(a->qkv.mem),   TN_BUF(a->o.mem),    TN_BUF(a->d_o.mem),   TN_BUF(a->lse.mem),
                         TN_BUF(a->delta.mem), TN_BUF(a->dqkv.mem), TN_BUF(packed->mem),  TN_INT(a->n),
                         TN_INT(a->heads),     TN_FLT(a->scale),    TN_BUF(a->table.mem), TN_INT(a->skip)};
    const tn_arg dkv[] = {TN_BUF(a->qkv.mem), TN_BUF(a->lse.mem), TN_BUF(a->delta.mem), TN_BUF(a->dqkv.mem),  TN_BUF(packed->mem),
                          TN_INT(a->n),       TN_INT(a->heads),   TN_FLT(a->scale),     TN_BUF(a->table.mem), TN_INT(a->skip)};
    TN_TRY(dpas_pack(c, a, &k, DQ_PARTS, pack, TN_COUNT(pack), err));
    TN_TRY(tn_attention_launch(c, a, &k, "attn_dq", k.dq, dq, TN_COUNT(dq) - turn, err));
    pack[TN_COUNT(pack) - 1] = TN_INT(1);
    TN_TRY(dpas_pack(c, a, &k, DKV_PARTS, pack, TN_COUNT(pack), err));
    return tn_attention_launch(c, a, &k, "attn_dkv", k.dkv, dkv, TN_COUNT(dkv) - turn, err);
}

int tn_attention_backward_dpas(tn_ctx *c, const void *args, tn_error *err)
{
    enum { MOST_PARTS = 4 };
    const size_t mark = c->ws_used;
    tn_tensor packed;
    TN_TRY(dpas_room(c, &packed, args, MOST_PARTS, err));
    const int rc = dpas_back(c, args, &packed, err);
    c->ws_used = mark;
    return rc;
}

/* ---- AMD ---- */

static tn_attention_kernels amd_kernels(const tn_ctx *c, bool back, bool turned)
{
    static const char *const options[3][2] = {
        {" -DUNIT=9", " -DUNIT=9 -DTURN"}, {" -DUNIT=11", " -DUNIT=11 -DTURN"}, {" -DUNIT=12", " -DUNIT=12 -DTURN"}};
    const int which = c->dev->caps & TN_CAP_WMMA12 ? 2 : c->dev->caps & TN_CAP_WMMA11 ? 1 : 0, rows = which ? 16 : 32;
    return (tn_attention_kernels){.file = back ? "amd/attention_matrix_back.cl" : "amd/attention_matrix.cl",
                                  .options = options[which][turned],
                                  .items = (which ? 32 : 64) * WAVES,
                                  .forward = (which == 1 ? 16 : 32) * WAVES,
                                  .dq = rows * WAVES,
                                  .dkv = rows * WAVES};
}

int tn_attention_forward_amd(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_attention_kernels k = amd_kernels(c, false, false);
    return tn_attention_launch_forward(c, args, &k, err);
}

int tn_attention_backward_amd(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_attention_args *a = args;
    const tn_attention_kernels k = amd_kernels(c, true, a->table.rows > 0);
    const int turn = a->table.rows ? 0 : 2; /* arguments left out at the end */
    const tn_arg dq[] = {TN_BUF(a->qkv.mem),   TN_BUF(a->o.mem),     TN_BUF(a->d_o.mem), TN_BUF(a->lse.mem),
                         TN_BUF(a->delta.mem), TN_BUF(a->dqkv.mem),  TN_INT(a->n),       TN_INT(a->heads),
                         TN_FLT(a->scale),     TN_BUF(a->table.mem), TN_INT(a->skip)};
    const tn_arg dkv[] = {TN_BUF(a->qkv.mem), TN_BUF(a->d_o.mem), TN_BUF(a->lse.mem), TN_BUF(a->delta.mem), TN_BUF(a->dqkv.mem),
                          TN_INT(a->n),       TN_INT(a->heads),   TN_FLT(a->scale),   TN_BUF(a->table.mem), TN_INT(a->skip)};
    TN_TRY(tn_attention_launch(c, a, &k, "attn_dq", k.dq, dq, TN_COUNT(dq) - turn, err));
    return tn_attention_launch(c, a, &k, "attn_dkv", k.dkv, dkv, TN_COUNT(dkv) - turn, err);
}
