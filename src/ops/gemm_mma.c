/* Products on the matrix units of NVIDIA GPUs from Ampere on (cl/nvidia/gemm_mma.cl). */
#include "gemm_rows.h"

enum { TILE = 128, GROUP_ITEMS = 128 };

bool tn_gemm_mma_can(const tn_ctx *c, const void *args)
{
    const tn_gemm_args *g = args;
    (void)c;
    if (g->K % 8 || tn_gemm_rank(&g->e) % 8) return false; /* it copies whole 16 bytes */
    return !g->ta && g->K > 0 && tn_gemm_ends_on_matrix_unit(g) && tn_gemm_pair_fits(g, TILE);
}

static void mma_pair(tn_gemm_build *b, const tn_gemm_args *g)
{
    const tn_epilogue *e = &g->e;
    const tn_arg args[] = {TN_BUF(e->A2.mem),           TN_UINT(e->A2.off), TN_INT(e->A2.ld),        TN_BUF(e->B2.mem),
                           TN_UINT(e->B2.off),          TN_INT(e->B2.ld),   TN_INT(tn_gemm_rank(e)), TN_INT(tn_gemm_part(e, g->N)),
                           TN_FLT(e->alpha2 / g->alpha)};
    if (!e->parts) return;
    tn_gemm_option(b, " -DPAIR=%d", TN_CEIL_DIV(tn_gemm_rank(e), TN_PAIR_STEP));
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(b, args[i]);
}

int tn_gemm_mma(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_gemm_args *g = args;
    tn_gemm_build b = {.n = 0};
    tn_gemm_option(&b, "-DACT=%d -DTB=%d", (int)g->A.dtype, g->tb);
    const tn_arg first[] = {TN_BUF(g->A.mem), TN_UINT(g->A.off), TN_INT(g->A.ld), TN_BUF(g->B.mem), TN_UINT(g->B.off),
                            TN_INT(g->B.ld),  TN_INT(g->M),      TN_INT(g->N),    TN_INT(g->K)};
    for (size_t i = 0; i < TN_COUNT(first); i++) tn_gemm_arg(&b, first[i]);
    mma_pair(&b, g);
    if (g->e.mask.p > 0) tn_gemm_put_step(&b, c);
    tn_gemm_put_mask(&b, "MASK_E", g->e.mask, 0);
    tn_gemm_put_norm(&b, &g->e.norm);
    tn_gemm_put_matrix_unit(&b, g);
    const size_t tiles = (size_t)TN_CEIL_DIV(g->M, TILE) * (size_t)TN_CEIL_DIV(g->N, TILE);
    const size_t global[] = {tiles * GROUP_ITEMS, 1, 1}, local[] = {GROUP_ITEMS, 1, 1};
    return tn_gemm_launch(c, &b, "nvidia/gemm_mma.cl", "gemm_mma", global, local, err);
}
