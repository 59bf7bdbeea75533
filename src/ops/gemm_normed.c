/* Products that take a layer norm in, or leave sums for one behind: by kernels that do both, or in up to three steps. */
#include "wgmma.h"

bool tn_gemm_is_normed(const tn_gemm_args *g)
{
    return g->e.norm.sums.rows || g->e.sums.rows;
}

static int normed_apart(tn_ctx *c, const void *args, tn_error *err)
{
    tn_gemm_args g = *(const tn_gemm_args *)args;
    const tn_normed norm = g.e.norm;
    const tn_tensor sums = g.e.sums, x = g.A;
    const size_t mark = c->ws_used;
    g.e.norm = (tn_normed){.columns = NULL};
    g.e.sums.rows = 0;
    if (norm.sums.rows) TN_TRY(tn_ws_take(c, &g.A, x.dtype, x.rows, x.cols, err));
    int rc = norm.sums.rows ? tn_row_norm(c, &x, &norm.sums, norm.eps, &g.A, err) : 0;
    if (!rc) rc = g.any(c, &g, err);
    if (!rc && sums.rows) rc = tn_row_sums(c, &g.C, &sums, err);
    c->ws_used = mark;
    return rc;
}

static const tn_variant normed_rows[] = {
    {.name = "wgmma", .needs = TN_CAP_NV_WGMMA, .can = tn_gemm_wgmma_can, .run = tn_gemm_wgmma, .tunables = tn_gemm_wgmma_tunables},
    {.name = "mma", .needs = TN_CAP_NV_MMA80, .can = tn_gemm_mma_can, .run = tn_gemm_mma},
    {.name = "apart", .run = normed_apart},
};

const tn_variant_op tn_gemm_normed_op = TN_GEMM_OPERATION("gemm-normed", normed_rows);
