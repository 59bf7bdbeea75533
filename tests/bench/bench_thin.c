/* bench_thin [device [images]]: layernorm and an adapter's thin product of what it writes, forward and backward, in a kernel each
 * (the rows that the tuner takes) and in one with each value of its tunable, the default first. bfloat16, 581 tokens an image (32
 * of them unless said). Microseconds: medians of launches timed by the device; each works on other tensors than the four before, so
 * that little of them is in a cache. floor: the bytes that must be read and written at 2.6 TB/s. */
#include "../testdev.h"
#include "layernorm_thin.h"
#include "sweep.h"

#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 581 };

typedef struct {
    int cols, N;
    float p;
    bool back, adds, scaled;
} shape;

static const shape shapes[] = {
    {384, 48, 0.05f, false, false, false},  {384, 48, 0, false, false, false},      {384, 16, 0.05f, false, false, false},
    {384, 16, 0, true, true, true},         {384, 16, 0, true, true, false},        {384, 16, 0, true, false, true},
    {768, 48, 0.05f, false, false, false},  {768, 16, 0.05f, false, false, false},  {768, 16, 0, true, true, true},
    {1024, 48, 0.05f, false, false, false}, {1024, 16, 0.05f, false, false, false}, {1024, 16, 0, true, true, true},
};

static tn_tensor mat(tn_dtype dt, int rows, int cols)
{
    return tn_view(NULL, dt, rows, cols);
}

static int describe(tn_layernorm_thin *a, const shape *s, int rows, tn_error *err)
{
    const tn_tensor wide = mat(TN_BF16, rows, s->cols), vector = mat(TN_F32, 1, s->cols);
    tn_layernorm_args n = {.x = wide, .y = wide, .dy = wide, .dx = wide, .gamma = vector, .beta = vector, .eps = 1e-5f};
    n.stats = mat(TN_F32, rows, 2), n.act = TN_BF16, n.accumulate = s->adds;
    if (s->scaled) n.scaled = wide, n.scale = vector;
    tn_gemm_args g = {.tb = !s->back, .alpha = 1, .A = wide, .C = mat(TN_BF16, rows, s->N), .mask_a = {s->p, 5}};
    g.B = s->back ? mat(TN_BF16, s->cols, s->N) : mat(TN_BF16, s->N, s->cols);
    *a = (tn_layernorm_thin){.n = n};
    return tn_gemm_check(&a->g, &g, err);
}

static int joined(sweep *b, tn_error *err)
{
    const tn_tunable *t = b->op->rows[0].tunables;
    double us[2];
    if (!tn_variant_can(&b->c, &b->op->rows[0], b->like)) return puts("  joined: not on this device"), 0;
    printf("  joined, by %s:", t->name);
    for (const int *v = t->values; *v; v++) {
        const tn_choice k = {.row = 0, .tune = {*v}};
        TN_TRY(sweep_time(b, &k, us, 2, err));
        printf("  %d: %.1f", *v, us[0]);
        fflush(stdout);
    }
    return puts(""), 0;
}

static int one(tn_dev *d, const shape *s, int rows, tn_error *err)
{
    sweep b = {0};
    tn_layernorm_thin like;
    double us[2];
    const tn_variant_op *op = s->back ? &tn_layernorm_thin_back_op : &tn_layernorm_thin_op;
    const double passes = s->back ? 3 + s->adds + s->scaled : 2;
    const tn_choice apart = {.row = op->n - 1};
    int rc = describe(&like, s, rows, err);
    if (!rc) rc = sweep_open(&b, d, op, &like, err);
    if (!rc) rc = sweep_time(&b, &apart, us, 2, err);
    if (!rc)
        printf("%s%s%s, %d to %d, dropout %.2f: floor %.1f us, apart %.1f + %.1f\n", s->back ? "backward" : "forward",
               s->adds ? ", adds" : "", s->scaled ? ", scaled" : "", s->cols, s->N, (double)s->p,
               2e6 * rows * (passes * s->cols + s->N) / 2.6e12, us[0], us[1]);
    if (!rc) rc = joined(&b, err);
    sweep_close(&b);
    return rc;
}

int main(int argc, char **argv)
{
    tn_error err = {0};
    tn_dev *d = NULL;
    const int images = argc > 2 ? atoi(argv[2]) : 32;
    int rc = images < 1 ? tn_fail(&err, TN_ERR_ARGUMENT, "bench_thin [device [images]]: images from 1 on")
                        : test_device(&d, argc > 1 ? argv[1] : "gpu", &err);
    if (!rc) printf("%s, driver %s, %d rows\n", d->info.name, d->info.driver, images * TOKENS);
    for (size_t i = 0; !rc && i < TN_COUNT(shapes); i++) rc = one(d, &shapes[i], images * TOKENS, &err);
    if (rc) fprintf(stderr, "bench_thin: %s\n", err.message);
    tn_dev_close(d);
    return rc != 0;
}
