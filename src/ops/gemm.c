#include "gemm.h"

#include <stdio.h>
#include <string.h>

const tn_gemm_variant tn_gemm_variants[TN_GEMM_VARIANTS] = {
    [TN_GEMM_PORTABLE] = {"portable", tn_gemm_always, tn_gemm_portable, false},
    [TN_GEMM_NATIVE] = {"native", tn_gemm_native_can, tn_gemm_native, false},
    [TN_GEMM_CLBLAST] = {"clblast", tn_gemm_clblast_can, tn_gemm_clblast, true},
};

bool tn_gemm_always(const tn_ctx *c, const tn_gemm_args *g)
{
    (void)c, (void)g;
    return true;
}

int tn_gemm_shape(int M, int N, int K)
{
    if (K > 4096 && (long long)M * N <= 1 << 20) return TN_SHAPE_TALL_K;
    return TN_MIN(M, N) <= 64 || K <= 64 ? TN_SHAPE_SKINNY : TN_SHAPE_DENSE;
}

int tn_gemm_sum(tn_ctx *c, const tn_tensor *P, int splits, const tn_gemm_args *g, tn_error *err)
{
    char opts[64];
    snprintf(opts, sizeof opts, "-DCT=%d -DBIAS=%d", (int)g->C.dtype, g->bias != NULL);
    tn_arg args[] = {TN_BUF(P->mem), TN_INT(splits), TN_BUF(g->C.mem), TN_UINT(g->C.off), TN_INT(g->C.ld),
                     TN_INT(g->M),   TN_INT(g->N),   TN_FLT(g->alpha), TN_FLT(g->beta),   TN_BUF(g->bias ? g->bias : P->mem)};
    size_t n = (size_t)g->M * (size_t)g->N, l = 64;
    return tn_op_run(c, "portable/gemm.cl", "gemm_sum", opts, args, TN_COUNT(args), 1, &n, &l, err);
}

bool tn_gemm_forced(const tn_dev *d, const char *name)
{
    char want[64];
    const size_t n = (size_t)snprintf(want, sizeof want, "gemm=%s", name);
    const char *at = d->variants ? strstr(d->variants, want) : NULL;
    return at && (at == d->variants || at[-1] == ',') && (!at[n] || at[n] == ',');
}

static int pick(tn_ctx *c, const tn_gemm_args *g, int *out, tn_error *err)
{
    for (int v = 0; c->dev->variants && v < TN_GEMM_VARIANTS; v++)
        if (tn_gemm_forced(c->dev, tn_gemm_variants[v].name) && tn_gemm_variants[v].can(c, g)) {
            *out = v;
            return 0;
        }
    tn_gemm_tuning *t;
    TN_TRY(tn_tuning_get(&t, c->dev, false, err));
    *out = t->best[tn_gemm_shape(g->M, g->N, g->K)];
    if (!tn_gemm_variants[*out].can(c, g)) *out = TN_GEMM_PORTABLE;
    return 0;
}

int tn_gemm(tn_ctx *c, bool ta, bool tb, float alpha, tn_tensor A, tn_tensor B, float beta, tn_tensor C, tn_buffer *bias,
            tn_error *err)
{
    tn_gemm_args g = {ta, tb, alpha, beta, A, B, C, C.rows, C.cols, ta ? A.rows : A.cols, bias};
    int am = ta ? A.cols : A.rows, bk = tb ? B.cols : B.rows, bn = tb ? B.rows : B.cols;
    if (am != g.M || bk != g.K || bn != g.N)
        return tn_fail(err, TN_ERR_ARGUMENT, "gemm: [%d,%d] x [%d,%d] does not make [%d,%d]", am, g.K, bk, bn, g.M, g.N);
    if (!g.M || !g.N) return 0;
    int v = TN_GEMM_PORTABLE;
    TN_TRY(pick(c, &g, &v, err));
    return tn_gemm_variants[v].run(c, &g, err);
}

int tn_gemm_run(tn_ctx *c, const tn_gemm_args *g, tn_error *err)
{
    return tn_gemm(c, g->ta, g->tb, g->alpha, g->A, g->B, g->beta, g->C, g->e.bias, err);
}
