#include "gemm.h"

#include <stdio.h>

static const tn_variant gemm_rows[] = {
    {.name = "native", .needs = TN_CAP_CPU, .run = tn_gemm_native},
    {.name = "clblast", .can = tn_gemm_clblast_can, .run = tn_gemm_clblast, .slow_to_build = true},
    {.name = "portable", .run = tn_gemm_portable},
};

const tn_variant_op tn_gemm_op = {
    .name = "gemm",
    .rows = gemm_rows,
    .n = TN_COUNT(gemm_rows),
    .key = tn_gemm_key,
    .kind = tn_gemm_kind,
    .make = tn_gemm_make,
    .release = tn_gemm_release,
    .args_size = sizeof(tn_gemm_args),
    .work = tn_gemm_work,
    .shrink = tn_gemm_shrink,
};

/* ---- what may be asked for ---- */

static int gemm_view(const char *what, const tn_tensor *t, int rows, int cols, tn_error *err)
{
    if (t->rows != rows || t->cols != cols)
        return tn_fail(err, TN_ERR_ARGUMENT, "gemm: %s is [%d,%d] where [%d,%d] fits", what, t->rows, t->cols, rows, cols);
    if (t->ld < t->cols)
        return tn_fail(err, TN_ERR_ARGUMENT, "gemm: rows of %s begin %d elements apart, less than its %d columns", what, t->ld,
                       cols);
    if (t->dtype != TN_F32 && t->dtype != TN_BF16 && t->dtype != TN_F16)
        return tn_fail(err, TN_ERR_ARGUMENT, "gemm: %s is stored as %s, which is no storage type of a product", what,
                       tn_dtype_name(t->dtype));
    if (t->off > UINT32_MAX) return tn_fail(err, TN_ERR_ARGUMENT, "gemm: %s begins beyond %u elements", what, UINT32_MAX);
    return 0;
}

static int gemm_mask(const char *what, tn_mask m, tn_error *err)
{
    if (m.p >= 0 && m.p < 1) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "gemm: dropout of %s with probability %g, which is not in [0, 1)", what, (double)m.p);
}

static int gemm_pair(const tn_gemm_args *g, tn_error *err)
{
    const tn_epilogue *e = &g->e;
    if (!e->parts) return e->mask.p > 0 ? tn_fail(err, TN_ERR_ARGUMENT, "gemm: dropout of a second pair that is not there") : 0;
    if (e->parts < 0 || g->N % e->parts)
        return tn_fail(err, TN_ERR_ARGUMENT, "gemm: %d columns do not divide into %d parts", g->N, e->parts);
    const int r = tn_gemm_rank(e);
    TN_TRY(gemm_view("A2", &e->A2, g->M, e->tb2 ? e->parts * r : r, err));
    return gemm_view("B2", &e->B2, e->tb2 ? g->N : r, e->tb2 ? r : g->N, err);
}

static int gemm_epilogue(const tn_gemm_args *g, tn_error *err)
{
    const tn_epilogue *e = &g->e;
    if (e->has_act && e->slope.rows) return tn_fail(err, TN_ERR_ARGUMENT, "gemm: either an activation or its slope, not both");
    if (e->pre.rows) TN_TRY(gemm_view("pre", &e->pre, g->M, g->N, err));
    if (e->slope.rows) TN_TRY(gemm_view("slope", &e->slope, g->M, g->N, err));
    if (e->residual.rows) TN_TRY(gemm_view("residual", &e->residual, g->M, g->N, err));
    TN_TRY(gemm_mask("A", g->mask_a, err));
    TN_TRY(gemm_mask("B", g->mask_b, err));
    TN_TRY(gemm_mask("the second pair", e->mask, err));
    return gemm_pair(g, err);
}

static bool gemm_has_epilogue(const tn_epilogue *e)
{
    return e->bias || e->pre.rows || e->has_act || e->slope.rows || e->scale || e->residual.rows || e->parts;
}

static bool gemm_masked(const tn_gemm_args *g)
{
    return g->mask_a.p > 0 || g->mask_b.p > 0 || g->e.mask.p > 0;
}

bool tn_gemm_is_plain(const tn_gemm_args *g)
{
    return g->batch <= 1 && !gemm_masked(g) && !gemm_has_epilogue(&g->e);
}

int tn_gemm_check(tn_gemm_args *out, const tn_gemm_args *g, tn_error *err)
{
    *out = *g;
    out->M = g->C.rows;
    out->N = g->C.cols;
    out->K = g->ta ? g->A.rows : g->A.cols;
    const int am = g->ta ? g->A.cols : g->A.rows, bk = g->tb ? g->B.cols : g->B.rows, bn = g->tb ? g->B.rows : g->B.cols;
    if (am != out->M || bk != out->K || bn != out->N)
        return tn_fail(err, TN_ERR_ARGUMENT, "gemm: [%d,%d] x [%d,%d] does not make [%d,%d]", am, out->K, bk, bn, out->M, out->N);
    TN_TRY(gemm_view("A", &g->A, g->A.rows, g->A.cols, err));
    TN_TRY(gemm_view("B", &g->B, g->B.rows, g->B.cols, err));
    TN_TRY(gemm_view("C", &g->C, g->C.rows, g->C.cols, err));
    if (g->batch > 1 && (gemm_masked(g) || gemm_has_epilogue(&g->e)))
        return tn_fail(err, TN_ERR_ARGUMENT, "gemm: a batch of products has no epilogue and no dropout");
    if (g->batch > 1 && (g->a_step > UINT32_MAX || g->b_step > UINT32_MAX || g->c_step > UINT32_MAX))
        return tn_fail(err, TN_ERR_ARGUMENT, "gemm: products of a batch lie more than %u elements apart", UINT32_MAX);
    return gemm_epilogue(out, err);
}

int tn_gemm_run(tn_ctx *c, const tn_gemm_args *g, tn_error *err)
{
    tn_gemm_args all;
    TN_TRY(tn_gemm_check(&all, g, err));
    if (!all.M || !all.N) return 0;
    if (gemm_masked(&all)) TN_TRY(tn_ctx_step_ready(c, err));
    return tn_variant_run(c, &tn_gemm_op, &all, err);
}

int tn_gemm(tn_ctx *c, bool ta, bool tb, float alpha, tn_tensor A, tn_tensor B, float beta, tn_tensor C, tn_buffer *bias,
            tn_error *err)
{
    const tn_gemm_args g = {.ta = ta, .tb = tb, .alpha = alpha, .beta = beta, .A = A, .B = B, .C = C, .e.bias = bias};
    return tn_gemm_run(c, &g, err);
}

/* ---- the tail ---- */

int tn_gemm_sum(tn_ctx *c, const tn_tensor *P, int splits, const tn_gemm_args *g, const tn_tensor *pair, tn_error *err)
{
    const int vw = tn_vec_width(c, g->N);
    tn_gemm_build b = {.n = 0};
    tn_gemm_option(&b, "-DVW=%d -DCT=%d%s", vw, (int)g->C.dtype, pair ? " -DPAIR" : "");
    const tn_arg args[] = {TN_BUF(P->mem),     TN_INT(splits), TN_BUF(g->C.mem), TN_UINT(g->C.off), TN_INT(g->C.ld),
                           TN_UINT(g->c_step), TN_INT(g->M),   TN_INT(g->N),     TN_FLT(g->alpha),  TN_FLT(g->beta)};
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(&b, args[i]);
    if (pair && g->e.mask.p > 0) tn_gemm_put_step(&b, c);
    if (pair) tn_gemm_arg(&b, TN_BUF(pair->mem));
    if (pair) tn_gemm_put_mask(&b, "MASK_E", g->e.mask, 0);
    tn_gemm_put_epilogue(&b, g);
    const size_t items = TN_ROUND_UP((size_t)g->M * (size_t)g->N / (size_t)vw, (size_t)64);
    const size_t global[] = {items, (size_t)TN_MAX(1, g->batch), 1}, local[] = {64, 1, 1};
    return tn_gemm_launch(c, &b, "portable/gemm_sum.cl", "gemm_sum", global, local, err);
}

/* *t becomes a dense float32 copy with its dropout. */
static int tail_masked(tn_ctx *c, tn_tensor *t, tn_mask *m, tn_error *err)
{
    if (m->p <= 0) return 0;
    const tn_tensor x = *t;
    const size_t n = tn_tensor_count(&x), global[] = {TN_ROUND_UP(n, (size_t)64), 1, 1}, local[] = {64, 1, 1};
    tn_gemm_build b = {.n = 0};
    TN_TRY(tn_ws_take(c, t, TN_F32, x.rows, x.cols, err));
    tn_gemm_option(&b, "-DVW=1 -DAT=%d", (int)x.dtype);
    const tn_arg args[] = {TN_BUF(x.mem),
                           TN_UINT(x.off),
                           TN_INT(x.ld),
                           TN_BUF(t->mem),
                           TN_INT(x.cols),
                           TN_UINT(n),
                           TN_BUF(c->constants),
                           TN_UINT(m->salt),
                           TN_UINT(tn_drop_threshold(m->p)),
                           TN_FLT(1.0f / (1.0f - m->p))};
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(&b, args[i]);
    m->p = 0;
    return tn_gemm_launch(c, &b, "portable/gemm_sum.cl", "gemm_masked", global, local, err);
}

static int tail_batch(tn_ctx *c, const tn_gemm_args *g, int (*run)(tn_ctx *, const void *, tn_error *), tn_error *err)
{
    for (int i = 0; i < g->batch; i++) {
        tn_gemm_args one = *g;
        one.batch = 0;
        one.A.off += (size_t)i * g->a_step;
        one.B.off += (size_t)i * g->b_step;
        one.C.off += (size_t)i * g->c_step;
        TN_TRY(run(c, &one, err));
    }
    return 0;
}

/* out [M, N] (float32) = beta out + the second pair's product, part by part. */
static int tail_pair(tn_ctx *c, const tn_gemm_args *g, float beta, const tn_tensor *out, tn_error *err)
{
    const tn_epilogue *e = &g->e;
    const int parts = e->tb2 ? e->parts : 1, r = tn_gemm_rank(e), n = g->N / parts;
    for (int p = 0; p < parts; p++) {
        const tn_gemm_args part = {.tb = e->tb2,
                                   .alpha = e->alpha2,
                                   .beta = beta,
                                   .A = tn_cols(e->A2, p * r, r),
                                   .B = e->tb2 ? tn_rows(e->B2, p * n, n) : e->B2,
                                   .C = tn_cols(*out, p * n, n)};
        TN_TRY(tn_gemm_run(c, &part, err));
    }
    return 0;
}

/* May the product be written where C lies and be finished there? */
static bool tail_in_place(const tn_gemm_args *g)
{
    const tn_epilogue *e = &g->e;
    return g->C.dtype == TN_F32 && g->C.off == 0 && g->C.ld == g->N && g->beta == 0 &&
           !(e->slope.rows && e->slope.mem == g->C.mem) && !(e->residual.rows && e->residual.mem == g->C.mem);
}

static int tail_one(tn_ctx *c, tn_gemm_args *g, int (*run)(tn_ctx *, const void *, tn_error *), tn_error *err)
{
    TN_TRY(tail_masked(c, &g->A, &g->mask_a, err));
    TN_TRY(tail_masked(c, &g->B, &g->mask_b, err));
    if (tn_gemm_is_plain(g) && g->C.dtype == TN_F32) return run(c, g, err);
    tn_tensor P = g->C, pair;
    if (!tail_in_place(g)) TN_TRY(tn_ws_take(c, &P, TN_F32, g->M, g->N, err));
    tn_gemm_args plain = *g;
    plain.C = P;
    plain.beta = 0;
    plain.e = (tn_epilogue){.bias = NULL};
    TN_TRY(run(c, &plain, err));
    const bool masked = g->e.mask.p > 0;
    if (masked) TN_TRY(tn_ws_take(c, &pair, TN_F32, g->M, g->N, err));
    if (g->e.parts) TN_TRY(tail_pair(c, g, masked ? 0 : 1, masked ? &pair : &P, err));
    g->alpha = 1;
    return tn_gemm_sum(c, &P, 1, g, masked ? &pair : NULL, err);
}

int tn_gemm_tail(tn_ctx *c, const tn_gemm_args *g, int (*run)(tn_ctx *, const void *, tn_error *), tn_error *err)
{
    const size_t mark = c->ws_used;
    tn_gemm_args own = *g;
    const int rc = g->batch > 1 ? tail_batch(c, g, run, err) : tail_one(c, &own, run, err);
    c->ws_used = mark;
    return rc;
}
