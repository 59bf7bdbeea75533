/* Products on the tiles of CPU devices (cl/cpu/gemm_amx.cl): of bfloat16, and of float32 in three parts of it. */
#include "cpu.h"
#include "gemm_rows.h"

#include <math.h>
#include <stdio.h>

/* As in the kernel file. ITEMS_A_THREAD: at least, so that none waits long for the last one. */
enum { WIDTH = 64, BLOCK = 32, ITEMS_A_THREAD = 4 };
/* Below LEAST a tile is mostly zeros; a band of A up to MOST_DEPTH long stays in a core's cache, and a longer one than LONG is
 * worth more rows for each time that B passes by. */
enum { LEAST = 8, LONG = 768, MOST_DEPTH = 8192, BAND = 32, LONG_BAND = 128, PARTS_BAND = 256, MOST_RANK = 1024, PARTS = 3 };

typedef struct {
    int depth, groups, band, cols, batch, planes; /* planes: parts of an operand */
} amx_shape;

/* ---- what it can do ---- */

static bool amx_pair_fits(const tn_gemm_args *g)
{
    const tn_epilogue *e = &g->e;
    const int part = tn_gemm_part(e, g->N);
    if (!e->parts) return true;
    if (e->A2.dtype != g->A.dtype || e->B2.dtype != g->A.dtype || g->alpha == 0) return false;
    return tn_gemm_rank(e) <= MOST_RANK && (part == g->N || part % WIDTH == 0);
}

bool tn_gemm_amx_can(const tn_ctx *c, const void *args)
{
    const tn_gemm_args *g = args;
    (void)c;
    if (g->A.dtype != TN_BF16 || g->B.dtype != TN_BF16 || g->C.dtype == TN_F16) return false;
    if (g->N < LEAST || g->K < LEAST) return false;
    if (g->ta) return tn_gemm_amx_grad_can(g);
    return g->K <= MOST_DEPTH && amx_pair_fits(g);
}

bool tn_gemm_amx_parts_can(const tn_ctx *c, const void *args)
{
    const tn_gemm_args *g = args;
    (void)c;
    if (g->A.dtype != TN_F32 || g->B.dtype != TN_F32 || g->C.dtype != TN_F32 || g->ta) return false;
    return g->N >= LEAST && g->K >= LEAST && g->K <= MOST_DEPTH && amx_pair_fits(g);
}

/* ---- launch ---- */

static amx_shape amx_choose(const tn_ctx *c, const tn_gemm_args *g)
{
    const int want = ITEMS_A_THREAD * (int)c->dev->info.compute_units;
    amx_shape s = {.depth = TN_CEIL_DIV(g->K, TN_TILE_DEPTH), .groups = TN_CEIL_DIV(g->N, WIDTH), .batch = TN_MAX(1, g->batch)};
    s.planes = g->A.dtype == TN_F32 ? PARTS : 1;
    s.band = s.planes > 1 ? PARTS_BAND : g->K > LONG ? LONG_BAND : BAND;
    while (s.band > BAND && TN_CEIL_DIV(g->M, s.band) * s.batch < want) s.band /= 2;
    const int bands = TN_CEIL_DIV(g->M, s.band) * s.batch, across = TN_MIN(s.groups, TN_CEIL_DIV(want, bands));
    s.cols = WIDTH * TN_CEIL_DIV(s.groups, across);
    return s;
}

/* A right-hand matrix, as it lies: g's own, or the second pair's. */
typedef struct {
    tn_tensor B;
    bool tb;
    int K;
    size_t step;
    tn_mask mask;
    tn_packed *keep;
} amx_source;

static int amx_pack_to(tn_ctx *c, const tn_tensor *P, const amx_source *b, int N, int batch, tn_error *err)
{
    const int depth = TN_CEIL_DIV(b->K, TN_TILE_DEPTH), groups = TN_CEIL_DIV(N, WIDTH);
    tn_gemm_build k = {.n = 0};
    tn_gemm_option(&k, "-DAT=%d -DTB=%d", (int)b->B.dtype, b->tb);
    const tn_arg args[] = {TN_BUF(b->B.mem), TN_UINT(b->B.off), TN_INT(b->B.ld), TN_UINT(b->step), TN_BUF(P->mem),
                           TN_INT(N),        TN_INT(b->K),      TN_INT(depth),   TN_INT(groups)};
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(&k, args[i]);
    if (b->mask.p > 0) tn_gemm_put_step(&k, c);
    tn_gemm_put_mask(&k, "MASK_B", b->mask, b->B.cols);
    tn_gemm_put_aligned(&k, tn_gemm_mask_cols(b->mask, b->B.cols));
    const size_t global[] = {(size_t)depth, (size_t)groups, (size_t)batch}, local[] = {1, 1, 1};
    return tn_gemm_launch(c, &k, "cpu/gemm_amx.cl", "tiles_pack", global, local, err);
}

/* Its tiles. */
static int amx_pack(tn_ctx *c, tn_tensor *P, const amx_source *b, int N, int batch, tn_error *err)
{
    const int depth = TN_CEIL_DIV(b->K, TN_TILE_DEPTH), groups = TN_CEIL_DIV(N, WIDTH), planes = b->B.dtype == TN_F32 ? PARTS : 1;
    tn_packing p;
    char form[48];
    snprintf(form, sizeof form, "amx %d %d %dx%d", planes, b->tb, N, b->K);
    *P = tn_view(NULL, TN_F32, batch * groups * (WIDTH / TN_TILE_ROWS) * depth * planes, TN_TILE_WORDS);
    TN_TRY(tn_packing_begin(&p, c, b->keep, form, &b->B, P, err));
    return tn_packing_end(&p, c, p.needed ? amx_pack_to(c, P, b, N, batch, err) : 0);
}

int tn_gemm_tiles(tn_ctx *c, tn_tensor *P, const tn_tensor *B, tn_error *err)
{
    return amx_pack(c, P, &(amx_source){*B, true, B->cols, 0, {0, 0}, NULL}, B->rows, 1, err);
}

static bool is_power_of_two(float x)
{
    int exponent;
    return fabsf(frexpf(x, &exponent)) == 0.5f;
}

static void amx_pair(tn_gemm_build *b, const tn_gemm_args *g, const tn_tensor *P2)
{
    const tn_epilogue *e = &g->e;
    const float scale = e->alpha2 / tn_gemm_amx_alpha(g);
    const tn_arg args[] = {TN_BUF(e->A2.mem), TN_UINT(e->A2.off),      TN_INT(e->A2.ld),
                           TN_BUF(P2->mem),   TN_INT(tn_gemm_rank(e)), TN_INT(tn_gemm_part(e, g->N)),
                           TN_FLT(scale)};
    if (!e->parts) return;
    tn_gemm_option(b, g->A.dtype == TN_BF16 && !is_power_of_two(scale) ? " -DPAIR -DPAIR_APART" : " -DPAIR");
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(b, args[i]);
}

static size_t amx_scratch_floats(const tn_gemm_args *g, const amx_shape *s)
{
    const tn_epilogue *e = &g->e;
    const size_t tall = (size_t)(s->band / TN_TILE_ROWS),
                 depth2 = e->parts ? TN_CEIL_DIV((size_t)tn_gemm_rank(e), TN_TILE_DEPTH) : 0;
    const size_t parts = e->parts ? (size_t)(g->N / tn_gemm_part(e, g->N)) : 0;
    return TN_TILE_ROWS + 2 * BLOCK * WIDTH + tall * ((size_t)s->depth + parts * depth2) * (size_t)s->planes * TN_TILE_WORDS;
}

static int amx_multiply(tn_ctx *c, const tn_gemm_args *g, const amx_shape *s, const tn_tensor P[2], tn_error *err)
{
    tn_gemm_build b = {.n = 0};
    tn_arg scratch[TN_CPU_SCRATCH_ARGS];
    const size_t p_step = (size_t)s->groups * (WIDTH / TN_TILE_ROWS) * (size_t)(s->depth * s->planes) * TN_TILE_WORDS;
    TN_TRY(tn_cpu_scratch(c, amx_scratch_floats(g, s), scratch, err));
    tn_gemm_option(&b, "-DAT=%d -DCT=%d", (int)g->A.dtype, (int)g->C.dtype);
    const tn_arg args[] = {TN_BUF(g->A.mem),
                           TN_UINT(g->A.off),
                           TN_INT(g->A.ld),
                           TN_BUF(P[0].mem),
                           TN_BUF(g->C.mem),
                           TN_UINT(g->C.off),
                           TN_INT(g->C.ld),
                           TN_INT(g->M),
                           TN_INT(g->N),
                           TN_INT(g->K),
                           TN_INT(s->band),
                           TN_INT(s->cols),
                           TN_FLT(tn_gemm_amx_alpha(g)),
                           TN_FLT(g->beta),
                           TN_UINT(g->a_step),
                           TN_UINT(p_step),
                           TN_UINT(g->c_step)};
    for (size_t i = 0; i < TN_COUNT(args); i++) tn_gemm_arg(&b, args[i]);
    if (g->mask_a.p > 0 || g->e.mask.p > 0) tn_gemm_put_step(&b, c);
    tn_gemm_put_mask(&b, "MASK_A", g->mask_a, g->A.cols);
    amx_pair(&b, g, &P[1]);
    tn_gemm_put_mask(&b, "MASK_E", g->e.mask, 0);
    tn_gemm_put_aligned(&b, tn_gemm_mask_cols(g->mask_a, g->A.cols) | tn_gemm_mask_cols(g->e.mask, g->N));
    tn_gemm_put_epilogue(&b, g);
    tn_gemm_put_turn(&b, &g->e.turn);
    for (size_t i = 0; i < TN_COUNT(scratch); i++) tn_gemm_arg(&b, scratch[i]);
    const size_t global[] = {(size_t)TN_CEIL_DIV(g->M, s->band), (size_t)TN_CEIL_DIV(g->N, s->cols), (size_t)s->batch};
    const size_t local[] = {1, 1, 1};
    return tn_gemm_launch(c, &b, "cpu/gemm_amx.cl", "gemm_amx", global, local, err);
}

int tn_gemm_amx(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_gemm_args *g = args;
    const tn_epilogue *e = &g->e;
    const size_t mark = c->ws_used;
    tn_tensor P[2] = {{0}, {0}};
    if (g->ta) return tn_gemm_amx_grad(c, g, err);
    if (e->turn.heads && e->turn.table.cols != WIDTH) return tn_gemm_turned(c, g, tn_gemm_amx, err);
    const amx_shape s = amx_choose(c, g);
    const amx_source first = {g->B, g->tb, g->K, g->b_step, g->mask_b, g->keep},
                     second = {e->B2, e->tb2, tn_gemm_rank(e), 0, {0, 0}, NULL};
    int rc = amx_pack(c, &P[0], &first, g->N, s.batch, err);
    if (!rc && e->parts) rc = amx_pack(c, &P[1], &second, g->N, 1, err);
    if (!rc) rc = amx_multiply(c, g, &s, P, err);
    c->ws_used = mark;
    return rc;
}
