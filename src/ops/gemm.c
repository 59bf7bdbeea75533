#include "wgmma.h"

#include <stdio.h>

static const tn_variant gemm_rows[] = {
    {.name = "wgmma", .needs = TN_CAP_NV_WGMMA, .can = tn_gemm_wgmma_can, .run = tn_gemm_wgmma, .tunables = tn_gemm_wgmma_tunables},
    {.name = "mma", .needs = TN_CAP_NV_MMA80, .can = tn_gemm_mma_can, .run = tn_gemm_mma},
    {.name = "dpas",
     .any = TN_CAP_DPAS8 | TN_CAP_DPAS16,
     .can = tn_gemm_dpas_can,
     .run = tn_gemm_dpas,
     .takes_quantised = true,
     .apart = true},
    {.name = "mfma",
     .any = TN_CAP_MFMA90A | TN_CAP_MFMA942,
     .can = tn_gemm_amd_can,
     .run = tn_gemm_amd,
     .takes_quantised = true,
     .apart = true},
    {.name = "wmma",
     .any = TN_CAP_WMMA11 | TN_CAP_WMMA12,
     .can = tn_gemm_amd_can,
     .run = tn_gemm_amd,
     .takes_quantised = true,
     .apart = true},
    {.name = "amx", .needs = TN_CAP_VECTORS | TN_CAP_AMX_BF16, .can = tn_gemm_amx_can, .run = tn_gemm_amx},
    {.name = "amx-parts", .needs = TN_CAP_VECTORS | TN_CAP_AMX_BF16, .can = tn_gemm_amx_parts_can, .run = tn_gemm_amx},
    {.name = "dot", .needs = TN_CAP_VECTORS | TN_CAP_AVX512_BF16, .can = tn_gemm_dot_can, .run = tn_gemm_dot},
    {.name = "native", .needs = TN_CAP_VECTORS, .run = tn_gemm_native},
    {.name = "thin", .needs = TN_CAP_NV_MMA80, .can = tn_gemm_thin_can, .run = tn_gemm_thin},
    {.name = "thin-grad", .needs = TN_CAP_NV_MMA80, .can = tn_gemm_thin_grad_can, .run = tn_gemm_thin_grad},
    {.name = "outer", .can = tn_gemm_outer_can, .run = tn_gemm_outer},
    {.name = "row", .can = tn_gemm_row_can, .run = tn_gemm_row},
    {.name = "small", .can = tn_gemm_small_can, .run = tn_gemm_small},
    {.name = "clblast", .can = tn_gemm_clblast_can, .run = tn_gemm_clblast, .not_on_cpus = true},
    {.name = "portable", .run = tn_gemm_portable, .not_on_cpus = true},
};

const tn_variant_op tn_gemm_op = TN_GEMM_OPERATION("gemm", gemm_rows);

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

static int gemm_turn(const tn_gemm_args *g, tn_error *err)
{
    const tn_turn *t = &g->e.turn;
    const int tokens = t->table.rows + t->skip, other = g->e.has_act || g->e.pre.rows || g->e.slope.rows || g->e.residual.rows;
    if (!t->heads) return 0;
    if (g->N == 3 * t->heads * t->table.cols && g->M == t->batch * tokens && !other && !g->e.scale && g->beta == 0 && !g->C.off &&
        g->C.ld == g->N)
        return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "gemm: a product that is turned is q, k and v of %d heads of %d, and %d x %d tokens",
                   t->heads, t->table.cols, t->batch, tokens);
}

static bool is_whole(const tn_tensor *t)
{
    return !t->off && t->ld == t->cols;
}

/* Sums of a matrix's rows, whose tensor they are; whole: and so are they. */
static int gemm_sums(const char *what, const tn_tensor *sums, const tn_tensor *of, tn_error *err)
{
    if (!sums->rows) return 0;
    if (!tn_sums_fit(of, sums))
        return tn_fail(err, TN_ERR_ARGUMENT, "gemm: [%d,%d] are no sums of %s [%d,%d]", sums->rows, sums->cols, what, of->rows,
                       of->cols);
    if (is_whole(of) && is_whole(sums) && sums->dtype == TN_F32) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "gemm: sums of %s in parts of a tensor", what);
}

static int gemm_normed(const tn_gemm_args *g, tn_error *err)
{
    const tn_epilogue *e = &g->e;
    TN_TRY(gemm_sums("A", &e->norm.sums, &g->A, err));
    TN_TRY(gemm_sums("C", &e->sums, &g->C, err));
    if (!e->norm.sums.rows || (!g->ta && !e->parts && g->mask_a.p <= 0 && e->norm.columns)) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "gemm: a norm in front of a product that is not of A [M,K] alone");
}

static int gemm_epilogue(const tn_gemm_args *g, tn_error *err)
{
    const tn_epilogue *e = &g->e;
    TN_TRY(gemm_turn(g, err));
    TN_TRY(gemm_normed(g, err));
    if (e->has_act && e->slope.rows) return tn_fail(err, TN_ERR_ARGUMENT, "gemm: either an activation or its slope, not both");
    if (e->pre_slope && !e->has_act) return tn_fail(err, TN_ERR_ARGUMENT, "gemm: the slope of an activation that is not there");
    if (e->pre.rows) TN_TRY(gemm_view("pre", &e->pre, g->M, g->N, err));
    if (e->slope.rows) TN_TRY(gemm_view("slope", &e->slope, g->M, g->N, err));
    if (e->residual.rows) TN_TRY(gemm_view("residual", &e->residual, g->M, g->N, err));
    TN_TRY(gemm_mask("A", g->mask_a, err));
    TN_TRY(gemm_mask("B", g->mask_b, err));
    TN_TRY(gemm_mask("the second pair", e->mask, err));
    return gemm_pair(g, err);
}

int tn_gemm_check(tn_gemm_args *out, const tn_gemm_args *g, tn_error *err)
{
    *out = *g;
    out->any = tn_gemm_run;
    if (g->mask_b.p > 0 || g->batch > 1) out->keep = NULL; /* another B in each use, or several */
    out->M = g->C.rows;
    out->N = g->C.cols;
    out->K = g->ta ? g->A.rows : g->A.cols;
    const int am = g->ta ? g->A.cols : g->A.rows, bk = g->tb ? g->B.cols : g->B.rows, bn = g->tb ? g->B.rows : g->B.cols;
    if (am != out->M || bk != out->K || bn != out->N)
        return tn_fail(err, TN_ERR_ARGUMENT, "gemm: [%d,%d] x [%d,%d] does not make [%d,%d]", am, out->K, bk, bn, out->M, out->N);
    TN_TRY(gemm_view("A", &g->A, g->A.rows, g->A.cols, err));
    TN_TRY(gemm_view("B", &g->B, g->B.rows, g->B.cols, err));
    TN_TRY(gemm_view("C", &g->C, g->C.rows, g->C.cols, err));
    if (g->batch > 1 && (tn_gemm_masked(g) || tn_gemm_has_epilogue(&g->e)))
        return tn_fail(err, TN_ERR_ARGUMENT, "gemm: a batch of products has no epilogue and no dropout");
    if (g->batch > 1 && (g->a_step > UINT32_MAX || g->b_step > UINT32_MAX || g->c_step > UINT32_MAX))
        return tn_fail(err, TN_ERR_ARGUMENT, "gemm: products of a batch lie more than %u elements apart", UINT32_MAX);
    return gemm_epilogue(out, err);
}

/* ---- a quantised right operand ---- */

void tn_gemm_quantised(tn_gemm_args *g, const tn_qtensor *const *q, int n)
{
    g->n_q = n;
    g->B = tn_view(NULL, g->A.dtype, 0, q[0]->s.cols);
    for (int i = 0; i < n; i++) g->q[i] = *q[i], g->B.rows += q[i]->s.rows;
}

static int gemm_unpacked(tn_ctx *c, const tn_choice *k, const tn_gemm_args *g, const tn_qtensor *const *q, tn_error *err)
{
    tn_gemm_args dense = *g;
    dense.n_q = 0;
    TN_TRY(tn_ws_take(c, &dense.B, g->B.dtype, g->B.rows, g->B.cols, err));
    TN_TRY(tn_unpack_parts(c, q, g->n_q, &dense.B, err));
    return tn_variant_run_row(c, &tn_gemm_op, k, &dense, err);
}

/* The row is chosen as for a matrix that is there: only how it gets its operand is another way. */
static int gemm_quantised(tn_ctx *c, const tn_gemm_args *g, tn_error *err)
{
    const tn_qtensor *const q[TN_UNPACK_PARTS] = {&g->q[0], &g->q[1], &g->q[2]};
    const size_t mark = c->ws_used;
    tn_gemm_args like = *g;
    tn_choice k;
    like.n_q = 0;
    TN_TRY(tn_variant_pick(&k, c, &tn_gemm_op, &like, err));
    const bool takes = tn_gemm_op.rows[k.row].takes_quantised && tn_qoperand_can(q, g->n_q);
    const int rc = takes ? tn_variant_run_row(c, &tn_gemm_op, &k, g, err) : gemm_unpacked(c, &k, g, q, err);
    c->ws_used = mark;
    return rc;
}

int tn_gemm_run(tn_ctx *c, const tn_gemm_args *g, tn_error *err)
{
    tn_gemm_args all;
    TN_TRY(tn_gemm_check(&all, g, err));
    if (!all.M || !all.N) return 0;
    if (tn_gemm_masked(&all)) TN_TRY(tn_ctx_step_ready(c, err));
    if (tn_gemm_is_normed(&all)) return tn_variant_run(c, &tn_gemm_normed_op, &all, err);
    return all.n_q ? gemm_quantised(c, &all, err) : tn_variant_run(c, &tn_gemm_op, &all, err);
}
