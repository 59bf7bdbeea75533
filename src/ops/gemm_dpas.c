/* Products on the matrix units of Intel's GPUs (cl/intel/gemm_dpas.cl). */
#include "dpas.h"
#include "gemm_rows.h"

/* As in the kernel file: a sub-group's columns, and sub-groups of a group. */
enum { BLOCK_COLS = 64, DOWN = 4, ACROSS = 2, WIDE_BYTES = 64, WIDE_COLS = WIDE_BYTES / 2 /* what 2D block reads ask of A */ };

typedef struct {
    int sg, rows, deep, steps; /* lanes; rows of a group; steps of 16 of the first and of the second pair */
    bool block_2d;
} dpas_shape;

bool tn_gemm_dpas_can(const tn_ctx *c, const void *args)
{
    const tn_gemm_args *g = args;
    (void)c;
    if (g->K % 8 || tn_gemm_rank(&g->e) % 8) return false; /* it reads pairs of words, and whole rows of 16 bytes */
    return !g->ta && g->K > 0 && tn_gemm_ends_on_matrix_unit(g) && tn_gemm_pair_fits(g, BLOCK_COLS);
}

static dpas_shape dpas_choose(const tn_ctx *c, const tn_gemm_args *g)
{
    dpas_shape s = {.sg = c->dev->caps & TN_CAP_DPAS16 ? 16 : 8, .deep = TN_CEIL_DIV(g->K, TN_PAIR_STEP)};
    s.steps = g->e.parts ? TN_CEIL_DIV(tn_gemm_rank(&g->e), TN_PAIR_STEP) : 0;
    s.block_2d = (c->dev->caps & TN_CAP_BLOCK_2D) && s.sg == 16 && g->K >= WIDE_COLS && g->A.off % WIDE_COLS == 0 &&
                 c->dev->align % WIDE_BYTES == 0;
    s.rows = (s.block_2d ? 32 : 16) * DOWN;
    return s;
}

static int dpas_room(tn_ctx *c, tn_tensor *P, tn_dtype dt, int N, int steps, const dpas_shape *s, tn_error *err)
{
    return tn_ws_take(c, P, dt, TN_CEIL_DIV(N, s->sg) * steps, TN_PAIR_STEP * s->sg, err);
}

/* A right-hand matrix in blocks, by the very program that multiplies. */
static int dpas_pack(tn_ctx *c, const tn_gemm_build *product, const tn_tensor *P, const tn_tensor *B, int N, int K, tn_error *err)
{
    tn_gemm_build b = {.n = 0};
    const tn_arg args[] = {TN_BUF(B->mem), TN_UINT(B->off), TN_INT(B->ld), TN_BUF(P->mem), TN_INT(N), TN_INT(K)};
    tn_gemm_option(&b, "%s", product->options);
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(&b, args[i]);
    const size_t global[] = {tn_tensor_count(P) / 2, 1, 1}, local[] = {64, 1, 1}; /* a word each */
    return tn_gemm_launch(c, &b, "intel/gemm_dpas.cl", "gemm_pack", global, local, err);
}

/* B in blocks: of a matrix that is there, or of quantised ones at once. */
static int dpas_operand(tn_ctx *c, const tn_gemm_build *product, const tn_tensor *P, const tn_gemm_args *g, int sg, tn_error *err)
{
    if (g->n_q) return tn_gemm_unpack(c, g, (tn_qoperand){.turned = !g->tb, .lanes = sg}, P, err);
    return dpas_pack(c, product, P, &g->B, g->N, g->K, err);
}

static void dpas_pair(tn_gemm_build *b, const tn_gemm_args *g, const tn_tensor *L, int steps)
{
    const tn_epilogue *e = &g->e;
    const tn_arg args[] = {TN_BUF(e->A2.mem),
                           TN_UINT(e->A2.off),
                           TN_INT(e->A2.ld),
                           TN_BUF(L->mem),
                           TN_INT(tn_gemm_rank(e)),
                           TN_INT(tn_gemm_part(e, g->N)),
                           TN_FLT(e->alpha2 / g->alpha)};
    if (!steps) return;
    tn_gemm_option(b, " -DPAIR=%d", steps);
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(b, args[i]);
}

static int dpas_multiply(tn_ctx *c, const tn_gemm_args *g, const dpas_shape *s, const tn_tensor P[2], tn_error *err)
{
    tn_gemm_build b = {.n = 0};
    tn_gemm_option(&b, TN_DPAS_OPTIONS " -DACT=%d -DSG=%d -DTB=%d", (int)g->A.dtype, s->sg, g->tb);
    if (s->block_2d) tn_gemm_option(&b, " -DIO2D=1");
    const tn_arg first[] = {TN_BUF(g->A.mem), TN_UINT(g->A.off), TN_INT(g->A.ld), TN_BUF(P[0].mem),
                            TN_INT(g->M),     TN_INT(g->N),      TN_INT(g->K)};
    for (size_t i = 0; i < TN_COUNT(first); i++) tn_gemm_arg(&b, first[i]);
    dpas_pair(&b, g, &P[1], s->steps);
    if (g->e.mask.p > 0) tn_gemm_put_step(&b, c);
    tn_gemm_put_mask(&b, "MASK_E", g->e.mask, 0);
    tn_gemm_put_matrix_unit(&b, g);
    TN_TRY(dpas_operand(c, &b, &P[0], g, s->sg, err));
    if (s->steps) TN_TRY(dpas_pack(c, &b, &P[1], &g->e.B2, g->N, tn_gemm_rank(&g->e), err));
    const size_t tiles = (size_t)TN_CEIL_DIV(g->M, s->rows) * (size_t)TN_CEIL_DIV(g->N, BLOCK_COLS * ACROSS);
    const size_t items = (size_t)(s->sg * DOWN * ACROSS), global[] = {tiles * items, 1, 1}, local[] = {items, 1, 1};
    return tn_gemm_launch(c, &b, "intel/gemm_dpas.cl", "gemm_dpas", global, local, err);
}

int tn_gemm_dpas(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_gemm_args *g = args;
    const dpas_shape s = dpas_choose(c, g);
    const size_t mark = c->ws_used;
    tn_tensor P[2] = {{0}, {0}};
    int rc = dpas_room(c, &P[0], g->A.dtype, g->N, s.deep, &s, err);
    if (!rc && s.steps) rc = dpas_room(c, &P[1], g->A.dtype, g->N, s.steps, &s, err);
    if (!rc) rc = dpas_multiply(c, g, &s, P, err);
    c->ws_used = mark;
    return rc;
}
