/* The CPU devices' product: packed panels, registers only (cl/cpu/gemm.cl). */
#include "cpu.h"
#include "gemm_rows.h"

#include <stdio.h>

enum { A_BLOCK_BYTES = 384 * 1024, K_SPLIT = 2048, FEW_ROWS = 16, DIRECT_ROWS = 128, HEAD = 64 };

typedef struct {
    int mr, nrv, nr, splits, chunk, batch;
    bool direct; /* B is used where it lies */
    bool dot;    /* in pairs of bfloat16 */
} native_shape;

/* A packed (or direct) right-hand matrix: panels of nr columns. */
typedef struct {
    tn_tensor P;
    size_t panel, step; /* elements from panel to panel, from product to product; pairs count as one */
    int row;            /* and from k (or pair) to the next */
} native_panels;

/* A gradient of a thin matrix: B is read once for all rows. */
static bool has_few_rows(const tn_gemm_args *g)
{
    return g->ta && !g->tb && g->M <= FEW_ROWS && g->N % 16 == 0;
}

void tn_gemm_block(const tn_ctx *c, int N, int *mr, int *nrv)
{
    const bool wide = tn_cpu_wide(c->dev);
    *mr = 6, *nrv = wide ? 4 : 1;
    if (wide && N <= 48) *mr = 8, *nrv = 3;
    if (wide && N <= 32) *mr = 12, *nrv = 2;
    if (wide && N <= 16) *mr = 16, *nrv = 1;
}

static native_shape native_choose(const tn_ctx *c, const tn_gemm_args *g, bool dot)
{
    native_shape s = {.splits = 1, .batch = TN_MAX(1, g->batch), .dot = dot};
    tn_gemm_block(c, has_few_rows(g) ? 16 : g->N, &s.mr, &s.nrv);
    s.nr = 16 * s.nrv;
    const long long items = (long long)TN_CEIL_DIV(g->M, s.mr) * TN_CEIL_DIV(g->N, s.nr) * s.batch;
    if (g->K >= 2 * K_SPLIT && (items < 16ll * c->dev->info.compute_units || g->ta))
        s.splits = TN_MIN(TN_CEIL_DIV(g->K, K_SPLIT), 64);
    s.chunk = TN_MAX(2, TN_ROUND_UP(TN_CEIL_DIV(g->K, s.splits), 2));
    s.splits = TN_MAX(1, TN_CEIL_DIV(g->K, s.chunk));
    s.direct = !dot && !g->tb && g->N % s.nr == 0 && (s.mr == FEW_ROWS || (g->M <= DIRECT_ROWS && g->mask_b.p <= 0));
    return s;
}

/* A head of q or k is a panel. */
static bool native_turns(const tn_gemm_args *g, const native_shape *s)
{
    return s->nr == HEAD && g->e.turn.table.cols == HEAD && s->splits == 1;
}

/* A panel takes its columns of A2 from one part; masks of a transposed A are not vectors, and are of the whole sum. */
static bool native_fuses(const tn_gemm_args *g, const native_shape *s)
{
    if (g->mask_a.p > 0 && (g->ta || g->e.parts)) return false;
    return !g->e.parts || (g->alpha != 0 && (tn_gemm_part(&g->e, g->N) == g->N || tn_gemm_part(&g->e, g->N) % s->nr == 0));
}

/* B as it lies in the arguments of the product: g's own, or the second pair's. */
typedef struct {
    tn_tensor B;
    bool tb;
    int K, batch;
    size_t step;
    tn_mask mask;
    tn_packed *keep;
} native_source;

static int native_pack_to(tn_ctx *c, const native_panels *out, const native_source *b, int N, const native_shape *s, bool dot,
                          tn_error *err)
{
    const int panels = TN_CEIL_DIV(N, s->nr), each = dot ? 32 : 16; /* along K, an item */
    tn_gemm_build k = {.n = 0};
    tn_gemm_option(&k, "-DTB=%d -DBT=%d -DNRV=%d%s", b->tb, (int)b->B.dtype, s->nrv, dot ? " -DDOT" : "");
    const tn_arg args[] = {TN_BUF(b->B.mem),   TN_UINT(b->B.off), TN_INT(b->B.ld), TN_UINT(b->step),
                           TN_BUF(out->P.mem), TN_INT(N),         TN_INT(b->K),    TN_INT(panels)};
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(&k, args[i]);
    if (b->mask.p > 0) tn_gemm_put_step(&k, c);
    tn_gemm_put_mask(&k, "MASK_B", b->mask, b->B.cols);
    tn_gemm_put_aligned(&k, tn_gemm_mask_cols(b->mask, b->B.cols));
    const size_t global[] = {(size_t)TN_CEIL_DIV(b->K, each), (size_t)panels, (size_t)b->batch}, local[] = {1, 1, 1};
    return tn_gemm_launch(c, &k, "cpu/gemm_pack.cl", "gemm_pack", global, local, err);
}

static int native_pack(tn_ctx *c, native_panels *out, const native_source *b, int N, const native_shape *s, bool dot, tn_error *err)
{
    const int panels = TN_CEIL_DIV(N, s->nr), rows = dot ? b->K / 2 : b->K;
    tn_packing p;
    char form[48];
    snprintf(form, sizeof form, "%s %d %d %dx%d", dot ? "dot" : "native", s->nr, b->tb, N, b->K);
    out->P = tn_view(NULL, TN_F32, b->batch * panels * s->nr, rows);
    out->row = s->nr;
    out->panel = (size_t)rows * (size_t)s->nr;
    out->step = out->panel * (size_t)panels;
    TN_TRY(tn_packing_begin(&p, c, b->keep, form, &b->B, &out->P, err));
    return tn_packing_end(&p, c, p.needed ? native_pack_to(c, out, b, N, s, dot, err) : 0);
}

int tn_gemm_panels(tn_ctx *c, tn_tensor *P, const tn_tensor *B, int nrv, bool dot, tn_error *err)
{
    const native_shape s = {.nrv = nrv, .nr = 16 * nrv, .batch = 1};
    native_panels p;
    TN_TRY(native_pack(c, &p, &(native_source){*B, true, B->cols, 1, 0, {0, 0}, NULL}, B->rows, &s, dot, err));
    *P = p.P;
    return 0;
}

static native_panels native_direct(const tn_tensor *B, int nr, size_t step)
{
    return (native_panels){.P = *B, .panel = (size_t)nr, .step = step, .row = B->ld};
}

static void native_options(tn_gemm_build *b, const tn_gemm_args *g, const native_shape *s)
{
    tn_gemm_option(b, "-DTA=%d -DAT=%d -DMR=%d -DNRV=%d", g->ta, (int)g->A.dtype, s->mr, s->nrv);
    if (s->splits > 1) tn_gemm_option(b, " -DSPLIT=1");
    else tn_gemm_option(b, " -DCT=%d", (int)g->C.dtype);
    if (s->dot) tn_gemm_option(b, " -DDOT");
    if (s->direct) tn_gemm_option(b, " -DDIRECT -DBT=%d", (int)g->B.dtype);
    if (s->batch > 1) tn_gemm_option(b, " -DBATCH");
    if (g->e.parts) tn_gemm_option(b, " -DPAIR -DTB2=%d -DA2T=%d", g->e.tb2, (int)g->e.A2.dtype);
}

static void native_masks(tn_gemm_build *b, tn_ctx *c, const tn_gemm_args *g, const native_shape *s)
{
    const bool mask_b = s->direct && g->mask_b.p > 0;
    if (g->mask_a.p > 0 || mask_b || g->e.mask.p > 0) tn_gemm_put_step(b, c);
    tn_gemm_put_mask(b, "MASK_A", g->mask_a, g->A.cols);
    if (mask_b) tn_gemm_put_mask(b, "MASK_B", g->mask_b, g->B.cols);
    tn_gemm_put_aligned(b, tn_gemm_mask_cols(g->mask_a, g->A.cols) | (mask_b ? g->B.cols : 0) | tn_gemm_mask_cols(g->e.mask, g->N));
}

static void native_pair(tn_gemm_build *b, const tn_gemm_args *g, const native_panels *p)
{
    const tn_epilogue *e = &g->e;
    const tn_arg args[] = {TN_BUF(e->A2.mem),
                           TN_UINT(e->A2.off),
                           TN_INT(e->A2.ld),
                           TN_BUF(p->P.mem),
                           TN_UINT(p->panel),
                           TN_INT(p->row),
                           TN_UINT(p->P.off),
                           TN_INT(tn_gemm_rank(e)),
                           TN_INT(tn_gemm_part(e, g->N)),
                           TN_FLT(e->alpha2 / g->alpha)};
    for (size_t i = 0; e->parts && i < TN_COUNT(args); i++) tn_gemm_arg(b, args[i]);
}

static int native_multiply(tn_ctx *c, const tn_gemm_args *g, const native_shape *s, const native_panels p[2], const tn_tensor *out,
                           tn_error *err)
{
    const int rows = (int)TN_MAX((size_t)s->mr, (size_t)A_BLOCK_BYTES / ((size_t)s->chunk * tn_dtype_size(g->A.dtype)));
    const int blocks = TN_CEIL_DIV(g->M, s->mr), outers = TN_CEIL_DIV(blocks, TN_CEIL_DIV(rows, s->mr));
    const int inner = TN_CEIL_DIV(blocks, outers); /* alike: PoCL deals out items by their number, whether they are empty or not */
    tn_gemm_build b = {.n = 0};
    native_options(&b, g, s);
    const tn_arg args[] = {TN_BUF(g->A.mem),    TN_UINT(g->A.off), TN_INT(g->A.ld),  TN_BUF(p[0].P.mem), TN_UINT(p[0].P.off),
                           TN_UINT(p[0].panel), TN_INT(p[0].row),  TN_BUF(out->mem), TN_UINT(out->off),  TN_INT(out->ld),
                           TN_INT(g->M),        TN_INT(g->N),      TN_INT(g->K),     TN_INT(s->chunk),   TN_INT(inner),
                           TN_INT(outers),      TN_FLT(g->alpha),  TN_FLT(g->beta)};
    const tn_arg steps[] = {TN_INT(s->splits), TN_UINT(g->a_step), TN_UINT(p[0].step), TN_UINT(g->c_step)};
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(&b, args[i]);
    for (size_t i = 0; s->batch > 1 && i < TN_COUNT(steps); i++) tn_gemm_arg(&b, steps[i]);
    native_masks(&b, c, g, s);
    native_pair(&b, g, &p[1]);
    tn_gemm_put_mask(&b, "MASK_E", g->e.mask, 0);
    tn_gemm_put_turn(&b, &g->e.turn);
    if (s->splits == 1) tn_gemm_put_epilogue(&b, g);
    const size_t global[] = {(size_t)inner, (size_t)TN_CEIL_DIV(g->N, s->nr),
                             (size_t)outers * (size_t)s->splits * (size_t)s->batch},
                 local[] = {1, 1, 1};
    return tn_gemm_launch(c, &b, "cpu/gemm.cl", "gemm_panel", global, local, err);
}

static int native_prepare(tn_ctx *c, const tn_gemm_args *g, const native_shape *s, native_panels p[2], tn_error *err)
{
    const tn_epilogue *e = &g->e;
    const native_source first = {g->B, g->tb, g->K, s->batch, g->b_step, g->mask_b, g->keep};
    const native_source second = {e->B2, e->tb2, e->parts ? tn_gemm_rank(e) : 0, 1, 0, {0, 0}, NULL};
    if (s->direct) p[0] = native_direct(&g->B, s->nr, g->b_step);
    else TN_TRY(native_pack(c, &p[0], &first, g->N, s, s->dot, err));
    if (!e->parts) return 0;
    if (!e->tb2 && e->B2.dtype == TN_F32 && g->N % s->nr == 0) p[1] = native_direct(&e->B2, s->nr, 0);
    else TN_TRY(native_pack(c, &p[1], &second, g->N, s, false, err));
    return 0;
}

static int native_run(tn_ctx *c, const tn_gemm_args *g, bool dot, int (*itself)(tn_ctx *, const void *, tn_error *), tn_error *err)
{
    const native_shape s = native_choose(c, g, dot);
    if (g->e.turn.heads && !native_turns(g, &s)) return tn_gemm_turned(c, g, itself, err);
    if (!native_fuses(g, &s)) return tn_gemm_tail(c, g, itself, err);
    const size_t mark = c->ws_used;
    native_panels p[2] = {{.row = 0}, {.row = 0}};
    tn_tensor out = g->C;
    int rc = native_prepare(c, g, &s, p, err);
    if (!rc && s.splits > 1) rc = tn_ws_take(c, &out, TN_F32, s.batch * s.splits * g->M, g->N, err);
    if (!rc) rc = native_multiply(c, g, &s, p, &out, err);
    if (!rc && s.splits > 1) rc = tn_gemm_sum(c, &out, s.splits, g, NULL, err);
    c->ws_used = mark;
    return rc;
}

int tn_gemm_native(tn_ctx *c, const void *args, tn_error *err)
{
    return native_run(c, args, false, tn_gemm_native, err);
}

static bool multiplies_pairs(const tn_gemm_args *g)
{
    return g->A.dtype == TN_BF16 && g->B.dtype == TN_BF16 && !g->ta && g->K % 2 == 0 && g->mask_b.p <= 0;
}

bool tn_gemm_dot_can(const tn_ctx *c, const void *args)
{
    (void)c;
    return multiplies_pairs(args);
}

/* A tail may hand over a float32 copy of A. */
int tn_gemm_dot(tn_ctx *c, const void *args, tn_error *err)
{
    return native_run(c, args, multiplies_pairs(args), tn_gemm_dot, err);
}
