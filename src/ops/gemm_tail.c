/* The end of a product for rows that cannot do it themselves. */
#include "gemm.h"

bool tn_gemm_has_epilogue(const tn_epilogue *e)
{
    return e->bias || e->pre.rows || e->has_act || e->slope.rows || e->scale || e->residual.rows || e->parts || e->turn.heads ||
           e->norm.sums.rows || e->sums.rows;
}

bool tn_gemm_masked(const tn_gemm_args *g)
{
    return g->mask_a.p > 0 || g->mask_b.p > 0 || g->e.mask.p > 0;
}

bool tn_gemm_is_plain(const tn_gemm_args *g)
{
    return g->batch <= 1 && !tn_gemm_masked(g) && !tn_gemm_has_epilogue(&g->e);
}

int tn_gemm_turned(tn_ctx *c, const tn_gemm_args *g, int (*run)(tn_ctx *, const void *, tn_error *), tn_error *err)
{
    const tn_turn t = g->e.turn;
    tn_gemm_args plain = *g;
    plain.e.turn = (tn_turn){.heads = 0};
    TN_TRY(run(c, &plain, err));
    return tn_rope(c, &plain.C, &t.table, t.batch, t.heads, t.skip, 1, err);
}

static bool tail_view_whole(const tn_tensor *t, int vw)
{
    return !t->rows || (t->off % (size_t)vw == 0 && t->ld % vw == 0);
}

/* Do all of a product's matrices begin, and all of their rows, at multiples of vw elements (common.h's WHOLE)? */
static bool tail_whole(const tn_gemm_args *g, int vw)
{
    const tn_epilogue *e = &g->e;
    return g->c_step % (size_t)vw == 0 && tail_view_whole(&g->C, vw) && tail_view_whole(&e->pre, vw) &&
           tail_view_whole(&e->slope, vw) && tail_view_whole(&e->residual, vw);
}

/* Elements an item ends. Many parts are of a small matrix, which on a GPU must make items enough to hide memory. */
static int tail_width(const tn_ctx *c, const tn_gemm_args *g, int splits)
{
    enum { FEW = 1 << 16 };
    const int wide = tn_run_width(c, g->C.dtype, g->N);
    if (c->dev->info.type != TN_DEVICE_CPU && splits > 1) return (long long)g->M * g->N < FEW ? 1 : tn_vec_width(c, g->N);
    return tail_whole(g, wide) ? wide : tn_vec_width(c, g->N);
}

int tn_gemm_sum(tn_ctx *c, const tn_tensor *P, int splits, const tn_gemm_args *g, const tn_tensor *pair, tn_error *err)
{
    const int vw = tail_width(c, g, splits);
    tn_gemm_build b = {.n = 0};
    tn_gemm_option(&b, "-DVW=%d -DWHOLE=%d -DCT=%d%s", vw, tail_whole(g, vw), (int)g->C.dtype, pair ? " -DPAIR" : "");
    const tn_arg args[] = {TN_BUF(P->mem),     TN_INT(splits), TN_BUF(g->C.mem), TN_UINT(g->C.off), TN_INT(g->C.ld),
                           TN_UINT(g->c_step), TN_INT(g->M),   TN_INT(g->N),     TN_FLT(g->alpha),  TN_FLT(g->beta)};
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(&b, args[i]);
    if (pair && g->e.mask.p > 0) tn_gemm_put_step(&b, c);
    if (pair) tn_gemm_arg(&b, TN_BUF(pair->mem));
    if (pair) tn_gemm_put_mask(&b, "MASK_E", g->e.mask, 0);
    tn_gemm_put_epilogue(&b, g);
    const size_t items = TN_ROUND_UP((size_t)g->M * (size_t)g->N / (size_t)vw, (size_t)64);
    const size_t global[] = {items, (size_t)TN_MAX(1, g->batch), 1}, local[] = {64, 1, 1};
    return tn_gemm_launch(c, &b, "portable/gemm_sum.cl", "gemm_sum", global, local, err);
}

/* *t becomes a dense float32 copy with its dropout. */
static int tail_masked(tn_ctx *c, tn_tensor *t, tn_mask *m, tn_error *err)
{
    if (m->p <= 0) return 0;
    const tn_tensor x = *t;
    const size_t n = tn_tensor_count(&x), global[] = {TN_ROUND_UP(n, (size_t)64), 1, 1}, local[] = {64, 1, 1};
    tn_gemm_build b = {.n = 0};
    TN_TRY(tn_ws_take(c, t, TN_F32, x.rows, x.cols, err));
    tn_gemm_option(&b, "-DVW=1 -DAT=%d", (int)x.dtype);
    const tn_arg args[] = {TN_BUF(x.mem),
                           TN_UINT(x.off),
                           TN_INT(x.ld),
                           TN_BUF(t->mem),
                           TN_INT(x.cols),
                           TN_UINT(n),
                           TN_BUF(c->constants),
                           TN_UINT(m->salt),
                           TN_UINT(tn_drop_threshold(m->p)),
                           TN_FLT(1.0f / (1.0f - m->p))};
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(&b, args[i]);
    m->p = 0;
    return tn_gemm_launch(c, &b, "portable/gemm_sum.cl", "gemm_masked", global, local, err);
}

static int tail_batch(tn_ctx *c, const tn_gemm_args *g, int (*run)(tn_ctx *, const void *, tn_error *), tn_error *err)
{
    for (int i = 0; i < g->batch; i++) {
        tn_gemm_args one = *g;
        one.batch = 0;
        one.A.off += (size_t)i * g->a_step;
        one.B.off += (size_t)i * g->b_step;
        one.C.off += (size_t)i * g->c_step;
        TN_TRY(run(c, &one, err));
    }
    return 0;
}

/* out [M, N] (float32) = beta out + the second pair's product, part by part. */
static int tail_pair(tn_ctx *c, const tn_gemm_args *g, float beta, const tn_tensor *out, tn_error *err)
{
    const tn_epilogue *e = &g->e;
    const int parts = e->tb2 ? e->parts : 1, r = tn_gemm_rank(e), n = g->N / parts;
    for (int p = 0; p < parts; p++) {
        const tn_gemm_args part = {.tb = e->tb2,
                                   .alpha = e->alpha2,
                                   .beta = beta,
                                   .A = tn_cols(e->A2, p * r, r),
                                   .B = e->tb2 ? tn_rows(e->B2, p * n, n) : e->B2,
                                   .C = tn_cols(*out, p * n, n)};
        TN_TRY(g->any(c, &part, err));
    }
    return 0;
}

/* May the product be written where C lies and be finished there? */
static bool tail_in_place(const tn_gemm_args *g)
{
    const tn_epilogue *e = &g->e;
    return g->C.dtype == TN_F32 && g->C.off == 0 && g->C.ld == g->N && g->beta == 0 &&
           !(e->slope.rows && e->slope.mem == g->C.mem) && !(e->residual.rows && e->residual.mem == g->C.mem);
}

static int tail_one(tn_ctx *c, tn_gemm_args *g, int (*run)(tn_ctx *, const void *, tn_error *), tn_error *err)
{
    TN_TRY(tail_masked(c, &g->A, &g->mask_a, err));
    TN_TRY(tail_masked(c, &g->B, &g->mask_b, err));
    if (tn_gemm_is_plain(g) && g->C.dtype == TN_F32) return run(c, g, err);
    tn_tensor P = g->C, pair;
    if (!tail_in_place(g)) TN_TRY(tn_ws_take(c, &P, TN_F32, g->M, g->N, err));
    tn_gemm_args plain = *g;
    plain.C = P;
    plain.beta = 0;
    plain.e = (tn_epilogue){.bias = NULL};
    TN_TRY(run(c, &plain, err));
    const bool masked = g->e.mask.p > 0;
    if (masked) TN_TRY(tn_ws_take(c, &pair, TN_F32, g->M, g->N, err));
    if (g->e.parts) TN_TRY(tail_pair(c, g, masked ? 0 : 1, masked ? &pair : &P, err));
    g->alpha = 1;
    return tn_gemm_sum(c, &P, 1, g, masked ? &pair : NULL, err);
}

int tn_gemm_tail(tn_ctx *c, const tn_gemm_args *g, int (*run)(tn_ctx *, const void *, tn_error *), tn_error *err)
{
    const size_t mark = c->ws_used;
    tn_gemm_args own = *g;
    const int rc = g->batch > 1 ? tail_batch(c, g, run, err) : tail_one(c, &own, run, err);
    c->ws_used = mark;
    return rc;
}
