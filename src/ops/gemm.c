#include "gemm.h"
#include "tuning.h"

#include <stdio.h>

static const tn_variant rows[] = {
    {"native", TN_CAP_CPU, NULL, tn_gemm_native, NULL, false},
    {"clblast", 0, tn_gemm_clblast_can, tn_gemm_clblast, NULL, true},
    {"portable", 0, NULL, tn_gemm_portable, NULL, false},
};

static void gemm_kind(char *out, size_t n, const void *args)
{
    const tn_gemm_args *g = args;
    snprintf(out, n, "%s,%s,%s %c%c", tn_dtype_name(g->A.dtype), tn_dtype_name(g->B.dtype), tn_dtype_name(g->C.dtype),
             g->ta ? 't' : 'n', g->tb ? 't' : 'n');
}

static void gemm_key(char *out, size_t n, const void *args)
{
    const tn_gemm_args *g = args;
    char kind[TN_KEY];
    gemm_kind(kind, sizeof kind, args);
    snprintf(out, n, "%.40s %dx%dx%d", kind, g->M, g->N, g->K);
}

static double gemm_work(const void *args)
{
    const tn_gemm_args *g = args;
    return 2.0 * g->M * g->N * g->K;
}

/* The batch decides M, or K where A is read transposed (a weight's gradient). */
static void gemm_shrink(void *args, double most)
{
    tn_gemm_args *g = args;
    int *n = g->ta ? &g->K : &g->M;
    *n = tn_bucket(*n);
    while (*n > 1 && gemm_work(g) > most) *n /= 2;
}

static int gemm_make(void *copy, tn_ctx *c, const void *args, tn_error *err)
{
    tn_gemm_args *g = copy;
    const tn_gemm_args *f = args;
    *g = (tn_gemm_args){.ta = f->ta, .tb = f->tb, .alpha = 1, .M = f->M, .N = f->N, .K = f->K};
    TN_TRY(tn_tensor_new(&g->A, c->dev, f->A.dtype, g->ta ? g->K : g->M, g->ta ? g->M : g->K, "tuning", err));
    TN_TRY(tn_tensor_new(&g->B, c->dev, f->B.dtype, g->tb ? g->N : g->K, g->tb ? g->K : g->N, "tuning", err));
    TN_TRY(tn_tensor_new(&g->C, c->dev, f->C.dtype, g->M, g->N, "tuning", err));
    TN_TRY(tn_tensor_random(c->dev, &g->A, err));
    return tn_tensor_random(c->dev, &g->B, err);
}

static void gemm_release(void *copy, tn_ctx *c)
{
    tn_gemm_args *g = copy;
    tn_tensor_free(c->dev, &g->C);
    tn_tensor_free(c->dev, &g->B);
    tn_tensor_free(c->dev, &g->A);
}

const tn_variant_op tn_gemm_op = {
    .name = "gemm",
    .rows = rows,
    .n = TN_COUNT(rows),
    .key = gemm_key,
    .kind = gemm_kind,
    .make = gemm_make,
    .release = gemm_release,
    .args_size = sizeof(tn_gemm_args),
    .work = gemm_work,
    .shrink = gemm_shrink,
};

int tn_gemm_sum(tn_ctx *c, const tn_tensor *P, int splits, const tn_gemm_args *g, tn_error *err)
{
    char opts[64];
    snprintf(opts, sizeof opts, "-DCT=%d -DBIAS=%d", (int)g->C.dtype, g->bias != NULL);
    tn_arg args[] = {TN_BUF(P->mem), TN_INT(splits), TN_BUF(g->C.mem), TN_UINT(g->C.off), TN_INT(g->C.ld),
                     TN_INT(g->M),   TN_INT(g->N),   TN_FLT(g->alpha), TN_FLT(g->beta),   TN_BUF(g->bias ? g->bias : P->mem)};
    size_t n = (size_t)g->M * (size_t)g->N, l = 64;
    return tn_op_run(c, "portable/gemm.cl", "gemm_sum", opts, args, TN_COUNT(args), 1, &n, &l, err);
}

int tn_gemm(tn_ctx *c, bool ta, bool tb, float alpha, tn_tensor A, tn_tensor B, float beta, tn_tensor C, cl_mem bias, tn_error *err)
{
    tn_gemm_args g = {
        .ta = ta, .tb = tb, .alpha = alpha, .beta = beta, .A = A, .B = B, .C = C, .M = C.rows, .N = C.cols, .bias = bias};
    g.K = ta ? A.rows : A.cols;
    int am = ta ? A.cols : A.rows, bk = tb ? B.cols : B.rows, bn = tb ? B.rows : B.cols;
    if (am != g.M || bk != g.K || bn != g.N)
        return tn_fail(err, TN_ERR_ARGUMENT, "gemm: [%d,%d] x [%d,%d] does not make [%d,%d]", am, g.K, bk, bn, g.M, g.N);
    if (!g.M || !g.N) return 0;
    return tn_variant_run(c, &tn_gemm_op, &g, err);
}

int tn_gemm_run(tn_ctx *c, const tn_gemm_args *g, tn_error *err)
{
    return tn_gemm(c, g->ta, g->tb, g->alpha, g->A, g->B, g->beta, g->C, g->e.bias, err);
}
