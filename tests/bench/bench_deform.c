/* bench_deform [device]: deformable attention over the four levels of a ConvNeXt for frames of 512 x 288 (128 x 72 to 16 x 9
 * cells), width 256, 8 heads, 4 points, four images; offsets as they start plus a pixel of noise. Float32 and bfloat16; the median
 * of a forward pass and of both gradients in milliseconds, each waited for. bench_deform.py sets PyTorch's beside it. */
#include "../testdev.h"
#include "clock.h"
#include "ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 15, ROUNDS_ON_CPU = 5, BATCH = 4, HEADS = 8, WIDTH = 256, POINTS = 4 };

static const tn_levels levels = {4, {72, 36, 18, 9}, {128, 64, 32, 16}};

typedef struct {
    tn_ctx c;
    tn_tensor value, samples, d_o, o, dvalue, dsamples;
} bench;

/* As Deformable DETR starts: a head looks along a direction, a point farther than the one before it. */
static double start(int col)
{
    const int head = col / (levels.n * POINTS * 2), point = col / 2 % POINTS;
    const double angle = 2 * M_PI * head / HEADS, x = cos(angle), y = sin(angle);
    return (col % 2 ? y : x) / fmax(fabs(x), fabs(y)) * (point + 1);
}

static int fill(tn_tensor *t, tn_dev *d, tn_dtype dt, int cols, int offsets, tn_error *err)
{
    const int rows = BATCH * tn_levels_rows(&levels, levels.n);
    float *v = malloc(sizeof *v * (size_t)rows * (size_t)cols);
    tn_rng r = tn_rng_named(1, "bench");
    if (!v) return tn_oom(err);
    for (size_t i = 0; i < (size_t)rows * (size_t)cols; i++) {
        const int col = (int)(i % (size_t)cols);
        v[i] = (float)(tn_rng_normal(&r) + (col < offsets ? start(col) : 0));
    }
    int rc = tn_tensor_new(t, d, dt, rows, cols, "bench", err);
    if (!rc) rc = tn_tensor_set(d, t, v, err);
    free(v);
    return rc;
}

static int open_bench(bench *b, tn_dev *d, tn_dtype act, tn_error *err)
{
    const int offsets = HEADS * levels.n * POINTS * 2;
    tn_ctx_init(&b->c, d);
    TN_TRY(fill(&b->value, d, act, WIDTH, 0, err));
    TN_TRY(fill(&b->samples, d, act, offsets / 2 * 3, offsets, err));
    TN_TRY(fill(&b->d_o, d, act, WIDTH, 0, err));
    TN_TRY(fill(&b->o, d, act, WIDTH, 0, err));
    TN_TRY(fill(&b->dvalue, d, act, WIDTH, 0, err));
    TN_TRY(fill(&b->dsamples, d, act, offsets / 2 * 3, 0, err));
    return tn_ctx_reserve(&b->c, (size_t)256 << 20, err);
}

static void close_bench(bench *b)
{
    tn_tensor *const all[] = {&b->value, &b->samples, &b->d_o, &b->o, &b->dvalue, &b->dsamples};
    for (size_t i = 0; i < TN_COUNT(all); i++) tn_tensor_free(b->c.dev, all[i]);
    tn_ctx_free(&b->c);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int run(bench *b, int which, tn_error *err)
{
    const tn_deform f = {&b->value, &b->samples, &levels, HEADS, POINTS};
    if (which == 0) return tn_deform_forward(&b->c, &f, &b->o, err);
    if (which == 1) return tn_deform_dsamples(&b->c, &f, &b->d_o, &b->dsamples, err);
    return tn_deform_dvalue(&b->c, &f, &b->d_o, &b->dvalue, err);
}

static int measure(bench *b, int which, double *ms, tn_error *err)
{
    double all[ROUNDS];
    const int rounds = b->c.dev->info.type == TN_DEVICE_CPU ? ROUNDS_ON_CPU : ROUNDS;
    for (int i = -2; i < rounds; i++) {
        const double from = tn_now();
        TN_TRY(run(b, which, err));
        TN_TRY(tn_dev_finish(b->c.dev, err));
        if (i >= 0) all[i] = 1e3 * (tn_now() - from);
    }
    qsort(all, (size_t)rounds, sizeof *all, by_value);
    *ms = all[rounds / 2];
    return 0;
}

int main(int argc, char **argv)
{
    tn_dev *d;
    tn_error err = {0};
    int rc = test_device(&d, argc > 1 ? argv[1] : "gpu", &err);
    if (!rc) printf("%s\n", d->info.name);
    for (int act = TN_F32; !rc && act <= TN_BF16; act++) {
        bench b = {0};
        double ms[3] = {0};
        rc = open_bench(&b, d, (tn_dtype)act, &err);
        for (int i = 0; !rc && i < 3; i++) rc = measure(&b, i, &ms[i], &err);
        if (!rc) printf("%s forward %.3f samples %.3f value %.3f\n", tn_dtype_name((tn_dtype)act), ms[0], ms[1], ms[2]);
        close_bench(&b);
    }
    if (rc) fprintf(stderr, "%s\n", err.message);
    return rc != 0;
}
