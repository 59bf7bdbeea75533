/* Float32 products that are too small to fill a GPU (cl/gpu/gemm_small.cl). */
#include "gemm_rows.h"

/* Beyond MOST products larger tiles pay, and a sum of more than LONGEST is divided among groups. */
enum { SMALL_ITEMS = 256, SMALL_TILE = 16, LONGEST = 1024, MOST = 1 << 25, SMALL_BYTES = 20480 };

bool tn_gemm_small_can(const tn_ctx *c, const void *args)
{
    const tn_gemm_args *g = args;
    const tn_device_info *d = &c->dev->info;
    if (d->type == TN_DEVICE_CPU || d->max_work_group < SMALL_ITEMS || d->local_memory < SMALL_BYTES) return false;
    if (g->A.dtype != TN_F32 || g->B.dtype != TN_F32 || g->C.dtype != TN_F32 || !tn_gemm_is_plain(g)) return false;
    return g->K > 0 && g->K <= LONGEST && (long long)g->M * g->N <= MOST / g->K;
}

int tn_gemm_small(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_gemm_args *g = args;
    const size_t global[] = {(size_t)TN_CEIL_DIV(g->N, SMALL_TILE) * SMALL_ITEMS, (size_t)TN_CEIL_DIV(g->M, SMALL_TILE), 1};
    const size_t local[] = {SMALL_ITEMS, 1, 1};
    tn_gemm_build b = {.n = 0};
    tn_gemm_option(&b, "-DTA=%d -DTB=%d", g->ta, g->tb);
    const tn_arg list[] = {TN_BUF(g->A.mem), TN_UINT(g->A.off), TN_INT(g->A.ld),   TN_BUF(g->B.mem), TN_UINT(g->B.off),
                           TN_INT(g->B.ld),  TN_BUF(g->C.mem),  TN_UINT(g->C.off), TN_INT(g->C.ld),  TN_INT(g->M),
                           TN_INT(g->N),     TN_INT(g->K),      TN_FLT(g->alpha),  TN_FLT(g->beta)};
    for (size_t i = 0; i < TN_COUNT(list); i++) tn_gemm_arg(&b, list[i]);
    return tn_gemm_launch(c, &b, "gpu/gemm_small.cl", "gemm_small", global, local, err);
}
