/* Gradients of adapters, several at once. */
#include "grads.h"
#include "selftest.h"
#include "selftest_product.h"

#include <stdlib.h>

#define ERR (t->err)

/* thin_a: C [M, N] += A^T B with the thin A; else the thin one is B. */
typedef struct {
    bool thin_a;
    int thin, wide, more; /* more: columns of the wide operand's rows that are not of the product */
} grads_case;

static const grads_case grads_cases[] = {
    {true, 48, 136, 0}, {true, 16, 264, 8}, {false, 16, 392, 8}, {false, 8, 72, 0}, {true, 24, 128, 0},
};

typedef struct {
    tn_tensor *C;
    float *want;
} grads_result;

static int grads_one(tn_trial *t, const grads_case *k, int K, float p, tn_gemm_args *g, grads_result *r)
{
    tn_tensor *thin, *wide;
    float *thin_v, *wide_v, *c;
    const int M = k->thin_a ? k->thin : k->wide, N = k->thin_a ? k->wide : k->thin, ld = k->wide + k->more;
    TN_TRY(tn_trial_in(t, t->act, K, k->thin, &thin, &thin_v));
    TN_TRY(tn_trial_in(t, t->act, K, ld, &wide, &wide_v));
    TN_TRY(tn_trial_in(t, TN_F32, M, N, &r->C, &c));
    r->want = tn_trial_copy(t, c, (size_t)M * (size_t)N);
    if (!r->want) return tn_oom(ERR);
    const tn_tensor part = tn_cols(*wide, 0, k->wide);
    tn_gemm_args a = {
        .ta = true, .alpha = 0.5f, .beta = 1, .A = k->thin_a ? *thin : part, .B = k->thin_a ? part : *thin, .C = *r->C};
    if (k->thin_a && !k->more) a.mask_b = (tn_mask){p, 5};
    TN_TRY(tn_gemm_check(g, &a, ERR));
    if (t->c->dry) return 0;
    tn_product_drop(wide_v, K, ld, ld, a.mask_b);
    tn_ref_gemm(&(tn_ref_product){.ta = true,
                                  .M = M,
                                  .N = N,
                                  .K = K,
                                  .alpha = 0.5,
                                  .beta = 1,
                                  .A = k->thin_a ? thin_v : wide_v,
                                  .lda = k->thin_a ? k->thin : ld,
                                  .B = k->thin_a ? wide_v : thin_v,
                                  .ldb = k->thin_a ? ld : k->thin,
                                  .ldc = N},
                r->want);
    return 0;
}

static int grads_all(tn_trial *t, float p)
{
    enum { CASES = TN_COUNT(grads_cases) };
    const int K = (const int[]){13, 300, 4100}[t->size], mark = t->n;
    grads_result r[CASES];
    tn_grads *l = calloc(1, sizeof *l);
    if (!l) return tn_oom(ERR);
    int rc = 0;
    for (; !rc && l->n < CASES; l->n++) rc = grads_one(t, &grads_cases[l->n], K, p, &l->g[l->n], &r[l->n]);
    const bool wanted = !rc && tn_trial_wants(t, &tn_grads_op, l);
    if (wanted) rc = tn_variant_run(t->c, &tn_grads_op, l, ERR);
    for (int i = 0; !rc && wanted && i < CASES; i++) rc = tn_trial_compare(t, r[i].C, r[i].want);
    free(l);
    tn_trial_rewind(t, mark);
    return rc;
}

static int grads(tn_trial *t)
{
    TN_TRY(grads_all(t, 0));
    return grads_all(t, 0.3f);
}

const tn_case tn_cases_grads[] = {
    {"gradients at once", grads, false, {&tn_grads_op}},
    {0},
};
