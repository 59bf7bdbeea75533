/* The CPU devices' product: packed panels, registers only (cl/cpu/gemm.cl). */
#include "gemm.h"

#include <stdio.h>

enum { A_BLOCK_BYTES = 384 * 1024, K_SPLIT = 2048 };

typedef struct {
    int mr, nrv, splits, chunk;
    bool direct; /* B is used where it lies */
    char opts[192];
} shape;

static shape choose(const tn_ctx *c, const tn_gemm_args *g)
{
    const bool wide = c->dev->info.float_width >= 16;
    shape s = {.mr = 6, .nrv = wide ? 4 : 1, .splits = 1};
    if (wide && g->N <= 32) s.mr = 12, s.nrv = g->N <= 16 ? 1 : 2;
    const long long items = (long long)TN_CEIL_DIV(g->M, s.mr) * TN_CEIL_DIV(g->N, 16 * s.nrv);
    if (g->K >= 2 * K_SPLIT && (items < 16ll * c->dev->info.compute_units || g->ta))
        s.splits = TN_MIN(TN_CEIL_DIV(g->K, K_SPLIT), 64);
    s.chunk = TN_CEIL_DIV(g->K, s.splits);
    s.splits = TN_CEIL_DIV(g->K, s.chunk);
    s.direct = !g->tb && g->B.dtype == TN_F32 && g->N % (16 * s.nrv) == 0 && g->M <= 128;
    snprintf(s.opts, sizeof s.opts, "-DTA=%d -DTB=%d -DAT=%d -DBT=%d -DCT=%d -DSPLIT=%d -DBIAS=%d -DMR=%d -DNRV=%d", g->ta, g->tb,
             (int)g->A.dtype, (int)g->B.dtype, s.splits > 1 ? 0 : (int)g->C.dtype, s.splits > 1, g->bias && s.splits == 1, s.mr,
             s.nrv);
    return s;
}

static int pack(tn_ctx *c, const tn_gemm_args *g, const shape *s, tn_tensor *P, tn_error *err)
{
    const int nr = 16 * s->nrv, panels = TN_CEIL_DIV(g->N, nr);
    TN_TRY(tn_ws_take(c, P, TN_F32, panels * nr, g->K, err));
    tn_arg args[] = {TN_BUF(g->B.mem), TN_UINT(g->B.off), TN_INT(g->B.ld), TN_BUF(P->mem), TN_INT(g->N), TN_INT(g->K)};
    size_t global[] = {(size_t)TN_CEIL_DIV(g->K, 16), (size_t)panels}, local[] = {1, 1};
    return tn_op_run(c, "cpu/gemm.cl", "gemm_pack", s->opts, args, TN_COUNT(args), 2, global, local, err);
}

static int multiply(tn_ctx *c, const tn_gemm_args *g, const shape *s, const tn_tensor *P, tn_error *err)
{
    const int nr = 16 * s->nrv;
    const int row = s->direct ? g->B.ld : nr;
    const size_t panel = s->direct ? (size_t)nr : (size_t)g->K * (size_t)nr;
    tn_tensor out = g->C;
    if (s->splits > 1) TN_TRY(tn_ws_take(c, &out, TN_F32, s->splits * g->M, g->N, err));
    int rows = (int)TN_MAX((size_t)s->mr, (size_t)A_BLOCK_BYTES / ((size_t)s->chunk * tn_dtype_size(g->A.dtype)));
    const int inner = TN_MIN(TN_CEIL_DIV(rows, s->mr), TN_CEIL_DIV(g->M, s->mr));
    const int outers = TN_CEIL_DIV(g->M, inner * s->mr);
    tn_arg args[] = {TN_BUF(g->A.mem),
                     TN_UINT(g->A.off),
                     TN_INT(g->A.ld),
                     TN_BUF(P->mem),
                     TN_UINT(s->direct ? g->B.off : 0),
                     TN_UINT(panel),
                     TN_INT(row),
                     TN_BUF(out.mem),
                     TN_UINT(out.off),
                     TN_INT(out.ld),
                     TN_INT(g->M),
                     TN_INT(g->N),
                     TN_INT(g->K),
                     TN_INT(s->chunk),
                     TN_INT(outers),
                     TN_FLT(g->alpha),
                     TN_FLT(g->beta),
                     TN_BUF(g->bias ? g->bias : g->A.mem)};
    size_t global[] = {(size_t)inner, (size_t)TN_CEIL_DIV(g->N, nr), (size_t)outers * (size_t)s->splits};
    size_t local[] = {1, 1, 1};
    TN_TRY(tn_op_run(c, "cpu/gemm.cl", "gemm_panel", s->opts, args, TN_COUNT(args), 3, global, local, err));
    return s->splits > 1 ? tn_gemm_sum(c, &out, s->splits, g, err) : 0;
}

int tn_gemm_native(tn_ctx *c, const void *args_, tn_error *err)
{
    const tn_gemm_args *g = args_;
    shape s = choose(c, g);
    size_t mark = c->ws_used;
    tn_tensor P = g->B;
    int rc = s.direct ? 0 : pack(c, g, &s, &P, err);
    if (!rc) rc = multiply(c, g, &s, &P, err);
    c->ws_used = mark;
    return rc;
}
