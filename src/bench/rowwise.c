/* Kernels that memory bounds, on the shapes of a step: tokens [581 images, 384] and the decoder's grid. Each runs as a step runs
 * it, by the variant that was chosen where there are several. */
#include "parts.h"
#include "ref.h"
#include "traffic.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 581, PATCHES = 576, GROUPS = 32, HEAD = 64, WIDTH = 384, CHANNELS = 128, GRID_H = 72, GRID_W = 128 };

typedef struct {
    tn_bench *b;
    tn_dtype dt;
    int images;
    tn_tensor x, y, dy, small, gamma, beta, dgamma, dbeta, stats, groups, turns;
    const float *hsmall;                              /* what small has */
    float *hx, *hdy, *hgamma, *hbeta, *hturns, *want; /* as stored; what an operation should leave */
    tn_buffer *from, *to;                             /* of the copy beside it */
    size_t copied;
} rowwise;

/* An operation: what it writes, how, and what src/ref makes of the same. */
typedef struct {
    const char *id, *name;
    double moved; /* tensors like x that it must read and write */
    bool in_place, smaller;
    int (*run)(void *self, tn_error *err);
    void (*expect)(rowwise *r);
} operation;

typedef struct {
    rowwise *r;
    const operation *o;
} at_work;

#define CTX (&r->b->c)

static tn_ref_norm ref_norm(const rowwise *r)
{
    return (tn_ref_norm){r->hx, r->hgamma, r->hbeta, 1e-5, r->x.rows, r->x.cols, GRID_H * GRID_W, GROUPS};
}

static int layernorm(void *self, tn_error *err)
{
    rowwise *r = self;
    return tn_layernorm_forward(CTX, &r->x, &r->gamma, &r->beta, 1e-5f, &r->y, &r->stats, err);
}

static void layernorm_expect(rowwise *r)
{
    const tn_ref_norm n = ref_norm(r);
    tn_ref_layernorm(&n, r->want);
}

static int layernorm_back(void *self, tn_error *err)
{
    rowwise *r = self;
    return tn_layernorm_backward(CTX, &(tn_layernorm_back){&r->x, &r->gamma, &r->stats, &r->dy, NULL, NULL}, &r->y, false, err);
}

/* The gradients of gamma and beta are not looked at: room for them lies behind what is wanted. */
static void layernorm_back_expect(rowwise *r)
{
    const tn_ref_norm n = ref_norm(r);
    float *rest = r->want + tn_tensor_count(&r->x);
    tn_ref_layernorm_backward(&n, r->hdy, r->want, rest, rest + r->x.cols);
}

static int residual(void *self, tn_error *err)
{
    rowwise *r = self;
    return tn_residual(CTX, &r->x, &r->dy, &r->gamma, &r->y, err);
}

static void residual_expect(rowwise *r)
{
    for (size_t i = 0; i < tn_tensor_count(&r->x); i++) r->want[i] = r->hx[i] + r->hgamma[i % (size_t)r->x.cols] * r->hdy[i];
}

static int gelu(void *self, tn_error *err)
{
    rowwise *r = self;
    return tn_act_forward(CTX, TN_GELU, &r->x, &r->y, err);
}

static void gelu_expect(rowwise *r)
{
    for (size_t i = 0; i < tn_tensor_count(&r->x); i++) r->want[i] = (float)tn_ref_act(TN_GELU, (double)r->hx[i]);
}

static int gelu_back(void *self, tn_error *err)
{
    rowwise *r = self;
    return tn_act_backward(CTX, TN_GELU, &r->x, &r->dy, &r->y, err);
}

static void gelu_back_expect(rowwise *r)
{
    for (size_t i = 0; i < tn_tensor_count(&r->x); i++)
        r->want[i] = (float)((double)r->hdy[i] * tn_ref_act_slope(TN_GELU, (double)r->hx[i]));
}

static int rope(void *self, tn_error *err)
{
    rowwise *r = self;
    return tn_rope(CTX, &r->x, &r->turns, r->images, WIDTH / HEAD, TOKENS - PATCHES, 1, err);
}

static void rope_expect(rowwise *r)
{
    for (size_t i = 0; i < tn_tensor_count(&r->x); i++) r->want[i] = r->hx[i];
    tn_ref_rope(r->want, r->hturns, r->images, TOKENS, WIDTH / HEAD, HEAD, TOKENS - PATCHES, 1);
}

static int norm2d(void *self, tn_error *err)
{
    rowwise *r = self;
    const tn_norm2d n = {&r->x, &r->groups, &r->gamma, &r->beta, GRID_H * GRID_W, GROUPS};
    TN_TRY(tn_norm2d_stats(CTX, &r->x, GRID_H * GRID_W, GROUPS, 1e-5f, &r->groups, err));
    return tn_norm2d_apply(CTX, &n, NULL, &r->y, err);
}

static void norm2d_expect(rowwise *r)
{
    const tn_ref_norm n = ref_norm(r);
    tn_ref_norm2d(&n, r->want);
}

static int norm2d_back(void *self, tn_error *err)
{
    rowwise *r = self;
    const tn_norm2d n = {&r->x, &r->groups, &r->gamma, &r->beta, GRID_H * GRID_W, GROUPS};
    return tn_norm2d_backward(CTX, &n, NULL, &r->dy, &r->y, &r->dgamma, &r->dbeta, err);
}

static void norm2d_back_expect(rowwise *r)
{
    const tn_ref_norm n = ref_norm(r);
    float *rest = r->want + tn_tensor_count(&r->x);
    tn_ref_norm2d_backward(&n, r->hdy, r->want, rest, rest + r->x.cols);
}

/* From `x`'s first quarter, a grid of half the height and width. */
static int doubling(void *self, tn_error *err)
{
    rowwise *r = self;
    const tn_resize d = {{GRID_H / 2, GRID_W / 2}, {GRID_H, GRID_W}, 0.5f, 0.5f};
    return tn_bilinear_forward(CTX, &r->small, r->images, &d, &r->y, err);
}

static void doubling_expect(rowwise *r)
{
    const tn_ref_resize d = {r->images, GRID_H / 2, GRID_W / 2, GRID_H, GRID_W, CHANNELS, 0.5f, 0.5f};
    tn_ref_bilinear(&d, r->hsmall, r->want);
}

static const operation on_tokens[] = {
    {"layernorm", "layernorm", 2, .run = layernorm, .expect = layernorm_expect},
    {"layernorm-back", "layernorm backward", 3, .run = layernorm_back, .expect = layernorm_back_expect},
    {"residual", "residual, scaled", 3, .run = residual, .expect = residual_expect}};
static const operation on_hidden[] = {{"gelu", "GELU", 2, .run = gelu, .expect = gelu_expect},
                                      {"gelu-back", "GELU backward", 3, .run = gelu_back, .expect = gelu_back_expect}};
static const operation on_qkv[] = {{"rope", "rotary embedding", 4.0 / 3, .in_place = true, .run = rope, .expect = rope_expect}};
static const operation on_grid[] = {
    {"norm2d", "group norm", 3, .run = norm2d, .expect = norm2d_expect},
    {"norm2d-back", "group norm backward", 5, .run = norm2d_back, .expect = norm2d_back_expect},
    {"doubling", "bilinear doubling", 1.25, .smaller = true, .run = doubling, .expect = doubling_expect}};

/* ---- checking and copying ---- */

static int rowwise_run(void *self, tn_error *err)
{
    const at_work *w = self;
    tn_ws_reset(&w->r->b->c);
    return w->o->run(w->r, err);
}

static const tn_tensor *written(const at_work *w)
{
    return w->o->in_place ? &w->r->x : &w->r->y;
}

static int poison(void *self, tn_error *err)
{
    const at_work *w = self;
    rowwise *r = w->r;
    if (w->o->in_place) return tn_tensor_set(r->b->dev, &r->x, r->hx, err);
    return tn_tensor_poison(r->b->dev, &r->y, err);
}

/* Images are independent of each other: the first and the last are compared, all else is finite. */
enum { LOOKED_AT = 2 };

/* Elements of an image, and where those of image `which` that are compared begin. */
static size_t image_at(const rowwise *r, int which, size_t *n)
{
    *n = tn_tensor_count(&r->x) / (size_t)r->images;
    return which ? *n * (size_t)(r->images - 1) : 0;
}

static void expect(rowwise *r, const operation *o)
{
    for (int i = 0; i < LOOKED_AT; i++) {
        size_t n;
        const size_t at = image_at(r, i, &n);
        rowwise one = *r;
        one.hx += at;
        one.hdy += at;
        one.want += at;
        one.hsmall = r->hx + at / 4;
        one.x.rows /= r->images;
        one.images = 1;
        o->expect(&one);
    }
}

static int compare(void *self, double *share, tn_error *err)
{
    const at_work *w = self;
    const tn_tensor *x = written(w);
    float *got;
    TN_TRY(tn_bench_all_of(&got, share, x, err));
    for (int i = 0; i < LOOKED_AT; i++) {
        size_t n;
        const size_t at = image_at(w->r, i, &n);
        tn_bench_error_of(share, got + at, w->r->want + at, n, x->dtype);
    }
    free(got);
    return 0;
}

static int copy(void *self, tn_error *err)
{
    const rowwise *r = ((const at_work *)self)->r;
    return tn_copy_by_kernel(&r->b->c, r->from, r->to, r->copied, err);
}

static int measure_operation(rowwise *r, const operation *o, tn_error *err)
{
    char id[96], name[96];
    bool go;
    tn_bench *b = r->b;
    at_work w = {r, o};
    const double moved = o->moved * (double)tn_tensor_bytes(&r->x);
    snprintf(id, sizeof id, "rowwise.%s.%s.%dx%d", o->id, tn_dtype_name(r->dt), r->x.rows, r->x.cols);
    snprintf(name, sizeof name, "%s, %s, %d x %d", o->name, tn_dtype_name(r->dt), r->x.rows, r->x.cols);
    const tn_bench_job j = {.id = id,
                            .group = "memory-bound kernels",
                            .name = name,
                            .unit = "B/s",
                            .work = moved,
                            .set = moved,
                            .type = r->dt,
                            .run = rowwise_run,
                            .runs = &w,
                            .by_context = true,
                            .beside = copy,
                            .poison = poison,
                            .compare = compare,
                            .self = &w};
    TN_TRY(tn_bench_begins(&go, b, &j, err)); /* variants are chosen, and built, from here on */
    if (!go) return 0;
    r->copied = (size_t)(moved / 32) * 16;
    expect(r, o);
    TN_TRY(tn_bench_reserve(b, rowwise_run, &w, err));
    TN_TRY(tn_buffer_new(&r->from, b->dev, r->copied, "a measurement", err));
    int rc = tn_buffer_new(&r->to, b->dev, r->copied, "a measurement", err);
    if (!rc) rc = tn_buffer_fill(r->from, 0, r->copied, 0x3f812345u, err);
    if (!rc) rc = tn_bench_measure(b, &j, err);
    tn_buffer_free(r->to);
    tn_buffer_free(r->from);
    r->from = r->to = NULL;
    return rc;
}

/* ---- tensors ---- */

static int make_turns(rowwise *r, tn_error *err)
{
    const size_t n = (size_t)PATCHES * HEAD;
    tn_rng g = tn_rng_named(1, "turns");
    if (!(r->hturns = malloc(n * sizeof *r->hturns))) return tn_oom(err);
    for (size_t i = 0; i < n; i += 2) {
        const double angle = 3 * tn_rng_normal(&g);
        r->hturns[i] = (float)cos(angle);
        r->hturns[i + 1] = (float)sin(angle);
    }
    TN_TRY(tn_tensor_new(&r->turns, r->b->dev, TN_F32, PATCHES, HEAD, "a measurement", err));
    return tn_tensor_set(r->b->dev, &r->turns, r->hturns, err);
}

static int rowwise_set_up(rowwise *r, int rows, int cols, tn_error *err)
{
    tn_dev *d = r->b->dev;
    const int all[] = {rows, cols}, row[] = {1, cols};
    TN_TRY(tn_bench_random(&r->x, d, r->dt, all, &r->hx, err));
    TN_TRY(tn_bench_random(&r->dy, d, r->dt, all, &r->hdy, err));
    TN_TRY(tn_bench_random(&r->gamma, d, TN_F32, row, &r->hgamma, err));
    TN_TRY(tn_bench_random(&r->beta, d, TN_F32, row, &r->hbeta, err));
    TN_TRY(tn_bench_random(&r->dgamma, d, TN_F32, row, NULL, err));
    TN_TRY(tn_bench_random(&r->dbeta, d, TN_F32, row, NULL, err));
    TN_TRY(tn_tensor_new(&r->y, d, r->dt, rows, cols, "a measurement", err));
    TN_TRY(tn_tensor_new(&r->stats, d, TN_F32, rows, 2, "a measurement", err));
    TN_TRY(tn_tensor_new(&r->groups, d, TN_F32, r->images * GROUPS, 2, "a measurement", err));
    TN_TRY(tn_tensor_new(&r->small, d, r->dt, TN_MAX(rows / 4, 1), cols, "a measurement", err));
    TN_TRY(tn_tensor_set(d, &r->small, r->hx, err));
    r->want = malloc((tn_tensor_count(&r->x) + 2 * (size_t)cols) * sizeof *r->want);
    return r->want ? make_turns(r, err) : tn_oom(err);
}

static void rowwise_tear_down(rowwise *r)
{
    tn_tensor *const all[] = {&r->x, &r->dy,    &r->gamma,  &r->beta,  &r->dgamma, &r->dbeta,
                              &r->y, &r->stats, &r->groups, &r->small, &r->turns};
    for (size_t i = TN_COUNT(all); i-- > 0;) tn_tensor_free(r->b->dev, all[i]);
    free(r->hx);
    free(r->hdy);
    free(r->hgamma);
    free(r->hbeta);
    free(r->hturns);
    free(r->want);
}

typedef struct {
    const operation *o;
    int n, rows, cols; /* rows: of an image */
} place;

static int measure_place(tn_bench *b, tn_dtype dt, const place *p, tn_error *err)
{
    rowwise r = {.b = b, .dt = dt, .images = b->dev->info.type == TN_DEVICE_CPU ? 2 : 32};
    int rc = rowwise_set_up(&r, p->rows * r.images, p->cols, err);
    for (int i = 0; !rc && i < p->n; i++) rc = measure_operation(&r, &p->o[i], err);
    rowwise_tear_down(&r);
    return rc;
}

int tn_bench_rowwise(tn_bench *b, tn_error *err)
{
    const place places[] = {{on_tokens, TN_COUNT(on_tokens), TOKENS, WIDTH},
                            {on_hidden, TN_COUNT(on_hidden), TOKENS, 4 * WIDTH},
                            {on_qkv, TN_COUNT(on_qkv), TOKENS, 3 * WIDTH},
                            {on_grid, TN_COUNT(on_grid), GRID_H * GRID_W, CHANNELS}};
    char what[64];
    const int each = (int)TN_COUNT(places), n = b->level->types * each;
    for (int k = 0; k < n; k++) {
        const place *p = &places[k % each];
        const tn_dtype dt = (tn_dtype)(k / each);
        snprintf(what, sizeof what, "%s, %s", tn_dtype_name(dt), p->o[0].name);
        if (tn_bench_has_time(b, k, n, what)) TN_TRY(measure_place(b, dt, p, err));
    }
    return 0;
}
