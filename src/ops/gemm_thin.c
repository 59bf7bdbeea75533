/* Products with few columns on NVIDIA's matrix units (cl/nvidia/thin.cl): adapters' T = x A^T and dt = dy B. */
#include "gemm_rows.h"

enum { THIN_MOST = 64, THIN_ITEMS = 128 };

typedef struct {
    int nt, wr, depth; /* tiles of 16 columns; warps along the rows; steps along K in local memory */
} thin_shape;

/* A group brings B along: where B is wide, for more rows. */
static thin_shape thin_choose(const tn_gemm_args *g)
{
    thin_shape s = {.nt = TN_CEIL_DIV(g->N, 16), .depth = 4};
    s.wr = s.nt > 2 || g->K <= 64 ? 4 : 2;
    if (s.nt > 1 && s.wr == 4) s.depth = 3; /* in 48 KiB */
    return s;
}

bool tn_gemm_thin_can(const tn_ctx *c, const void *args)
{
    const tn_gemm_args *g = args;
    tn_epilogue rest = g->e;
    (void)c;
    rest.bias = NULL;
    if (g->ta || g->N > THIN_MOST || g->K < 8 || g->K % 8 || g->beta != 0) return false;
    if (g->A.dtype == TN_F32 || g->B.dtype != g->A.dtype || (g->C.dtype != TN_F32 && g->C.dtype != g->A.dtype)) return false;
    if (g->mask_b.p > 0 || tn_gemm_has_epilogue(&rest)) return false;
    return tn_gemm_pieces(&g->A, g->a_step);
}

int tn_gemm_thin(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_gemm_args *g = args;
    const thin_shape s = thin_choose(g);
    tn_gemm_build b = {.n = 0};
    tn_gemm_option(&b, "-DACT=%d -DCT=%d -DTB=%d -DNT=%d -DWR=%d -DDEPTH=%d", (int)g->A.dtype, (int)g->C.dtype, g->tb, s.nt, s.wr,
                   s.depth);
    if (tn_gemm_pieces(&g->B, g->b_step)) tn_gemm_option(&b, " -DPIECES");
    const tn_arg first[] = {TN_BUF(g->A.mem),  TN_UINT(g->A.off),  TN_INT(g->A.ld),    TN_BUF(g->B.mem),
                            TN_UINT(g->B.off), TN_INT(g->B.ld),    TN_BUF(g->C.mem),   TN_UINT(g->C.off),
                            TN_INT(g->C.ld),   TN_INT(g->M),       TN_INT(g->N),       TN_INT(g->K),
                            TN_FLT(g->alpha),  TN_UINT(g->a_step), TN_UINT(g->b_step), TN_UINT(g->c_step)};
    for (size_t i = 0; i < TN_COUNT(first); i++) tn_gemm_arg(&b, first[i]);
    if (g->mask_a.p > 0) tn_gemm_put_step(&b, c);
    tn_gemm_put_mask(&b, "MASK_A", g->mask_a, g->A.cols);
    tn_gemm_put_bits(&b, g);
    tn_gemm_put_epilogue(&b, g);
    const size_t rows = 16 * (size_t)s.wr, tiles = TN_CEIL_DIV((size_t)g->M, rows);
    const size_t global[] = {tiles * THIN_ITEMS, (size_t)TN_MAX(1, g->batch), 1}, local[] = {THIN_ITEMS, 1, 1};
    return tn_gemm_launch(c, &b, "nvidia/thin.cl", "thin_product", global, local, err);
}
