/* Products over a long K on NVIDIA's matrix units (cl/nvidia/thin_grad.cl): gradients of adapters and of a decoder's weights. */
#include "gemm_rows.h"

enum { GRAD_ITEMS = 128, GRAD_STEP = 32, GRAD_LEAST = 4 * GRAD_STEP, GRAD_WAVES = 2 };

/* A tile is wm * mi * 16 rows and wn * ni * 8 columns of C; a part of the sum takes `rows` rows of A and B. */
typedef struct {
    int mi, ni, wm, wn, tiles_m, tiles_n, batch, rows, splits;
} grad_shape;

/* The thin side fits its tile to 16; two groups fit a multiprocessor, and all run at once. */
static grad_shape grad_choose(const tn_ctx *c, const tn_gemm_args *g)
{
    const bool tall = g->N <= 64 && g->M > g->N;
    grad_shape s = {.mi = 2, .ni = 4, .wm = tall ? 4 : 1, .wn = tall ? 1 : 4, .batch = TN_MAX(1, g->batch)};
    if (tall) s.ni = 2 * TN_CEIL_DIV(g->N, 16);
    else s.mi = TN_MIN(4, TN_CEIL_DIV(g->M, 16));
    s.tiles_m = TN_CEIL_DIV(g->M, s.wm * s.mi * 16);
    s.tiles_n = TN_CEIL_DIV(g->N, s.wn * s.ni * 8);
    const long long tiles = (long long)s.tiles_m * s.tiles_n * s.batch, groups = GRAD_WAVES * (long long)c->dev->info.compute_units;
    const int splits = (int)TN_MIN(TN_MAX(groups / tiles, 1), TN_CEIL_DIV(g->K, GRAD_LEAST));
    s.rows = TN_ROUND_UP(TN_CEIL_DIV(g->K, splits), GRAD_STEP);
    s.splits = TN_CEIL_DIV(g->K, s.rows);
    return s;
}

bool tn_gemm_thin_grad_can(const tn_ctx *c, const void *args)
{
    const tn_gemm_args *g = args;
    tn_epilogue rest = g->e;
    (void)c;
    rest.bias = NULL;
    if (!g->ta || g->tb || g->K < 1 || g->A.dtype == TN_F32 || g->B.dtype != g->A.dtype) return false;
    if (g->mask_a.p > 0 || (g->mask_b.p > 0 && g->B.cols % 2) || tn_gemm_has_epilogue(&rest))
        return false; /* masks come in pairs */
    return tn_gemm_pieces(&g->A, g->a_step) && tn_gemm_pieces(&g->B, g->b_step);
}

static int grad_parts(tn_ctx *c, const tn_gemm_args *g, const grad_shape *s, const tn_tensor *P, tn_error *err)
{
    tn_gemm_build b = {.n = 0};
    tn_gemm_option(&b, "-DACT=%d -DMI=%d -DNI=%d -DWM=%d -DWN=%d", (int)g->A.dtype, s->mi, s->ni, s->wm, s->wn);
    const tn_arg args[] = {TN_BUF(g->A.mem), TN_UINT(g->A.off), TN_INT(g->A.ld),    TN_BUF(g->B.mem),  TN_UINT(g->B.off),
                           TN_INT(g->B.ld),  TN_BUF(P->mem),    TN_INT(g->M),       TN_INT(g->N),      TN_INT(g->K),
                           TN_INT(s->rows),  TN_INT(s->splits), TN_UINT(g->a_step), TN_UINT(g->b_step)};
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(&b, args[i]);
    if (g->mask_b.p > 0) tn_gemm_put_step(&b, c);
    tn_gemm_put_mask(&b, "MASK_B", g->mask_b, g->B.cols);
    const size_t global[] = {(size_t)s->tiles_n * GRAD_ITEMS, (size_t)s->tiles_m, (size_t)s->batch * (size_t)s->splits};
    const size_t local[] = {GRAD_ITEMS, 1, 1};
    return tn_gemm_launch(c, &b, "nvidia/thin_grad.cl", "thin_grad", global, local, err);
}

int tn_gemm_thin_grad(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_gemm_args *g = args;
    const grad_shape s = grad_choose(c, g);
    const size_t mark = c->ws_used;
    tn_tensor P;
    TN_TRY(tn_ws_take(c, &P, TN_F32, s.batch * s.splits * g->M, g->N, err));
    int rc = grad_parts(c, g, &s, &P, err);
    if (!rc) rc = tn_gemm_sum(c, &P, s.splits, g, NULL, err);
    c->ws_used = mark;
    return rc;
}
