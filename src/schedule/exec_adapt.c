/* Executors of adapters' second kernels beside convolutions: a 1x1 convolution of as many groups as the one beside it. */
#include "exec.h"
#include "gemm.h"

/* B as a matrix [cols, r]. */
static int up_kernel(const tn_call *k, int groups, tn_tensor *b)
{
    const tn_gpart *p = &k->n->part[0];
    const tn_tensor own = tn_store_operand(k->s->store, p->b);
    *b = own;
    if (groups == 1) return 0;
    TN_TRY(tn_ws_take(k->c, b, own.dtype, p->cols, p->r, k->err));
    return tn_groups_spread(k->c, &own, groups, b, k->err);
}

int tn_exec_adapt(const tn_call *k)
{
    tn_gemm_args g = {.tb = true, .alpha = k->n->part[0].scale, .A = tn_call_in(k, 1), .C = tn_call_out(k, 0)};
    g.e.residual = tn_call_in(k, 0);
    TN_TRY(up_kernel(k, k->n->a.adapt.groups, &g.B));
    return tn_gemm_run(k->c, &g, k->err);
}

int tn_exec_adapt_dt(const tn_call *k)
{
    tn_gemm_args g = {.alpha = k->n->part[0].scale, .A = tn_call_in(k, 0), .C = tn_call_out(k, 0)};
    TN_TRY(up_kernel(k, k->n->a.adapt_dt.groups, &g.B));
    return tn_gemm_run(k->c, &g, k->err);
}

int tn_exec_adapt_grad(const tn_call *k)
{
    const tn_gpart *p = &k->n->part[0];
    const int groups = k->n->a.adapt_grad.groups;
    tn_tensor db = tn_call_grad(k, p->b), wide;
    tn_gemm_args g = {.ta = true, .alpha = p->scale, .beta = 1, .A = tn_call_in(k, 1), .B = tn_call_in(k, 0), .C = db};
    if (groups == 1) return tn_gemm_run(k->c, &g, k->err);
    TN_TRY(tn_ws_take(k->c, &wide, TN_F32, p->cols, p->r, k->err));
    g.beta = 0, g.C = wide;
    TN_TRY(tn_gemm_run(k->c, &g, k->err));
    return tn_groups_collect(k->c, &wide, groups, &db, k->err);
}
