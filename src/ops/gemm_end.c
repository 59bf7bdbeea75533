/* The end of a product on a GPU's matrix units: one for all kernels that multiply there. */
#include "gemm_rows.h"

bool tn_gemm_fits_unit(const tn_tensor *t, tn_dtype act)
{
    return t->dtype == act && tn_gemm_pieces(t, 0);
}

bool tn_gemm_pair_fits(const tn_gemm_args *g, int tile)
{
    enum { MOST_RANK = 64 };
    const tn_epilogue *e = &g->e;
    const int r = tn_gemm_rank(e), part = tn_gemm_part(e, g->N);
    if (!e->parts) return true;
    if (e->tb2 != g->tb || r > MOST_RANK || g->alpha == 0) return false;
    if (part != g->N && (r % TN_PAIR_STEP || part % tile)) return false; /* a tile takes whole steps of one part */
    return tn_gemm_fits_unit(&e->A2, g->A.dtype) && tn_gemm_fits_unit(&e->B2, g->A.dtype);
}

tn_tensor tn_gemm_extra(const tn_gemm_args *g)
{
    const tn_epilogue *e = &g->e;
    return e->pre.rows ? e->pre : e->slope.rows ? e->slope : e->residual.rows ? e->residual : g->beta != 0 ? g->C : (tn_tensor){0};
}

bool tn_gemm_ends_on_matrix_unit(const tn_gemm_args *g)
{
    const tn_epilogue *e = &g->e;
    const tn_dtype act = g->A.dtype;
    const int extras = (e->pre.rows > 0) + (e->slope.rows > 0) + (e->residual.rows > 0) + (g->beta != 0);
    const tn_tensor extra = tn_gemm_extra(g);
    if (act != TN_BF16 && act != TN_F16) return false;
    if (g->batch > 1 || g->mask_a.p > 0 || g->mask_b.p > 0 || g->N % 8 || extras > 1) return false;
    if ((e->has_act || e->slope.rows) && e->act != TN_GELU) return false;
    if (g->beta != 0 && g->beta != 1) return false;
    if (e->turn.heads && e->turn.table.cols != 64) return false;
    return tn_gemm_fits_unit(&g->A, act) && tn_gemm_fits_unit(&g->B, act) && tn_gemm_fits_unit(&g->C, act) &&
           (!extra.rows || tn_gemm_fits_unit(&extra, act));
}

int tn_gemm_unpack(tn_ctx *c, const tn_gemm_args *g, tn_qoperand to, const tn_tensor *P, tn_error *err)
{
    const tn_qtensor *const q[TN_UNPACK_PARTS] = {&g->q[0], &g->q[1], &g->q[2]};
    return tn_unpack_operand(c, q, g->n_q, to, P, err);
}

void tn_gemm_put_norm(tn_gemm_build *b, const tn_normed *n)
{
    if (!n->sums.rows) return;
    tn_gemm_arg(b, TN_BUF(n->sums.mem));
    tn_gemm_arg(b, TN_FLT(n->eps));
}

void tn_gemm_put_matrix_unit(tn_gemm_build *b, const tn_gemm_args *g)
{
    const tn_epilogue *e = &g->e;
    const tn_tensor extra = tn_gemm_extra(g);
    const tn_arg end[] = {TN_BUF(g->C.mem), TN_UINT(g->C.off), TN_INT(g->C.ld), TN_FLT(g->alpha)};
    const tn_arg beside[] = {TN_BUF(extra.mem), TN_UINT(extra.off), TN_INT(extra.ld)};
    for (size_t i = 0; i < TN_COUNT(end); i++) tn_gemm_arg(b, end[i]);
    for (size_t i = 0; extra.rows && i < TN_COUNT(beside); i++) tn_gemm_arg(b, beside[i]);
    if (g->alpha == 1) tn_gemm_option(b, " -DALPHA_ONE");
    if (e->bias) tn_gemm_option(b, " -DBIAS"), tn_gemm_arg(b, TN_BUF(e->bias));
    if (e->scale) tn_gemm_option(b, " -DSCALE"), tn_gemm_arg(b, TN_BUF(e->scale));
    tn_gemm_put_turn(b, &e->turn);
    if (e->pre.rows) tn_gemm_option(b, e->pre_slope ? " -DPRE -DPRE_SLOPE" : " -DPRE");
    if (e->has_act) tn_gemm_option(b, " -DACTIVATE");
    if (e->slope.rows) tn_gemm_option(b, e->slope_ready ? " -DSLOPE -DREADY" : " -DSLOPE");
    if (e->residual.rows || g->beta != 0) tn_gemm_option(b, " -DRESIDUAL");
    if (e->norm.sums.rows) tn_gemm_option(b, " -DNORM=%d", g->K / TN_SUM_COLUMNS), tn_gemm_arg(b, TN_BUF(e->norm.columns));
    if (e->sums.rows) tn_gemm_option(b, " -DROW_SUMS"), tn_gemm_arg(b, TN_BUF(e->sums.mem));
}
