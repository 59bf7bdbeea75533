/* Products on the matrix units of AMD's GPUs (cl/amd/gemm_matrix.cl). */
#include "gemm_rows.h"

enum { TILE = 128, WAVE_COLS = 64, WAVES = 4 }; /* as in the kernel file; WAVE_COLS: columns of a wave */

bool tn_gemm_amd_can(const tn_ctx *c, const void *args)
{
    const tn_gemm_args *g = args;
    (void)c;
    if (g->K % 8 || tn_gemm_rank(&g->e) % 8) return false; /* it reads whole 16 bytes */
    return !g->ta && g->K > 0 && tn_gemm_ends_on_matrix_unit(g) && tn_gemm_pair_fits(g, WAVE_COLS);
}

/* UNIT of cl/amd/units.h. */
static int amd_unit(const tn_ctx *c)
{
    return c->dev->caps & TN_CAP_WMMA12 ? 12 : c->dev->caps & TN_CAP_WMMA11 ? 11 : 9;
}

/* *out [N, K] is *B as the kernel wants it: where it lies [K, N], it is turned in the workspace later. */
static int amd_room(tn_ctx *c, tn_tensor *out, const tn_tensor *B, bool tb, tn_error *err)
{
    *out = *B;
    return tb ? 0 : tn_ws_take(c, out, B->dtype, B->cols, B->rows, err);
}

/* The same of B, for which quantised matrices need a place anyway. */
static int amd_room_of_b(tn_ctx *c, tn_tensor *out, const tn_gemm_args *g, tn_error *err)
{
    return g->n_q ? tn_ws_take(c, out, g->B.dtype, g->N, g->K, err) : amd_room(c, out, &g->B, g->tb, err);
}

/* By the very program that multiplies. */
static int amd_turn(tn_ctx *c, const tn_gemm_build *product, const tn_tensor *out, const tn_tensor *B, tn_error *err)
{
    tn_gemm_build b = {.n = 0};
    const tn_arg args[] = {TN_BUF(B->mem), TN_UINT(B->off), TN_INT(B->ld), TN_BUF(out->mem), TN_INT(B->cols), TN_INT(B->rows)};
    tn_gemm_option(&b, "%s", product->options);
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(&b, args[i]);
    const size_t global[] = {(size_t)B->cols, (size_t)TN_CEIL_DIV(B->rows, 8), 1}, local[] = {64, 1, 1};
    return tn_gemm_launch(c, &b, "amd/gemm_matrix.cl", "gemm_turned", global, local, err);
}

/* B as [N, K]: of a matrix that is there, or of quantised ones at once. */
static int amd_operand(tn_ctx *c, const tn_gemm_build *product, const tn_tensor *out, const tn_gemm_args *g, tn_error *err)
{
    if (g->n_q) return tn_gemm_unpack(c, g, (tn_qoperand){.turned = !g->tb}, out, err);
    return g->tb ? 0 : amd_turn(c, product, out, &g->B, err);
}

static void amd_pair(tn_gemm_build *b, const tn_gemm_args *g, const tn_tensor *L)
{
    const tn_epilogue *e = &g->e;
    const tn_arg args[] = {TN_BUF(e->A2.mem),
                           TN_UINT(e->A2.off),
                           TN_INT(e->A2.ld),
                           TN_BUF(L->mem),
                           TN_UINT(L->off),
                           TN_INT(L->ld),
                           TN_INT(tn_gemm_rank(e)),
                           TN_INT(tn_gemm_part(e, g->N)),
                           TN_FLT(e->alpha2 / g->alpha)};
    if (!e->parts) return;
    tn_gemm_option(b, " -DPAIR=%d", TN_CEIL_DIV(tn_gemm_rank(e), TN_PAIR_STEP));
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(b, args[i]);
}

static int amd_multiply(tn_ctx *c, const tn_gemm_args *g, const tn_tensor B[2], tn_error *err)
{
    const int unit = amd_unit(c);
    tn_gemm_build b = {.n = 0};
    tn_gemm_option(&b, "-DACT=%d -DUNIT=%d -DTB=%d", (int)g->A.dtype, unit, g->tb);
    const tn_arg first[] = {TN_BUF(g->A.mem), TN_UINT(g->A.off), TN_INT(g->A.ld), TN_BUF(B[0].mem), TN_UINT(B[0].off),
                            TN_INT(B[0].ld),  TN_INT(g->M),      TN_INT(g->N),    TN_INT(g->K)};
    for (size_t i = 0; i < TN_COUNT(first); i++) tn_gemm_arg(&b, first[i]);
    amd_pair(&b, g, &B[1]);
    if (g->e.mask.p > 0) tn_gemm_put_step(&b, c);
    tn_gemm_put_mask(&b, "MASK_E", g->e.mask, 0);
    tn_gemm_put_matrix_unit(&b, g);
    TN_TRY(amd_operand(c, &b, &B[0], g, err));
    if (!g->tb && g->e.parts) TN_TRY(amd_turn(c, &b, &B[1], &g->e.B2, err));
    const size_t tiles = (size_t)TN_CEIL_DIV(g->M, TILE) * (size_t)TN_CEIL_DIV(g->N, TILE), items = unit == 9 ? 64 : 32;
    const size_t global[] = {tiles * items * WAVES, 1, 1}, local[] = {items * WAVES, 1, 1};
    return tn_gemm_launch(c, &b, "amd/gemm_matrix.cl", "gemm_matrix", global, local, err);
}

int tn_gemm_amd(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_gemm_args *g = args;
    const size_t mark = c->ws_used;
    tn_tensor B[2] = {{0}, {0}};
    int rc = amd_room_of_b(c, &B[0], g, err);
    if (!rc && g->e.parts) rc = amd_room(c, &B[1], &g->e.B2, g->tb, err);
    if (!rc) rc = amd_multiply(c, g, B, err);
    c->ws_used = mark;
    return rc;
}
