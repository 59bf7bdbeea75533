#include "gemm.h"

#include <stdio.h>

typedef struct {
    int wg, tile, splits, chunk, batch;
} portable_shape;

static portable_shape portable_choose(const tn_ctx *c, const tn_gemm_args *g)
{
    const size_t most = c->dev->info.max_work_group;
    const int wg = most >= 256 ? 16 : most >= 64 ? 8 : 4;
    portable_shape s = {.wg = wg, .tile = wg * 4, .splits = 1, .batch = TN_MAX(1, g->batch)};
    const long long tiles = (long long)TN_CEIL_DIV(g->M, s.tile) * TN_CEIL_DIV(g->N, s.tile) * s.batch;
    const long long want = 4ll * c->dev->info.compute_units;
    const int least = 8 * s.tile; /* of K in a part */
    if (g->K >= 4 * least && tiles < want) s.splits = (int)TN_MIN(want / tiles + 1, g->K / least);
    s.chunk = TN_MAX(16, TN_ROUND_UP(TN_CEIL_DIV(g->K, s.splits), 16));
    s.splits = TN_MAX(1, TN_CEIL_DIV(g->K, s.chunk));
    return s;
}

/* A tile of C takes its columns of A2 from one part. */
static bool portable_fuses(const tn_gemm_args *g, const portable_shape *s)
{
    return !g->e.parts || (g->alpha != 0 && (tn_gemm_part(&g->e, g->N) == g->N || tn_gemm_part(&g->e, g->N) % s->tile == 0));
}

static void portable_options(tn_gemm_build *b, const tn_gemm_args *g, const portable_shape *s)
{
    tn_gemm_option(b, "-DTA=%d -DTB=%d -DAT=%d -DBT=%d -DWG=%d", g->ta, g->tb, (int)g->A.dtype, (int)g->B.dtype, s->wg);
    if (s->splits > 1) tn_gemm_option(b, " -DSPLIT=1");
    else tn_gemm_option(b, " -DCT=%d", (int)g->C.dtype);
    if (s->batch > 1) tn_gemm_option(b, " -DBATCH");
    if (g->e.parts) tn_gemm_option(b, " -DPAIR -DTB2=%d -DA2T=%d -DB2T=%d", g->e.tb2, (int)g->e.A2.dtype, (int)g->e.B2.dtype);
}

static void portable_pair(tn_gemm_build *b, const tn_gemm_args *g)
{
    const tn_epilogue *e = &g->e;
    const tn_arg args[] = {TN_BUF(e->A2.mem),           TN_UINT(e->A2.off), TN_INT(e->A2.ld),        TN_BUF(e->B2.mem),
                           TN_UINT(e->B2.off),          TN_INT(e->B2.ld),   TN_INT(tn_gemm_rank(e)), TN_INT(tn_gemm_part(e, g->N)),
                           TN_FLT(e->alpha2 / g->alpha)};
    for (size_t i = 0; e->parts && i < TN_COUNT(args); i++) tn_gemm_arg(b, args[i]);
}

static int portable_multiply(tn_ctx *c, const tn_gemm_args *g, const portable_shape *s, const tn_tensor *P, tn_error *err)
{
    const bool masked = g->mask_a.p > 0 || g->mask_b.p > 0 || g->e.mask.p > 0;
    tn_gemm_build b = {.n = 0};
    portable_options(&b, g, s);
    const tn_arg args[] = {TN_BUF(g->A.mem), TN_UINT(g->A.off), TN_INT(g->A.ld),  TN_BUF(g->B.mem), TN_UINT(g->B.off),
                           TN_INT(g->B.ld),  TN_BUF(P->mem),    TN_UINT(P->off),  TN_INT(P->ld),    TN_INT(g->M),
                           TN_INT(g->N),     TN_INT(g->K),      TN_INT(s->chunk), TN_FLT(g->alpha), TN_FLT(g->beta)};
    const tn_arg steps[] = {TN_INT(s->splits), TN_UINT(g->a_step), TN_UINT(g->b_step), TN_UINT(g->c_step)};
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(&b, args[i]);
    for (size_t i = 0; s->batch > 1 && i < TN_COUNT(steps); i++) tn_gemm_arg(&b, steps[i]);
    if (masked) tn_gemm_put_step(&b, c);
    tn_gemm_put_mask(&b, "MASK_A", g->mask_a, g->A.cols);
    tn_gemm_put_mask(&b, "MASK_B", g->mask_b, g->B.cols);
    portable_pair(&b, g);
    tn_gemm_put_mask(&b, "MASK_E", g->e.mask, 0);
    if (s->splits == 1) tn_gemm_put_epilogue(&b, g);
    const size_t wg = (size_t)s->wg, tile = (size_t)s->tile;
    const size_t global[] = {TN_CEIL_DIV((size_t)g->N, tile) * wg, TN_CEIL_DIV((size_t)g->M, tile) * wg,
                             (size_t)s->splits * (size_t)s->batch};
    const size_t local[] = {wg, wg, 1};
    return tn_gemm_launch(c, &b, "portable/gemm.cl", "gemm", global, local, err);
}

int tn_gemm_portable(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_gemm_args *g = args;
    if (g->e.turn.heads) return tn_gemm_turned(c, g, tn_gemm_portable, err);
    const portable_shape s = portable_choose(c, g);
    if (!portable_fuses(g, &s)) return tn_gemm_tail(c, g, tn_gemm_portable, err);
    const size_t mark = c->ws_used;
    tn_tensor P = g->C;
    if (s.splits > 1) TN_TRY(tn_ws_take(c, &P, TN_F32, s.batch * s.splits * g->M, g->N, err));
    int rc = portable_multiply(c, g, &s, &P, err);
    if (!rc && s.splits > 1) rc = tn_gemm_sum(c, &P, s.splits, g, NULL, err);
    c->ws_used = mark;
    return rc;
}
