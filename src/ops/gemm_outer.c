/* Products of depth one (cl/gpu/gemm_outer.cl). */
#include "gemm_rows.h"

enum { OUTER_ITEMS = 256, SPAN = 8 };

bool tn_gemm_outer_can(const tn_ctx *c, const void *args)
{
    const tn_gemm_args *g = args;
    const int vw = tn_run_width(c, g->C.dtype, g->N);
    if (c->dev->info.type == TN_DEVICE_CPU || c->dev->info.max_work_group < OUTER_ITEMS) return false;
    const bool apart = g->tb && g->B.ld != 1 && g->N > 1;
    if (g->K != 1 || apart || g->batch > 1 || g->beta != 0 || tn_gemm_masked(g) || tn_gemm_has_epilogue(&g->e)) return false;
    return vw > 1 && g->N / vw <= OUTER_ITEMS && g->C.off % (size_t)vw == 0 && g->C.ld % vw == 0 && g->B.off % (size_t)vw == 0;
}

int tn_gemm_outer(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_gemm_args *g = args;
    const int vw = tn_run_width(c, g->C.dtype, g->N), lanes = g->N / vw, rows = OUTER_ITEMS / lanes * SPAN;
    const size_t global[] = {(size_t)TN_CEIL_DIV(g->M, rows) * OUTER_ITEMS, 1, 1}, local[] = {OUTER_ITEMS, 1, 1};
    tn_gemm_build b = {.n = 0};
    tn_gemm_option(&b, "-DVW=%d -DLANES=%d -DAT=%d -DBT=%d -DCT=%d", vw, lanes, (int)g->A.dtype, (int)g->B.dtype, (int)g->C.dtype);
    const tn_arg list[] = {TN_BUF(g->A.mem),  TN_UINT(g->A.off), TN_INT(g->ta ? 1 : g->A.ld), TN_BUF(g->B.mem),
                           TN_UINT(g->B.off), TN_BUF(g->C.mem),  TN_UINT(g->C.off),           TN_INT(g->C.ld),
                           TN_INT(g->M),      TN_FLT(g->alpha)};
    for (size_t i = 0; i < TN_COUNT(list); i++) tn_gemm_arg(&b, list[i]);
    return tn_gemm_launch(c, &b, "gpu/gemm_outer.cl", "gemm_outer", global, local, err);
}
