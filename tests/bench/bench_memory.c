/* bench_memory [device [images [backbone width]]]: the kernels that memory bounds, forward and backward, as a part of the device's
 * own copy bandwidth (the faster of clEnqueueCopyBuffer and a kernel that copies as many bytes on all compute units). Shapes of a
 * ViT's step, 288 x 512: tokens [581 images, width], the decoder's three grids. GB/s: bytes that the operation must read and write,
 * over the best of 15 interleaved rounds on each side; what is below the goal of 0.8 is marked. Random data. */
#include "clock.h"
#include "ops.h"
#include "../testdev.h"
#include "copying.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 15, TOKENS = 581, GROUPS = 32, HEAD = 64 };
#define GOAL        0.8
#define ROUND_BYTES 6.4e7 /* moved by the runs that are timed together, at least */

typedef struct {
    tn_ctx c;
    int images, width;
    tn_tensor x, y, dy, dx;                              /* [rows, cols] */
    tn_tensor small;                                     /* what x is the double of, when it is a grid */
    tn_tensor gamma, beta, dgamma, dbeta, stats, groups; /* groups: statistics of each sample's groups */
    tn_tensor turns;
    tn_size2 grid;
    copying copy;
    tn_error *err;
} bench;

/* ---- the operations ---- */

static int gelu(bench *b)
{
    return tn_act_forward(&b->c, TN_GELU, &b->x, &b->y, b->err);
}

static int gelu_back(bench *b)
{
    return tn_act_backward(&b->c, TN_GELU, &b->x, &b->dy, &b->dx, b->err);
}

static int layernorm(bench *b)
{
    return tn_layernorm_forward(&b->c, &b->x, &b->gamma, &b->beta, 1e-5f, &b->y, &b->stats, b->err);
}

static int layernorm_back(bench *b)
{
    const tn_layernorm_back k = {&b->x, &b->gamma, &b->stats, &b->dy, NULL, NULL};
    return tn_layernorm_backward(&b->c, &k, &b->dx, false, b->err);
}

static int residual(bench *b)
{
    return tn_residual(&b->c, &b->x, &b->dy, NULL, &b->y, b->err);
}

static int residual_scaled(bench *b)
{
    return tn_residual(&b->c, &b->x, &b->dy, &b->gamma, &b->y, b->err);
}

static int scale(bench *b)
{
    return tn_scale_cols(&b->c, &b->dy, &b->gamma, &b->dx, b->err);
}

static int rope(bench *b)
{
    return tn_rope(&b->c, &b->x, &b->turns, b->images, b->width / HEAD, TOKENS - b->turns.rows, 1, b->err);
}

static int rope_back(bench *b)
{
    return tn_rope(&b->c, &b->x, &b->turns, b->images, b->width / HEAD, TOKENS - b->turns.rows, -1, b->err);
}

static tn_resize doubling(const bench *b)
{
    return (tn_resize){{b->grid.h / 2, b->grid.w / 2}, b->grid, 0.5f, 0.5f};
}

static int resize(bench *b)
{
    const tn_resize r = doubling(b);
    return tn_bilinear_forward(&b->c, &b->small, b->images, &r, &b->y, b->err);
}

static int resize_back(bench *b)
{
    const tn_resize r = doubling(b);
    return tn_bilinear_backward(&b->c, &b->dy, NULL, b->images, &r, &b->small, b->err);
}

static int norm2d(bench *b)
{
    const int area = b->grid.h * b->grid.w;
    const tn_norm2d n = {&b->x, &b->groups, &b->gamma, &b->beta, area, GROUPS};
    TN_TRY(tn_norm2d_stats(&b->c, &b->x, area, GROUPS, 1e-5f, &b->groups, b->err));
    return tn_norm2d_apply(&b->c, &n, NULL, &b->y, b->err);
}

static int norm2d_back(bench *b)
{
    const tn_norm2d n = {&b->x, &b->groups, &b->gamma, &b->beta, b->grid.h * b->grid.w, GROUPS};
    return tn_norm2d_backward(&b->c, &n, NULL, &b->dy, &b->dx, &b->dgamma, &b->dbeta, b->err);
}

typedef struct {
    const char *name;
    int (*run)(bench *b);
    double moved; /* tensors like x that it must read and write */
} operation;

static const operation on_width[] = {{"layernorm", layernorm, 2},
                                     {"layernorm backward", layernorm_back, 3},
                                     {"residual", residual, 3},
                                     {"residual, scaled", residual_scaled, 3},
                                     {"scale (its backward)", scale, 2}};
static const operation on_four_widths[] = {{"GELU", gelu, 2}, {"GELU backward", gelu_back, 3}};
static const operation on_qkv[] = {{"RoPE", rope, 4.0 / 3}, {"RoPE backward", rope_back, 4.0 / 3}};
static const operation on_grid[] = {
    {"resize", resize, 1.25}, {"resize backward", resize_back, 1.25}, {"norm2d", norm2d, 3},    {"norm2d backward", norm2d_back, 5},
    {"GELU", gelu, 2},        {"GELU backward", gelu_back, 3},        {"residual", residual, 3}};

/* ---- measuring ---- */

static float *values; /* random, as many as the largest tensor has */

static int make(bench *b, tn_tensor *t, tn_dtype dt, int rows, int cols)
{
    TN_TRY(tn_tensor_new(t, b->c.dev, dt, rows, cols, "bench", b->err));
    return tn_tensor_set(b->c.dev, t, values, b->err);
}

static int set_up(bench *b, tn_dtype dt, int rows, int cols)
{
    tn_tensor *const like[] = {&b->x, &b->y, &b->dy, &b->dx}, *const row[] = {&b->gamma, &b->beta, &b->dgamma, &b->dbeta};
    const int skip = 5; /* tokens that are no patches */
    for (size_t i = 0; i < TN_COUNT(like); i++) TN_TRY(make(b, like[i], dt, rows, cols));
    for (size_t i = 0; i < TN_COUNT(row); i++) TN_TRY(make(b, row[i], TN_F32, 1, cols));
    TN_TRY(make(b, &b->small, dt, TN_MAX(rows / 4, 1), cols));
    TN_TRY(make(b, &b->stats, TN_F32, rows, 2));
    TN_TRY(make(b, &b->groups, TN_F32, b->images * GROUPS, 2));
    return make(b, &b->turns, TN_F32, TOKENS - skip, HEAD);
}

static void tear_down(bench *b)
{
    tn_tensor *const all[] = {&b->x,    &b->y,      &b->dy,    &b->dx,    &b->small,  &b->gamma,
                              &b->beta, &b->dgamma, &b->dbeta, &b->stats, &b->groups, &b->turns};
    for (size_t i = 0; i < TN_COUNT(all); i++) tn_tensor_free(b->c.dev, all[i]);
}

/* Seconds of one of so many runs and of a wait; the least so far is kept. */
static int timed(bench *b, const operation *o, int runs, double *best)
{
    const double begin = tn_now();
    for (int i = 0; i < runs; i++) TN_TRY(o->run(b));
    TN_TRY(tn_dev_finish(b->c.dev, b->err));
    const double took = (tn_now() - begin) / runs;
    *best = *best > 0 ? TN_MIN(*best, took) : took;
    return 0;
}

static int copied(bench *b, int (*copy)(const copying *, tn_error *), int runs, double *best)
{
    const double begin = tn_now();
    for (int i = 0; i < runs; i++) TN_TRY(copy(&b->copy, b->err));
    TN_TRY(tn_dev_finish(b->c.dev, b->err));
    const double took = (tn_now() - begin) / runs;
    *best = *best > 0 ? TN_MIN(*best, took) : took;
    return 0;
}

/* Counts the workspace and gives it. */
static int prepare(bench *b, const operation *o)
{
    b->c.dry = true;
    TN_TRY(o->run(b));
    b->c.dry = false;
    return tn_ctx_reserve(&b->c, b->c.ws_peak, b->err);
}

/* Copies as many bytes as the operation moves, so that both work on as much memory. */
static int measure(bench *b, const operation *o, const char *shape)
{
    const double moved = o->moved * (double)tn_tensor_bytes(&b->x);
    const int runs = (int)TN_MAX(1, ROUND_BYTES / moved + 1);
    double ours = 0, driver = 0, kernel = 0, ignored = 0;
    TN_TRY(prepare(b, o));
    TN_TRY(copying_new(&b->copy, &b->c, (size_t)(moved / 2), b->err));
    for (int round = -2; round < ROUNDS; round++) {
        const bool counts = round >= 0;
        TN_TRY(copied(b, copying_by_driver, runs, counts ? &driver : &ignored));
        TN_TRY(copied(b, copying_by_kernel, runs, counts ? &kernel : &ignored));
        TN_TRY(timed(b, o, runs, counts ? &ours : &ignored));
    }
    const double part = TN_MIN(driver, kernel) / ours;
    printf("| %s | %s | %s | %.0f | %.1f | %.1f | %.2f%s |\n", o->name, shape, tn_dtype_name(b->x.dtype), 1e6 * ours,
           1e-9 * moved / ours, 1e-9 * moved / TN_MIN(driver, kernel), part, part < GOAL ? " !" : "");
    fflush(stdout);
    copying_free(&b->copy);
    return 0;
}

static int all_on(bench *b, tn_dtype dt, int rows, int cols, const operation *o, size_t n)
{
    char shape[64];
    snprintf(shape, sizeof shape, "%d x %d", rows, cols);
    int rc = set_up(b, dt, rows, cols);
    for (size_t i = 0; !rc && i < n; i++) rc = measure(b, &o[i], shape);
    copying_free(&b->copy);
    tear_down(b);
    return rc;
}

static int all(bench *b, tn_dtype dt)
{
    static const int channels[] = {256, 128, 64};
    const int tokens = TOKENS * b->images;
    TN_TRY(all_on(b, dt, tokens, b->width, on_width, TN_COUNT(on_width)));
    TN_TRY(all_on(b, dt, tokens, 4 * b->width, on_four_widths, TN_COUNT(on_four_widths)));
    TN_TRY(all_on(b, dt, tokens, 3 * b->width, on_qkv, TN_COUNT(on_qkv)));
    for (int i = 0; i < 3; i++) {
        b->grid = (tn_size2){36 << i, 64 << i};
        TN_TRY(all_on(b, dt, b->images * b->grid.h * b->grid.w, channels[i], on_grid, TN_COUNT(on_grid)));
    }
    return 0;
}

static int run(bench *b, tn_dev *d)
{
    const size_t largest = (size_t)b->images * TN_MAX((size_t)144 * 256 * 64, (size_t)TOKENS * 4 * (size_t)b->width);
    tn_rng r = tn_rng_named(1, "bench");
    tn_ctx_init(&b->c, d);
    if (!(values = malloc(largest * sizeof *values))) return tn_oom(b->err);
    for (size_t i = 0; i < largest; i++) values[i] = (float)tn_rng_normal(&r);
    printf("%s, %u compute units; below %.1f: !\n\n", d->info.name, d->info.compute_units, GOAL);
    printf("| operation | rows x columns | storage | us | GB/s | copy, GB/s | part |\n|---|---|---|---|---|---|---|\n");
    TN_TRY(all(b, TN_F32));
    return all(b, TN_BF16);
}

/* A number behind the device, or what it is by default. */
static int number(int argc, char **argv, int at, int otherwise)
{
    return argc > at ? atoi(argv[at]) : otherwise;
}

int main(int argc, char **argv)
{
    tn_error err = {0};
    tn_dev *d = NULL;
    bench b = {.images = number(argc, argv, 2, 4), .width = number(argc, argv, 3, 384), .err = &err};
    if (b.images < 1 || b.images > 1024 || b.width < HEAD || b.width % HEAD) {
        fprintf(stderr, "bench_memory [device [images [width]]]: images from 1 on, a width that is a multiple of %d\n", HEAD);
        return 2;
    }
    int rc = tn_cpu_threads(0, &err);
    if (!rc) rc = test_device(&d, argc > 1 ? argv[1] : NULL, &err);
    if (!rc) rc = run(&b, d);
    if (rc) fprintf(stderr, "bench_memory: %s\n", err.message);
    if (d) tn_ctx_free(&b.c);
    tn_dev_close(d);
    free(values);
    return rc != 0;
}
