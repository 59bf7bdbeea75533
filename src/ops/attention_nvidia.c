/* Attention on NVIDIA's matrix units (cl/nvidia/attention_*.cl). */
#include "attention_rows.h"

/* Items and rows as in the kernel file. */
static const tn_attention_kernels mma = {"nvidia/attention_mma.cl", "", 128, 128, 128, 128};

bool tn_attention_nvidia_can(const tn_ctx *c, const void *args)
{
    const tn_attention_args *a = args;
    (void)c;
    return a->hd == 64 && a->act != TN_F32;
}

/* attn_dq leaves two numbers a row to attn_dkv: lse in base 2 in the workspace, and delta. */
int tn_attention_backward_mma(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_attention_args *a = args;
    tn_tensor base2;
    TN_TRY(tn_ws_take(c, &base2, TN_F32, a->batch * a->heads, a->n, err));
    const tn_arg dq[] = {TN_BUF(a->qkv.mem), TN_BUF(a->o.mem),     TN_BUF(a->d_o.mem),   TN_BUF(a->lse.mem),
                         TN_BUF(base2.mem),  TN_BUF(a->delta.mem), TN_BUF(a->dqkv.mem),  TN_INT(a->n),
                         TN_INT(a->heads),   TN_FLT(a->scale),     TN_BUF(a->table.mem), TN_INT(a->skip)};
    const tn_arg dkv[] = {TN_BUF(a->qkv.mem), TN_BUF(a->d_o.mem), TN_BUF(base2.mem), TN_BUF(a->delta.mem), TN_BUF(a->dqkv.mem),
                          TN_INT(a->n),       TN_INT(a->heads),   TN_FLT(a->scale),  TN_BUF(a->table.mem), TN_INT(a->skip)};
    const tn_attention_kernels turned = {mma.file, " -DTURN", mma.items, 0, mma.dq, mma.dkv};
    const tn_attention_kernels *k = a->table.rows ? &turned : &mma;
    const int turn = a->table.rows ? 0 : 2; /* arguments left out at the end */
    TN_TRY(tn_attention_launch(c, a, k, "attn_dq", k->dq, dq, TN_COUNT(dq) - turn, err));
    return tn_attention_launch(c, a, k, "attn_dkv", k->dkv, dkv, TN_COUNT(dkv) - turn, err);
}

int tn_attention_forward_mma(tn_ctx *c, const void *args, tn_error *err)
{
    return tn_attention_launch_forward(c, args, &mma, err);
}
