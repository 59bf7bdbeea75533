/* Products over a long K on the tiles of CPU devices (cl/cpu/gemm_amx_grad.cl): gradients of weights and adapters. */
#include "cpu.h"
#include "gemm_rows.h"

/* Tiles of a block of C and of K in scratch, which stay in a core's cache. A part of K shorter than LEAST_ROWS is not worth its
 * sum. */
enum { DEPTH = 8, TALL = 8, WIDE = 16, STEP = 32, LEAST_ROWS = 128, LEAST_ITEMS = 4 };

/* C, or its transpose, is left^T right. */
typedef struct {
    const tn_tensor *left, *right;
    tn_mask left_mask, right_mask;
    size_t left_step, right_step;
    int left_cols, right_cols;
    bool turned;
    int tall, wide, down, across, batch, rows, splits;
} grad_shape;

bool tn_gemm_amx_grad_can(const tn_gemm_args *g)
{
    return !g->tb && !g->e.parts && !g->e.turn.heads;
}

float tn_gemm_amx_alpha(const tn_gemm_args *g)
{
    return g->alpha / ((1 - TN_MAX(g->mask_a.p, 0.0f)) * (1 - TN_MAX(g->mask_b.p, 0.0f)));
}

static void grad_sides(grad_shape *s, const tn_gemm_args *g)
{
    s->turned = g->M > g->N;
    s->left = s->turned ? &g->B : &g->A, s->right = s->turned ? &g->A : &g->B;
    s->left_mask = s->turned ? g->mask_b : g->mask_a, s->right_mask = s->turned ? g->mask_a : g->mask_b;
    s->left_step = s->turned ? g->b_step : g->a_step, s->right_step = s->turned ? g->a_step : g->b_step;
    s->left_cols = TN_MIN(g->M, g->N), s->right_cols = TN_MAX(g->M, g->N);
}

static grad_shape grad_choose(const tn_ctx *c, const tn_gemm_args *g)
{
    grad_shape s = {.batch = TN_MAX(1, g->batch)};
    grad_sides(&s, g);
    s.tall = TN_MIN(TALL, 2 * TN_CEIL_DIV(s.left_cols, 2 * TN_TILE_ROWS));
    s.wide = TN_MIN(WIDE, 2 * TN_CEIL_DIV(s.right_cols, 2 * TN_TILE_ROWS));
    s.down = TN_CEIL_DIV(s.left_cols, s.tall * TN_TILE_ROWS);
    s.across = TN_CEIL_DIV(s.right_cols, s.wide * TN_TILE_ROWS);
    const long long blocks = (long long)s.down * s.across * s.batch, want = LEAST_ITEMS * (long long)c->dev->info.compute_units;
    const int splits = (int)TN_MIN(TN_CEIL_DIV(want, blocks), TN_CEIL_DIV(g->K, LEAST_ROWS));
    s.rows = TN_ROUND_UP(TN_CEIL_DIV(g->K, TN_MAX(1, splits)), STEP);
    s.splits = TN_CEIL_DIV(g->K, s.rows);
    return s;
}

static int grad_parts(tn_ctx *c, const tn_gemm_args *g, const grad_shape *s, const tn_tensor *P, tn_error *err)
{
    tn_gemm_build b = {.n = 0};
    tn_arg scratch[TN_CPU_SCRATCH_ARGS];
    const int words = TN_TILE_ROWS + TN_TILE_WORDS * (s->tall * s->wide + DEPTH * (s->tall + s->wide));
    TN_TRY(tn_cpu_scratch(c, (size_t)words, scratch, err));
    const tn_arg args[] = {TN_BUF(s->right->mem), TN_UINT(s->right->off), TN_INT(s->right->ld), TN_BUF(s->left->mem),
                           TN_UINT(s->left->off), TN_INT(s->left->ld),    TN_BUF(P->mem),       TN_INT(s->left_cols),
                           TN_INT(s->right_cols), TN_INT(g->K),           TN_INT(s->rows),      TN_INT(s->splits),
                           TN_INT(s->tall),       TN_INT(s->wide),        TN_INT(s->turned),    TN_UINT(s->left_step),
                           TN_UINT(s->right_step)};
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(&b, args[i]);
    if (s->left_mask.p > 0 || s->right_mask.p > 0) tn_gemm_put_step(&b, c);
    tn_gemm_put_mask(&b, "MASK_A", s->left_mask, s->left->cols);
    tn_gemm_put_mask(&b, "MASK_B", s->right_mask, s->right->cols);
    tn_gemm_put_aligned(&b, tn_gemm_mask_cols(s->left_mask, s->left->cols) | tn_gemm_mask_cols(s->right_mask, s->right->cols));
    for (size_t i = 0; i < TN_COUNT(scratch); i++) tn_gemm_arg(&b, scratch[i]);
    const size_t global[] = {(size_t)s->across, (size_t)s->down, (size_t)s->splits * (size_t)s->batch}, local[] = {1, 1, 1};
    return tn_gemm_launch(c, &b, "cpu/gemm_amx_grad.cl", "gemm_amx_grad", global, local, err);
}

int tn_gemm_amx_grad(tn_ctx *c, const tn_gemm_args *g, tn_error *err)
{
    const grad_shape s = grad_choose(c, g);
    const size_t mark = c->ws_used;
    tn_gemm_args end = *g;
    tn_tensor P;
    end.alpha = tn_gemm_amx_alpha(g);
    TN_TRY(tn_ws_take(c, &P, TN_F32, s.batch * s.splits * g->M, g->N, err));
    int rc = grad_parts(c, g, &s, &P, err);
    if (!rc) rc = tn_gemm_sum(c, &P, s.splits, &end, NULL, err);
    c->ws_used = mark;
    return rc;
}
