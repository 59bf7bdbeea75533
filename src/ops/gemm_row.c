/* One row of a product whose K is long (cl/gpu/gemm_row.cl). */
#include "gemm_rows.h"

enum { ROW_ITEMS = 256, LEAST_ROWS = 512 };

bool tn_gemm_row_can(const tn_ctx *c, const void *args)
{
    const tn_gemm_args *g = args;
    const int vw = tn_run_width(c, g->B.dtype, g->N);
    if (c->dev->info.max_work_group < ROW_ITEMS) return false;
    if (!g->ta || g->tb || g->M != 1 || g->batch > 1 || tn_gemm_masked(g)) return false;
    return !tn_gemm_has_epilogue(&g->e) && vw > 1 && g->N / vw <= ROW_ITEMS && g->B.off % (size_t)vw == 0 && g->B.ld % vw == 0;
}

int tn_gemm_row(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_gemm_args *g = args;
    const int vw = tn_run_width(c, g->B.dtype, g->N), groups = 4 * (int)c->dev->info.compute_units;
    const int chunk = TN_MAX((int)LEAST_ROWS, TN_CEIL_DIV(g->K, groups)), splits = TN_MAX(1, TN_CEIL_DIV(g->K, chunk));
    const size_t mark = c->ws_used, global[] = {(size_t)splits * ROW_ITEMS, 1, 1}, local[] = {ROW_ITEMS, 1, 1};
    tn_tensor P;
    tn_gemm_build b = {.n = 0};
    TN_TRY(tn_ws_take(c, &P, TN_F32, splits, g->N, err));
    tn_gemm_option(&b, "-DVW=%d -DLANES=%d -DAT=%d -DBT=%d", vw, g->N / vw, (int)g->A.dtype, (int)g->B.dtype);
    const tn_arg list[] = {TN_BUF(g->A.mem), TN_UINT(g->A.off), TN_INT(g->A.ld), TN_BUF(g->B.mem), TN_UINT(g->B.off),
                           TN_INT(g->B.ld),  TN_BUF(P.mem),     TN_INT(g->K),    TN_INT(chunk)};
    for (size_t i = 0; i < TN_COUNT(list); i++) tn_gemm_arg(&b, list[i]);
    int rc = tn_gemm_launch(c, &b, "gpu/gemm_row.cl", "gemm_row", global, local, err);
    if (!rc) rc = tn_gemm_sum(c, &P, splits, g, NULL, err);
    c->ws_used = mark;
    return rc;
}
