/* bench_loader [threads [frames [batch]]]: how many 1280 x 720 JPEGs a second the loader alone brings to 512 x 288, and what the
 * time goes into. The pictures are its own: smooth shades with texture and grain, quality 90, about 200 KB each, as a broadcast's
 * frames are. Threads: the processors there are, unless given. The best of 5 passes, nothing kept; then one that is. */
#include "clock.h"
#include "files.h"
#include "loader.h"
#include "machine.h"
#include "numeric.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WIDTH = 1280, HEIGHT = 720, PICTURES = 16, PASSES = 5 };
static const tn_prep prep = {.width = 512, .height = 288, .heat_w = 128, .heat_h = 72, .seed = 1};

/* Adds random values on a grid of `cell` pixels, bilinear between. */
static int add_noise(float *plane, int cell, float amplitude, tn_rng *r, tn_error *err)
{
    const int gw = WIDTH / cell + 2, gh = HEIGHT / cell + 2;
    float *grid = malloc(sizeof *grid * (size_t)gw * (size_t)gh);
    if (!grid) return tn_oom(err);
    for (int i = 0; i < gw * gh; i++) grid[i] = amplitude * (float)(2 * tn_rng_uniform(r) - 1);
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            const float fx = (float)(x % cell) / (float)cell, fy = (float)(y % cell) / (float)cell;
            const float *g = grid + (y / cell) * gw + x / cell;
            plane[y * WIDTH + x] += (g[0] * (1 - fx) + g[1] * fx) * (1 - fy) + (g[gw] * (1 - fx) + g[gw + 1] * fx) * fy;
        }
    free(grid);
    return 0;
}

static uint8_t level(float v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

static int make_picture(const char *path, uint64_t seed, tn_error *err)
{
    static float luma[WIDTH * HEIGHT], blue[WIDTH * HEIGHT], red[WIDTH * HEIGHT];
    static const struct {
        float *plane;
        int cell;
        float amplitude;
    } layers[] = {{luma, 256, 60}, {luma, 64, 30}, {luma, 16, 15}, {luma, 4, 11}, {luma, 1, 5},
                  {blue, 128, 30}, {blue, 8, 6},   {red, 128, 30}, {red, 8, 6}};
    tn_rng r = tn_rng_named(seed, "bench");
    tn_image im;
    memset(luma, 0, sizeof luma), memset(blue, 0, sizeof blue), memset(red, 0, sizeof red);
    for (size_t i = 0; i < TN_COUNT(layers); i++) TN_TRY(add_noise(layers[i].plane, layers[i].cell, layers[i].amplitude, &r, err));
    TN_TRY(tn_image_new(&im, WIDTH, HEIGHT, err));
    for (int i = 0; i < WIDTH * HEIGHT; i++) {
        im.rgb[3 * i] = level(128 + luma[i] + red[i]);
        im.rgb[3 * i + 1] = level(128 + luma[i] - (red[i] + blue[i]) / 2);
        im.rgb[3 * i + 2] = level(128 + luma[i] + blue[i]);
    }
    const int rc = tn_image_save_jpeg(&im, path, 90, err);
    tn_image_free(&im);
    return rc;
}

/* Of all threads: what neighbours take does not count. */
static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of one pass, and of the processors' time. */
static int pass(double *seconds, double *spent, tn_loader *l, const int *order, int n, tn_error *err)
{
    tn_batch b = {.n = 1};
    const double begin = tn_now(), before = processor_seconds();
    TN_TRY(tn_loader_start(l, order, n, 0, err));
    while (b.n) TN_TRY(tn_loader_next(l, &b, err));
    *seconds = tn_now() - begin;
    *spent = processor_seconds() - before;
    return 0;
}

/* Milliseconds of one thread that a frame's decoding takes, and its resize: each picture's best of PASSES. */
static int parts(double *decode, double *resize, const tn_dataset *d, tn_error *err)
{
    *decode = *resize = 0;
    for (int i = 0; i < PICTURES; i++) {
        double t[2] = {1e9, 1e9};
        for (int k = 0; k < PASSES; k++) {
            tn_image im, small;
            const double begin = processor_seconds();
            TN_TRY(tn_image_load(&im, d->f[i].path, err));
            const double between = processor_seconds();
            TN_TRY(tn_image_resize(&small, &im, prep.width, prep.height, err));
            t[1] = TN_MIN(t[1], processor_seconds() - between);
            t[0] = TN_MIN(t[0], between - begin);
            tn_image_free(&im), tn_image_free(&small);
        }
        *decode += t[0] * 1e3 / PICTURES, *resize += t[1] * 1e3 / PICTURES;
    }
    return 0;
}

static int measure(const tn_dataset *d, int threads, int batch, const int *order, tn_error *err)
{
    tn_loader *l;
    double best = 1e9, least = 1e9, decode, resize, s, spent;
    TN_TRY(parts(&decode, &resize, d, err));
    TN_TRY(tn_loader_new(&l, d, &prep, batch, threads, 2, 0, err));
    int rc = 0;
    for (int k = 0; !rc && k < PASSES; k++) {
        rc = pass(&s, &spent, l, order, d->n, err);
        best = TN_MIN(best, s), least = TN_MIN(least, spent);
    }
    tn_loader_free(l);
    TN_TRY(rc);
    const double rate = d->n / best, each = 1e3 * least / d->n;
    printf("%d threads, batches of %d: %.0f img/s, %.0f img/s a thread\n", threads, batch, rate, rate / threads);
    printf("a frame takes a processor %.2f ms, so %.0f img/s a core; done alone: decoding %.2f ms, resize %.2f ms, so the rest is "
           "%+.2f ms\n",
           each, 1e3 / each, decode, resize, each - decode - resize);
    TN_TRY(tn_loader_new(&l, d, &prep, batch, threads, 2, (size_t)1 << 40, err));
    for (int k = 0; !rc && k < 2; k++) rc = pass(&s, &spent, l, order, d->n, err);
    if (!rc) printf("kept in memory: %.0f img/s\n", d->n / s);
    tn_loader_free(l);
    return rc;
}

static int run(const char *dir, int threads, int n, int batch, tn_error *err)
{
    tn_frame *f = calloc((size_t)n, sizeof *f);
    int *order = malloc(sizeof *order * (size_t)n), rc = f && order ? 0 : tn_oom(err);
    size_t bytes = 0;
    for (int i = 0; !rc && i < n; i++) {
        order[i] = i;
        f[i].path = i < PICTURES ? tn_strf("%s/%d.jpg", dir, i) : f[i % PICTURES].path;
        rc = f[i].path ? 0 : tn_oom(err);
        if (!rc && i < PICTURES) rc = make_picture(f[i].path, (uint64_t)i, err);
        char *data;
        size_t len;
        if (!rc && i < PICTURES) rc = tn_read_file(&data, &len, f[i].path, err);
        if (!rc && i < PICTURES) bytes += len, free(data);
    }
    if (!rc) printf("%d frames from %d JPEGs of %.0f KB\n", n, PICTURES, (double)bytes / PICTURES / 1e3);
    const tn_dataset d = {.f = f, .n = n};
    if (!rc) rc = measure(&d, threads, batch, order, err);
    for (int i = 0; f && i < PICTURES; i++) free(f[i].path);
    free(f), free(order);
    return rc;
}

int main(int argc, char **argv)
{
    tn_error err = {0};
    const int threads = argc > 1 ? atoi(argv[1]) : tn_processors(), n = argc > 2 ? atoi(argv[2]) : 512,
              batch = argc > 3 ? atoi(argv[3]) : 64;
    char dir[] = "/tmp/bench_loader.XXXXXX";
    int rc = mkdtemp(dir) ? 0 : tn_fail(&err, TN_ERR_IO, "no temporary folder");
    if (!rc) rc = run(dir, TN_MAX(threads, 1), TN_MAX(n, (int)PICTURES), TN_MAX(batch, 1), &err);
    if (rc) fprintf(stderr, "bench_loader: %s\n", err.message);
    (void)tn_remove_tree(dir, NULL);
    return rc != 0;
}
