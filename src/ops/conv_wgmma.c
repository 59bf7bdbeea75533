/* Convolutions on Hopper's warpgroup instructions: the copy engine cuts the rows out of the images (cl/nvidia/gemm_wgmma.cl with
 * PATCHES, conv_grad_wgmma.cl). */
#include "conv.h"
#include "wgmma.h"

enum { MOST_BOX = 256, MOST_STRIDE = 8 }; /* of the copy engine */

/* As in cl/nvidia/patches.h. */
typedef struct {
    int32_t h, w, tall, wide, top, left, stride, kw, channels;
} patch_grid;
typedef struct {
    int32_t h, w, step, y, x;
} place_grid;

/* ---- what it can do ---- */

static bool cuts_rows(const tn_conv_rows *r)
{
    const tn_dtype act = r->image.dtype;
    return (act == TN_BF16 || act == TN_F16) && tn_gemm_fits_unit(&r->image, act) && r->from % 8 == 0 && r->channels % 8 == 0 &&
           r->stride <= MOST_STRIDE;
}

bool tn_conv_wgmma_can(const tn_ctx *c, const void *args)
{
    const tn_conv_args *a = args;
    const tn_dtype act = a->rows.image.dtype;
    (void)c;
    return cuts_rows(&a->rows) && tn_gemm_fits_unit(&a->W, act) && tn_gemm_fits_unit(&a->C, act) && a->C.cols % 8 == 0;
}

bool tn_conv_grad_wgmma_can(const tn_ctx *c, const void *args)
{
    const tn_conv_grad_args *a = args;
    (void)c;
    return cuts_rows(&a->rows) && tn_gemm_fits_unit(&a->dy, a->rows.image.dtype) && a->dy.cols % 8 == 0;
}

/* ---- blocks of the grid ---- */

static int blocks_of(const patch_grid *g, int batch)
{
    return batch * TN_CEIL_DIV(g->h, g->tall) * TN_CEIL_DIV(g->w, g->wide);
}

/* Blocks of at most `places`, as few as can be; whole: of just so many, a power of two. The widest of equally good ones. */
static patch_grid cut_grid(const tn_conv_rows *r, int places, bool whole)
{
    patch_grid g = {r->grid.h, r->grid.w, 1, 1, r->top, r->left, r->stride, r->kw, r->channels}, best = g;
    const int most = TN_MIN(places, (MOST_BOX - 1) / r->stride + 1);
    for (g.wide = 1; g.wide <= most; g.wide = whole ? 2 * g.wide : g.wide + 1) {
        g.tall = whole ? places / g.wide : TN_MIN(g.h, places / g.wide);
        if ((g.tall - 1) * r->stride >= MOST_BOX) continue;
        if (best.wide * best.tall == 1 || blocks_of(&g, 1) <= blocks_of(&best, 1)) best = g;
    }
    return best;
}

/* The images, or dy as images of the grid's size. */
static int put_images(tn_ctx *c, tn_gemm_build *b, const tn_conv_rows *r, const patch_grid *g, tn_error *err)
{
    const tn_map_view v = {.mem = r->image.mem,
                           .off = r->image.off + (size_t)r->from,
                           .inner = r->channels,
                           .ld = r->image.ld,
                           .w = r->size.w,
                           .h = r->size.h,
                           .images = r->batch,
                           .wide = g->wide,
                           .tall = g->tall,
                           .step = r->stride,
                           .act = (int)r->image.dtype};
    return tn_wgmma_put_map(c, b, &v, err);
}

/* ---- forward, and towards the input ---- */

int tn_conv_wgmma(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_conv_args *a = args;
    const tn_conv_rows *r = &a->rows;
    const int units = (int)c->dev->info.compute_units, N = a->C.cols, steps = r->kh * r->kw * TN_CEIL_DIV(r->channels, TN_WGMMA_BK);
    int mi = 2, bn = c->tune[0];
    patch_grid g = cut_grid(r, 64 * mi, false);
    if (blocks_of(&g, r->batch) * TN_CEIL_DIV(N, bn) < units) g = cut_grid(r, 64 * --mi, false);
    if (mi == 1 && blocks_of(&g, r->batch) * TN_CEIL_DIV(N, bn) < units / 2) bn = 64;
    const int tiles = blocks_of(&g, r->batch), used = TN_MIN(units, tiles * TN_CEIL_DIV(N, bn));
    const place_grid to = {a->to.h, a->to.w, a->step, a->y, a->x};
    const tn_gemm_args end = {.alpha = 1, .C = a->C, .e = {.bias = a->bias}};
    tn_gemm_build b = {.n = 0};
    tn_gemm_option(&b, "-DACT=%d -DPATCHES -DBN=%d -DMI=%d -DDEPTH=%d", (int)a->C.dtype, bn, mi,
                   tn_wgmma_depth(bn, mi, false, false));
    TN_TRY(put_images(c, &b, r, &g, err));
    TN_TRY(tn_wgmma_put_matrix(c, &b, &a->W, bn, false, err));
    const tn_arg sizes[] = {TN_INT(r->batch * a->to.h * a->to.w),
                            TN_INT(N),
                            TN_INT(steps * TN_WGMMA_BK),
                            TN_INT(used),
                            TN_INT(tiles),
                            TN_DATA(g),
                            TN_DATA(to)};
    for (size_t i = 0; i < TN_COUNT(sizes); i++) tn_gemm_arg(&b, sizes[i]);
    tn_gemm_put_matrix_unit(&b, &end);
    return tn_wgmma_launch(c, &b, "nvidia/gemm_wgmma.cl", "gemm_wgmma", used, err);
}

/* ---- the kernel's gradient ---- */

typedef struct {
    int mi, bn, tiles, splits, steps; /* tiles of the kernel; parts of the grid's blocks, and blocks of a part */
    patch_grid grid;
} grad_shape;

/* Microseconds, roughly: turns of all processors at what a stage takes, and the parts' way through memory. */
static double grad_time(const grad_shape *s, double part_bytes, int units)
{
    const double stage = 2.0 * 64 * s->mi * s->bn * TN_WGMMA_BK / 4.5e6, byte = 1 / 1.2e6, begin = 4;
    return TN_CEIL_DIV(s->tiles * s->splits, units) * (s->steps + begin) * stage + s->splits * part_bytes * byte;
}

static grad_shape grad_choose(const tn_ctx *c, const tn_conv_grad_args *a)
{
    enum { MOST_SPLITS = 128 };
    const tn_conv_rows *r = &a->rows;
    const int O = a->dy.cols, units = (int)c->dev->info.compute_units;
    grad_shape s = {.mi = O > 64 ? 2 : 1, .bn = r->channels > 64 ? 128 : 64, .grid = cut_grid(r, TN_WGMMA_BK, true)}, best = s;
    s.tiles = TN_CEIL_DIV(O, 64 * s.mi) * TN_CEIL_DIV(r->channels, s.bn) * r->kh * r->kw;
    const int blocks = blocks_of(&s.grid, r->batch);
    double least = 0;
    for (s.splits = 1; s.splits <= TN_MIN(blocks, (int)MOST_SPLITS); s.splits++) {
        s.steps = TN_CEIL_DIV(blocks, s.splits);
        const double t = grad_time(&s, 4.0 * O * tn_conv_rows_length(r), units);
        if (s.splits == 1 || t < least) best = s, least = t;
    }
    return best;
}

static int grad_parts(tn_ctx *c, const tn_conv_grad_args *a, const grad_shape *s, const tn_tensor *P, tn_error *err)
{
    const tn_conv_rows *r = &a->rows;
    const int taps = r->kh * r->kw, O = a->dy.cols;
    const tn_conv_rows places = {a->dy, r->grid, r->grid, r->batch, 0, O, 0, 0, 1, 1, 1};
    const int used = TN_MIN((int)c->dev->info.compute_units, s->splits * s->tiles);
    tn_gemm_build b = {.n = 0};
    tn_gemm_option(&b, "-DACT=%d -DBN=%d -DMI=%d -DDEPTH=%d", (int)a->dy.dtype, s->bn, s->mi,
                   tn_wgmma_depth(s->bn, s->mi, false, false));
    TN_TRY(put_images(c, &b, &places, &s->grid, err));
    TN_TRY(put_images(c, &b, r, &s->grid, err));
    const tn_arg rest[] = {TN_BUF(P->mem),   TN_INT(O),    TN_INT(taps),    TN_INT(s->splits),
                           TN_INT(s->steps), TN_INT(used), TN_DATA(s->grid)};
    for (size_t i = 0; i < TN_COUNT(rest); i++) tn_gemm_arg(&b, rest[i]);
    return tn_wgmma_launch(c, &b, "nvidia/conv_grad_wgmma.cl", "conv_grad_wgmma", used, err);
}

int tn_conv_grad_wgmma(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_conv_grad_args *a = args;
    const grad_shape s = grad_choose(c, a);
    const int O = a->dy.cols, K = tn_conv_rows_length(&a->rows);
    const size_t mark = c->ws_used;
    const tn_gemm_args end = {.alpha = 1, .beta = a->add ? 1 : 0, .C = a->sum, .M = O, .N = K};
    tn_tensor P;
    TN_TRY(tn_ws_take(c, &P, TN_F32, s.splits * O, K, err));
    int rc = grad_parts(c, a, &s, &P, err);
    if (!rc) rc = tn_gemm_sum(c, &P, s.splits, &end, NULL, err);
    c->ws_used = mark;
    return rc;
}
