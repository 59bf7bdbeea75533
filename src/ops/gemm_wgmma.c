/* Products on Hopper's warpgroup instructions (cl/nvidia/gemm_wgmma.cl). */
#include "wgmma.h"

#include <math.h>

enum {
    LOCAL_BYTES = 231424 /* what a group can have, less the driver's own */,
    GROUP_ITEMS = 384,
    LAID_BYTES = 8192 /* in which ends transpose */
};

/* Tile: 64 * mi x bn, `depth` stages of 64 along K. */
typedef struct {
    int bn, mi, depth, pair, units;
} wgmma_shape;

/* ---- what it can do ---- */

static bool reads_extra(const tn_gemm_args *g)
{
    return g->e.slope.rows || g->e.residual.rows || g->beta != 0;
}

bool tn_gemm_wgmma_can(const tn_ctx *c, const void *args)
{
    const tn_gemm_args *g = args;
    (void)c;
    return !g->ta && g->K > 0 && tn_gemm_ends_on_matrix_unit(g) && tn_gemm_pair_fits(g, 64);
}

/* Rows of a tile times a thousand, and its columns; the first: what a rough estimate says. */
enum { ESTIMATED = 1 };
static const int tiles[] = {ESTIMATED, 128128, 128192, 64128, 64064, 128160, 0};
const tn_tunable tn_gemm_wgmma_tunables[] = {{"TILE", tiles}, {0}};

static const int tile_columns[] = {128, 192, 64, 0};
const tn_tunable tn_wgmma_tunables[] = {{"BN", tile_columns}, {0}};

int tn_wgmma_depth(int bn, int mi, bool extra, bool norm)
{
    const int stage = (64 * mi + bn) * TN_WGMMA_BK * 2, rows = norm ? 2 * 64 * mi * 8 : 0;
    const int beside = (extra ? 2 * 64 * mi * bn * 2 : LAID_BYTES) + rows + 96; /* the last: barriers that are not a stage's */
    return TN_MIN((LOCAL_BYTES - beside) / (stage + 16), mi == 2 ? 6 : 8);
}

/* ---- tiles ---- */

static int tiles_of(const tn_gemm_args *g, int mi, int bn)
{
    return TN_CEIL_DIV(g->M, 64 * mi) * TN_CEIL_DIV(g->N, bn);
}

/* Microseconds of a product, roughly: rounds of all multiprocessors, each as long as its stages take to come through the
 * second-level cache, which all share, or to be multiplied. */
static double tile_time(const tn_gemm_args *g, int mi, int bn, int units)
{
    const double all = 1.2e7, one = 9e4, flops = 7e6, begin = 3; /* bytes and operations a microsecond; stages */
    const double bytes = (64.0 * mi + bn) * TN_WGMMA_BK * 2, product = 2.0 * 64 * mi * bn * TN_WGMMA_BK / flops;
    const int n = tiles_of(g, mi, bn), rest = n % units;
    const double full = TN_MAX(bytes * units / all, product), last = TN_MAX(TN_MAX(bytes * rest / all, bytes / one), product);
    return (TN_CEIL_DIV(g->K, TN_WGMMA_BK) + begin) * (n / units * full + (rest ? last : 0));
}

/* Blocks of 64 columns are what B's [K, N] and extras come in, and what is turned; a second pair's draws want an even number of 32.
 */
static bool tile_fits(const tn_gemm_args *g, int bn)
{
    return bn % 64 == 0 ? tn_gemm_pair_fits(g, bn) : g->tb && !reads_extra(g) && !g->e.turn.heads && !g->e.parts;
}

/* Of 160 columns or less. Wider tiles leave some ends no registers: where they pay is measured. */
static void estimate_tile(wgmma_shape *s, const tn_gemm_args *g, int units)
{
    static const int shapes[][2] = {{2, 128}, {1, 128}, {1, 64}, {2, 160}};
    double best = INFINITY;
    for (size_t i = 0; i < TN_COUNT(shapes); i++) {
        const double t = tile_time(g, shapes[i][0], shapes[i][1], units);
        const bool whole =
            shapes[i][1] % 64 == 0 || tiles_of(g, shapes[i][0], shapes[i][1]) <= units; /* one round instead of two */
        if (t < best && whole && tile_fits(g, shapes[i][1])) best = t, s->mi = shapes[i][0], s->bn = shapes[i][1];
    }
}

static wgmma_shape shape_of(const tn_ctx *c, const tn_gemm_args *g)
{
    const int units = (int)c->dev->info.compute_units, tile = c->tune[0];
    wgmma_shape s = {.bn = tile % 1000, .mi = tile / 1000 / 64};
    if (tile == ESTIMATED || !tile_fits(g, s.bn)) estimate_tile(&s, g, units);
    s.depth = tn_wgmma_depth(s.bn, s.mi, reads_extra(g), g->e.norm.sums.rows > 0);
    s.pair = g->e.parts ? TN_CEIL_DIV(tn_gemm_rank(&g->e), TN_PAIR_STEP) : 0;
    s.units = TN_MIN(units, tiles_of(g, s.mi, s.bn));
    return s;
}

/* ---- launch ---- */

int tn_wgmma_put_map(tn_ctx *c, tn_gemm_build *b, const tn_map_view *v, tn_error *err)
{
    tn_buffer *maps = NULL;
    uint32_t index = 0;
    if (!c->dry) TN_TRY(tn_tensor_map(c->dev, v, &maps, &index, err));
    tn_gemm_arg(b, TN_BUF(maps));
    tn_gemm_arg(b, TN_UINT(index));
    return 0;
}

int tn_wgmma_put_matrix(tn_ctx *c, tn_gemm_build *b, const tn_tensor *t, int box, bool narrow, tn_error *err)
{
    const tn_map_view v = {.mem = t->mem,
                           .off = t->off,
                           .inner = t->cols,
                           .ld = t->ld,
                           .w = t->rows,
                           .wide = box,
                           .step = 1,
                           .act = (int)t->dtype,
                           .narrow = narrow};
    return tn_wgmma_put_map(c, b, &v, err);
}

static int put_pair(tn_ctx *c, tn_gemm_build *b, const tn_gemm_args *g, const wgmma_shape *s, tn_error *err)
{
    const tn_epilogue *e = &g->e;
    if (!e->parts) return 0;
    TN_TRY(tn_wgmma_put_matrix(c, b, &e->A2, 64 * s->mi, true, err));
    TN_TRY(tn_wgmma_put_matrix(c, b, &e->B2, g->tb ? s->bn : TN_PAIR_STEP, g->tb, err));
    tn_gemm_arg(b, TN_INT(tn_gemm_part(e, g->N)));
    tn_gemm_arg(b, TN_FLT(e->alpha2 / g->alpha));
    return 0;
}

int tn_wgmma_launch(tn_ctx *c, const tn_gemm_build *b, const char *file, const char *entry, int units, tn_error *err)
{
    const size_t global[] = {(size_t)units * GROUP_ITEMS, 1, 1}, local[] = {GROUP_ITEMS, 1, 1};
    return tn_gemm_launch(c, b, file, entry, global, local, err);
}

int tn_gemm_wgmma(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_gemm_args *g = args;
    const wgmma_shape s = shape_of(c, g);
    const tn_tensor extra = tn_gemm_extra(g);
    tn_gemm_build b = {.n = 0};
    tn_gemm_option(&b, "-DACT=%d -DTB=%d -DBN=%d -DMI=%d -DDEPTH=%d", (int)g->A.dtype, g->tb, s.bn, s.mi, s.depth);
    if (s.pair) tn_gemm_option(&b, " -DPAIR=%d", s.pair);
    TN_TRY(tn_wgmma_put_matrix(c, &b, &g->A, 64 * s.mi, false, err));
    TN_TRY(tn_wgmma_put_matrix(c, &b, &g->B, g->tb ? s.bn : 64, false, err));
    const tn_arg sizes[] = {TN_INT(g->M), TN_INT(g->N), TN_INT(g->K), TN_INT(s.units)};
    for (size_t i = 0; i < TN_COUNT(sizes); i++) tn_gemm_arg(&b, sizes[i]);
    TN_TRY(put_pair(c, &b, g, &s, err));
    if (reads_extra(g)) TN_TRY(tn_wgmma_put_matrix(c, &b, &extra, 64 * s.mi, false, err));
    if (g->e.mask.p > 0) tn_gemm_put_step(&b, c);
    tn_gemm_put_mask(&b, "MASK_E", g->e.mask, 0);
    tn_gemm_put_bits(&b, g);
    tn_gemm_put_norm(&b, &g->e.norm);
    tn_gemm_put_matrix_unit(&b, g);
    return tn_wgmma_launch(c, &b, "nvidia/gemm_wgmma.cl", "gemm_wgmma", s.units, err);
}
