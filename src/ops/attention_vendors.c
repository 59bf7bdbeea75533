/* Attention on the matrix units of Intel's and AMD's GPUs (cl/intel/attention_dpas.cl, cl/amd/attention_matrix.cl). */
#include "attention_rows.h"

/* As in the kernel files. */
enum { STEP = 16, WORDS = 1024 /* of a step's keys and values */, SUB_GROUPS = 8, WAVES = 4 };

bool tn_attention_vendors_can(const tn_ctx *c, const void *args)
{
    const tn_attention_args *a = args;
    (void)c;
    return a->hd == 64 && a->act != TN_F32;
}

/* ---- Intel ---- */

static tn_attention_kernels dpas_kernels(const tn_ctx *c)
{
    static const char *const options[] = {" -cl-intel-256-GRF-per-thread -DSG=8", " -cl-intel-256-GRF-per-thread -DSG=16"};
    const bool wide = c->dev->caps & TN_CAP_DPAS16;
    return (tn_attention_kernels){.file = "intel/attention_dpas.cl",
                                  .options = options[wide],
                                  .items = (wide ? 16 : 8) * SUB_GROUPS,
                                  .forward = (wide ? 16 : 8) * SUB_GROUPS};
}

/* Keys and values as right operands, whole steps of them. */
static int dpas_pack(tn_ctx *c, const tn_attention_args *a, const tn_attention_kernels *k, const tn_tensor *kv, tn_error *err)
{
    const tn_arg args[] = {TN_BUF(a->qkv.mem), TN_BUF(kv->mem), TN_INT(a->n), TN_INT(a->heads)};
    const tn_attention_kernels pack = {.file = k->file, .options = k->options, .items = WORDS / STEP};
    tn_attention_args whole = *a;
    whole.n = TN_ROUND_UP(a->n, STEP);
    return tn_attention_launch(c, &whole, &pack, "attn_pack", 1, args, TN_COUNT(args), err); /* a group for each row's words */
}

int tn_attention_forward_dpas(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_attention_args *a = args;
    const tn_attention_kernels k = dpas_kernels(c);
    const size_t mark = c->ws_used;
    tn_tensor kv;
    int rc = tn_ws_take(c, &kv, TN_F32, a->batch * a->heads * TN_CEIL_DIV(a->n, STEP), WORDS, err);
    if (!rc) rc = dpas_pack(c, a, &k, &kv, err);
    const tn_arg list[] = {TN_BUF(a->qkv.mem), TN_BUF(kv.mem),   TN_BUF(a->o.mem), TN_BUF(a->lse.mem),
                           TN_INT(a->n),       TN_INT(a->heads), TN_FLT(a->scale)};
    if (!rc) rc = tn_attention_launch(c, a, &k, "attn_forward", k.forward, list, TN_COUNT(list), err);
    c->ws_used = mark;
    return rc;
}

/* ---- AMD ---- */

static tn_attention_kernels amd_kernels(const tn_ctx *c)
{
    const bool mfma = !(c->dev->caps & (TN_CAP_WMMA11 | TN_CAP_WMMA12)), twelve = c->dev->caps & TN_CAP_WMMA12;
    return (tn_attention_kernels){.file = "amd/attention_matrix.cl",
                                  .options = mfma     ? " -DUNIT=9"
                                             : twelve ? " -DUNIT=12"
                                                      : " -DUNIT=11",
                                  .items = (mfma ? 64 : 32) * WAVES,
                                  .forward = (mfma || twelve ? 32 : 16) * WAVES};
}

int tn_attention_forward_amd(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_attention_kernels k = amd_kernels(c);
    return tn_attention_launch_forward(c, args, &k, err);
}
