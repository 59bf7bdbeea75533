#include "gemm.h"

#include <stdio.h>

int tn_gemm_portable(tn_ctx *c, const void *args_, tn_error *err)
{
    const tn_gemm_args *g = args_;
    const int wg = c->dev->info.max_work_group >= 256 ? 16 : 8, tile = wg * 4;
    const long long tiles = (long long)TN_CEIL_DIV(g->M, tile) * TN_CEIL_DIV(g->N, tile);
    const long long want = 4ll * c->dev->info.compute_units;
    int splits = 1;
    if (g->K >= 2048 && tiles < want) splits = (int)TN_MIN(want / tiles + 1, g->K / 512);
    const int chunk = TN_ROUND_UP(TN_CEIL_DIV(g->K, splits), 16);
    splits = TN_CEIL_DIV(g->K, chunk);
    tn_tensor P = g->C;
    size_t mark = c->ws_used;
    if (splits > 1) TN_TRY(tn_ws_take(c, &P, TN_F32, splits * g->M, g->N, err));

    char opts[160];
    snprintf(opts, sizeof opts, "-DTA=%d -DTB=%d -DAT=%d -DBT=%d -DCT=%d -DSPLIT=%d -DBIAS=%d -DWG=%d", g->ta, g->tb,
             (int)g->A.dtype, (int)g->B.dtype, splits > 1 ? 0 : (int)g->C.dtype, splits > 1, g->bias && splits == 1, wg);
    tn_arg args[] = {TN_BUF(g->A.mem),  TN_UINT(g->A.off), TN_INT(g->A.ld), TN_BUF(g->B.mem),
                     TN_UINT(g->B.off), TN_INT(g->B.ld),   TN_BUF(P.mem),   TN_UINT(P.off),
                     TN_INT(P.ld),      TN_INT(g->M),      TN_INT(g->N),    TN_INT(g->K),
                     TN_INT(chunk),     TN_FLT(g->alpha),  TN_FLT(g->beta), TN_BUF(g->bias ? g->bias : g->A.mem)};
    size_t global[] = {TN_ROUND_UP((size_t)g->N, (size_t)tile) / 4, TN_ROUND_UP((size_t)g->M, (size_t)tile) / 4, (size_t)splits};
    size_t local[] = {(size_t)wg, (size_t)wg, 1};
    int rc = tn_op_run(c, "portable/gemm.cl", "gemm", opts, args, TN_COUNT(args), 3, global, local, err);
    if (!rc && splits > 1) rc = tn_gemm_sum(c, &P, splits, g, err);
    c->ws_used = mark;
    return rc;
}
