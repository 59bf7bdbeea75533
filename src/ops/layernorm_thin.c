#include "layernorm_thin.h"
#include "tuning.h"

#include <stdio.h>
#include <string.h>

/* ---- one launch (cl/nvidia/layernorm.cl) ---- */

enum { THIN_MOST = 48, MATRIX_ROWS = 16, LANES = 32, MOST_RUNS = 8 };

/* RUNS of 8 columns that a lane has of a row, at most where that is possible. */
static const int forward_runs[] = {2, 3, 4, 8, 0};
static const tn_tunable forward_tunables[] = {{"RUNS", forward_runs}, {0}};
static const int back_runs[] = {3, 2, 1, 4, 0};
static const tn_tunable back_tunables[] = {{"RUNS", back_runs}, {0}};

/* Warps that share a row: a group of more than 12 holds a multiprocessor up forward, and sums of a wide product take its local
 * memory. 0: none can. */
static int warps_of(const tn_layernorm_thin *a, int runs)
{
    const int all = a->n.x.cols / LANES, most = a->g.tb || a->g.N > MATRIX_ROWS ? 12 : 16;
    int best = 0;
    for (int w = 1; w <= most && (!best || all / best > runs); w++)
        if (all % w == 0) best = w;
    return best && all / best <= MOST_RUNS ? best : 0;
}

static bool thin_can(const tn_layernorm_thin *a)
{
    const tn_gemm_args *g = &a->g;
    if (a->n.act == TN_F32 || g->B.dtype != a->n.act || g->C.dtype != a->n.act || a->n.x.cols % LANES) return false;
    if (g->N % 8 || g->N > THIN_MOST || g->beta != 0 || g->batch > 1 || g->mask_b.p > 0 || tn_gemm_has_epilogue(&g->e))
        return false;
    return !g->C.off && g->C.ld == g->N && warps_of(a, 1);
}

static bool forward_can(const tn_ctx *c, const void *args)
{
    const tn_layernorm_thin *a = args;
    (void)c;
    return thin_can(a) && a->g.tb && tn_gemm_pieces(&a->g.B, 0);
}

static bool back_can(const tn_ctx *c, const void *args)
{
    const tn_layernorm_thin *a = args;
    (void)c;
    return thin_can(a) && !a->g.tb && a->g.mask_a.p <= 0 && a->g.B.off % 2 == 0 && a->g.B.ld % 2 == 0;
}

static int thin_launch(tn_ctx *c, const tn_layernorm_thin *a, tn_gemm_build *b, const char *entry, tn_error *err)
{
    const int warps = warps_of(a, c->tune[0]);
    const size_t items = (size_t)warps * LANES, global[] = {(size_t)TN_CEIL_DIV(a->n.x.rows, MATRIX_ROWS) * items, 1, 1},
                 local[] = {items, 1, 1};
    tn_gemm_option(b, " -DACT=%d -DCOLS=%d -DN=%d -DWARPS=%d", (int)a->n.act, a->n.x.cols, a->g.N, warps);
    return tn_gemm_launch(c, b, "nvidia/layernorm.cl", entry, global, local, err);
}

static int forward_joined(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_layernorm_thin *a = args;
    const tn_layernorm_args *n = &a->n;
    const tn_gemm_args *g = &a->g;
    tn_gemm_build b = {.n = 0};
    const tn_arg first[] = {TN_BUF(n->x.mem),     TN_BUF(n->gamma.mem), TN_BUF(n->beta.mem), TN_BUF(n->y.mem),
                            TN_BUF(n->stats.mem), TN_FLT(n->eps),       TN_INT(n->x.rows),   TN_BUF(g->B.mem),
                            TN_UINT(g->B.off),    TN_INT(g->B.ld),      TN_BUF(g->C.mem),    TN_FLT(g->alpha)};
    for (size_t i = 0; i < TN_COUNT(first); i++) tn_gemm_arg(&b, first[i]);
    if (g->mask_a.p > 0) tn_gemm_put_step(&b, c);
    tn_gemm_put_mask(&b, "MASK_A", g->mask_a, n->x.cols);
    tn_gemm_put_bits(&b, g);
    return thin_launch(c, a, &b, "ln_forward_thin", err);
}

static int back_joined(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_layernorm_thin *a = args;
    const tn_layernorm_args *n = &a->n;
    const tn_gemm_args *g = &a->g;
    tn_gemm_build b = {.n = 0};
    const tn_arg first[] = {TN_BUF(n->x.mem),  TN_BUF(n->gamma.mem), TN_BUF(n->stats.mem), TN_BUF(n->dy.mem),
                            TN_BUF(n->dx.mem), TN_INT(n->x.rows),    TN_BUF(g->B.mem),     TN_UINT(g->B.off),
                            TN_INT(g->B.ld),   TN_BUF(g->C.mem),     TN_FLT(g->alpha)};
    for (size_t i = 0; i < TN_COUNT(first); i++) tn_gemm_arg(&b, first[i]);
    tn_gemm_option(&b, " -DBACK=1");
    if (n->accumulate) tn_gemm_option(&b, " -DADDS");
    if (n->scaled.rows) {
        tn_gemm_option(&b, " -DSCALED");
        tn_gemm_arg(&b, TN_BUF(n->scale.mem));
        tn_gemm_arg(&b, TN_BUF(n->scaled.mem));
    }
    return thin_launch(c, a, &b, "ln_backward_thin", err);
}

/* ---- two ---- */

static int multiply(tn_ctx *c, const tn_layernorm_thin *a, tn_error *err)
{
    const size_t mark = c->ws_used;
    const int rc = tn_gemm_run(c, &a->g, err);
    c->ws_used = mark;
    return rc;
}

static int forward_apart(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_layernorm_thin *a = args;
    tn_tensor y = a->n.y, stats = a->n.stats;
    TN_TRY(tn_layernorm_forward(c, &a->n.x, &a->n.gamma, &a->n.beta, a->n.eps, &y, &stats, err));
    return multiply(c, a, err);
}

static int back_apart(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_layernorm_thin *a = args;
    tn_tensor dx = a->n.dx, scaled = a->n.scaled;
    const tn_layernorm_back b = {&a->n.x, &a->n.gamma, &a->n.stats, &a->n.dy, &a->n.scale, scaled.rows ? &scaled : NULL};
    TN_TRY(tn_layernorm_backward(c, &b, &dx, a->n.accumulate, err));
    return multiply(c, a, err);
}

/* ---- the operations ---- */

static void thin_kind(char *out, size_t n, const void *args)
{
    const tn_layernorm_thin *a = args;
    snprintf(out, n, "%s %d to %d%s%s%s", tn_dtype_name(a->n.act), a->n.x.cols, a->g.N,
             a->g.drawn          ? " bits"
             : a->g.mask_a.p > 0 ? " d"
                                 : "",
             a->n.accumulate ? " +" : "", a->n.scaled.rows ? " scaled" : "");
}

static void thin_key(char *out, size_t n, const void *args)
{
    const tn_layernorm_thin *a = args;
    char kind[TN_KEY];
    thin_kind(kind, sizeof kind, a);
    snprintf(out, n, "%s, %d rows", kind, a->n.x.rows);
}

static double thin_work(const void *args)
{
    const tn_layernorm_thin *a = args;
    return tn_layernorm_op.work(&a->n) + tn_gemm_work(&a->g);
}

static void thin_shrink(void *args, double most)
{
    tn_layernorm_thin *a = args;
    tn_layernorm_op.shrink(&a->n, most);
    a->g.M = a->g.A.rows = a->g.C.rows = a->n.x.rows;
}

static tn_tensor left_of(const tn_layernorm_args *n, bool back)
{
    return !back ? n->y : n->scaled.rows ? n->scaled : n->dx;
}

static int thin_make(void *copy, tn_ctx *c, const void *args, tn_error *err)
{
    tn_layernorm_thin *a = copy;
    const tn_layernorm_thin *from = args;
    a->g = from->g;
    a->g.B.mem = a->g.C.mem = NULL, a->g.bits = NULL;
    TN_TRY(tn_ctx_step_ready(c, err));
    TN_TRY(tn_layernorm_op.make(&a->n, c, &from->n, err));
    TN_TRY(tn_tensor_new(&a->g.B, c->dev, from->g.B.dtype, from->g.B.rows, from->g.B.cols, "tuning", err));
    TN_TRY(tn_tensor_random(c->dev, &a->g.B, err));
    a->g.A = left_of(&a->n, !a->g.tb);
    TN_TRY(tn_tensor_new(&a->g.C, c->dev, from->g.C.dtype, a->n.x.rows, from->g.C.cols, "tuning", err));
    return a->g.drawn ? tn_gemm_make_bits(&a->g, c, err) : 0;
}

static void thin_release(void *copy, tn_ctx *c)
{
    tn_layernorm_thin *a = copy;
    tn_tensor_free(c->dev, &a->g.B);
    tn_tensor_free(c->dev, &a->g.C);
    tn_buffer_free((tn_buffer *)a->g.bits);
    tn_layernorm_op.release(&a->n, c);
}

static const tn_variant thin_rows[] = {
    {.name = "joined", .needs = TN_CAP_NV_MMA80, .can = forward_can, .run = forward_joined, .tunables = forward_tunables},
    {.name = "apart", .run = forward_apart},
};
static const tn_variant back_rows[] = {
    {.name = "joined", .needs = TN_CAP_NV_MMA80, .can = back_can, .run = back_joined, .tunables = back_tunables},
    {.name = "apart", .run = back_apart},
};

/* NOLINTBEGIN(bugprone-macro-parentheses): an initialiser takes no parentheses */
#define THIN(op, table)                                                                                                            \
    {                                                                                                                              \
        .name = op, .rows = table, .n = TN_COUNT(table), .key = thin_key, .kind = thin_kind, .make = thin_make,                    \
        .release = thin_release, .args_size = sizeof(tn_layernorm_thin), .work = thin_work, .shrink = thin_shrink                  \
    }
/* NOLINTEND(bugprone-macro-parentheses) */
const tn_variant_op tn_layernorm_thin_op = THIN("layernorm-thin", thin_rows);
const tn_variant_op tn_layernorm_thin_back_op = THIN("layernorm-thin-back", back_rows);

static int run_thin(tn_ctx *c, const tn_variant_op *op, tn_layernorm_thin *a, const tn_gemm_args *g, tn_error *err)
{
    tn_gemm_args all = *g;
    all.A = left_of(&a->n, op == &tn_layernorm_thin_back_op);
    TN_TRY(tn_gemm_check(&a->g, &all, err));
    if (tn_gemm_masked(&a->g)) TN_TRY(tn_ctx_step_ready(c, err));
    return tn_variant_run(c, op, a, err);
}

int tn_layernorm_thin_forward(tn_ctx *c, const tn_layernorm_args *n, const tn_gemm_args *g, tn_error *err)
{
    tn_layernorm_thin a = {.n = *n};
    TN_TRY(tn_storage(&a.n.act, "layernorm", TN_LIST(&n->x, &n->y), TN_LIST(&n->gamma, &n->beta, &n->stats), err));
    return run_thin(c, &tn_layernorm_thin_op, &a, g, err);
}

int tn_layernorm_thin_backward(tn_ctx *c, const tn_layernorm_args *n, const tn_gemm_args *g, tn_error *err)
{
    tn_layernorm_thin a = {.n = *n};
    TN_TRY(tn_storage(&a.n.act, "layernorm's backward", TN_LIST(&n->x, &n->dy, &n->dx, &n->scaled),
                      TN_LIST(&n->gamma, &n->stats, &n->scale), err));
    return run_thin(c, &tn_layernorm_thin_back_op, &a, g, err);
}
