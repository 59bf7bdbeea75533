/* Attention on NVIDIA's matrix units (cl/nvidia/attention_*.cl). */
#include "attention_rows.h"

/* Items and rows as in the kernel files. */
static const tn_attention_kernels wgmma_forward = {"nvidia/attention_wgmma.cl", "", 256, 128, 0, 0};
static const tn_attention_kernels wgmma_backward = {"nvidia/attention_wgmma.cl", "", 128, 0, 64, 64};
static const tn_attention_kernels mma = {"nvidia/attention_mma.cl", "", 128, 128, 128, 128};

bool tn_attention_nvidia_can(const tn_ctx *c, const void *args)
{
    const tn_attention_args *a = args;
    (void)c;
    return a->hd == 64 && a->act != TN_F32;
}

/* attn_dq leaves two numbers a row to attn_dkv: lse in base 2 in the workspace, and delta. */
static int backward(tn_ctx *c, const tn_attention_args *a, const tn_attention_kernels *k, tn_error *err)
{
    tn_tensor base2;
    TN_TRY(tn_ws_take(c, &base2, TN_F32, a->batch * a->heads, a->n, err));
    const tn_arg dq[] = {TN_BUF(a->qkv.mem), TN_BUF(a->o.mem),     TN_BUF(a->d_o.mem),   TN_BUF(a->lse.mem),
                         TN_BUF(base2.mem),  TN_BUF(a->delta.mem), TN_BUF(a->dqkv.mem),  TN_INT(a->n),
                         TN_INT(a->heads),   TN_FLT(a->scale),     TN_BUF(a->table.mem), TN_INT(a->skip)};
    const tn_arg dkv[] = {TN_BUF(a->qkv.mem), TN_BUF(a->d_o.mem), TN_BUF(base2.mem), TN_BUF(a->delta.mem), TN_BUF(a->dqkv.mem),
                          TN_INT(a->n),       TN_INT(a->heads),   TN_FLT(a->scale),  TN_BUF(a->table.mem), TN_INT(a->skip)};
    const tn_attention_kernels turned = {k->file, " -DTURN", k->items, 0, k->dq, k->dkv};
    const int turn = a->table.rows ? 0 : 2; /* arguments left out at the end */
    if (!turn) k = &turned;
    TN_TRY(tn_attention_launch(c, a, k, "attn_dq", k->dq, dq, TN_COUNT(dq) - turn, err));
    return tn_attention_launch(c, a, k, "attn_dkv", k->dkv, dkv, TN_COUNT(dkv) - turn, err);
}

int tn_attention_forward_wgmma(tn_ctx *c, const void *args, tn_error *err)
{
    return tn_attention_launch_forward(c, args, &wgmma_forward, err);
}

int tn_attention_backward_wgmma(tn_ctx *c, const void *args, tn_error *err)
{
    return backward(c, args, &wgmma_backward, err);
}

int tn_attention_forward_mma(tn_ctx *c, const void *args, tn_error *err)
{
    return tn_attention_launch_forward(c, args, &mma, err);
}

int tn_attention_backward_mma(tn_ctx *c, const void *args, tn_error *err)
{
    return backward(c, args, &mma, err);
}
