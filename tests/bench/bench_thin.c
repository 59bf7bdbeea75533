/* bench_thin [device [images]]: layernorm and an adapter's thin product of what it writes, forward and backward, in a kernel each
 * (the rows that the tuner takes) and in one with each value of its tunable, the default first. bfloat16, 581 tokens an image (32
 * of them unless said). Microseconds: medians of launches timed by the device; each works on other tensors than the four before, so
 * that little of them is in a cache. floor: the bytes that must be read and written at 2.6 TB/s. */
#include "../testdev.h"
#include "layernorm_thin.h"
#include "tape.h"
#include "tuning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 581, SETS = 5, ROUNDS = 7, LAUNCHES = SETS * ROUNDS };

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

typedef struct {
    tn_ctx c;
    const tn_variant_op *op;
    tn_layernorm_thin like, set[SETS];
} bench;

static tn_tensor mat(tn_dtype dt, int rows, int cols)
{
    return tn_view(NULL, dt, rows, cols);
}

static int set_up(bench *b, tn_dev *d, const shape *s, int rows, tn_error *err)
{
    const tn_tensor wide = mat(TN_BF16, rows, s->cols), vector = mat(TN_F32, 1, s->cols);
    memset(b, 0, sizeof *b);
    tn_ctx_init(&b->c, d);
    b->op = s->back ? &tn_layernorm_thin_back_op : &tn_layernorm_thin_op;
    tn_layernorm_args n = {.x = wide, .y = wide, .dy = wide, .dx = wide, .gamma = vector, .beta = vector, .eps = 1e-5f};
    n.stats = mat(TN_F32, rows, 2), n.act = TN_BF16, n.accumulate = s->adds;
    if (s->scaled) n.scaled = wide, n.scale = vector;
    tn_gemm_args g = {.tb = !s->back, .alpha = 1, .A = wide, .C = mat(TN_BF16, rows, s->N), .mask_a = {s->p, 5}};
    g.B = s->back ? mat(TN_BF16, s->cols, s->N) : mat(TN_BF16, s->N, s->cols);
    b->like.n = n;
    TN_TRY(tn_gemm_check(&b->like.g, &g, err));
    for (int i = 0; i < SETS; i++) TN_TRY(b->op->make(&b->set[i], &b->c, &b->like, err));
    return 0;
}

static void tear_down(bench *b)
{
    for (int i = 0; b->op && i < SETS; i++) b->op->release(&b->set[i], &b->c);
    if (b->op) tn_ctx_free(&b->c);
}

/* The rows of what is run apart are chosen by measurement, and the workspace is counted. */
static int prepare(bench *b, const tn_choice *k, tn_error *err)
{
    tn_wanted w = {0};
    b->c.dry = true;
    b->c.wanted = &w;
    int rc = tn_variant_run_row(&b->c, b->op, k, &b->like, err);
    b->c.wanted = NULL;
    if (!rc) rc = tn_tune(&w, b->c.dev, err);
    tn_wanted_free(&w);
    tn_ws_reset(&b->c);
    if (!rc) rc = tn_variant_run_row(&b->c, b->op, k, &b->like, err);
    b->c.dry = false;
    return rc ? rc : tn_ctx_reserve(&b->c, b->c.ws_peak, err);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *v)
{
    qsort(v, LAUNCHES, sizeof *v, by_value);
    return v[LAUNCHES / 2];
}

/* us[k]: the k-th launch of a run, of two at most. */
static int measure(bench *b, const tn_choice *k, double us[2], tn_error *err)
{
    double all[2][LAUNCHES] = {{0}}, *s = NULL;
    tn_tape *t;
    int rc = prepare(b, k, err), n = 0;
    us[0] = us[1] = 0;
    if (rc || (rc = tn_tape_new(&t, b->c.dev, err))) return rc;
    b->c.tape = t;
    for (int i = 0; !rc && i < LAUNCHES; i++) {
        tn_ws_reset(&b->c);
        rc = tn_variant_run_row(&b->c, b->op, k, &b->set[i % SETS], err);
        if (!i) n = tn_tape_count(t);
    }
    b->c.tape = NULL;
    if (!rc && !(s = calloc((size_t)tn_tape_count(t) + 1, sizeof *s))) rc = tn_oom(err);
    for (int i = 0; !rc && i < 2; i++) rc = tn_tape_profile(t, s, err);
    for (int i = 0; !rc && i < LAUNCHES * n; i++) all[i % n > 0][i / n] += 1e6 * s[i];
    for (int i = 0; !rc && i < 2; i++) us[i] = median(all[i]);
    free(s);
    tn_tape_free(t);
    return rc;
}

static int joined(bench *b, tn_error *err)
{
    const tn_tunable *t = b->op->rows[0].tunables;
    double us[2];
    if (!tn_variant_can(&b->c, &b->op->rows[0], &b->like)) return puts("  joined: not on this device"), 0;
    printf("  joined, by %s:", t->name);
    for (const int *v = t->values; *v; v++) {
        const tn_choice k = {.row = 0, .tune = {*v}};
        TN_TRY(measure(b, &k, us, err));
        printf("  %d: %.1f", *v, us[0]);
        fflush(stdout);
    }
    return puts(""), 0;
}

static int one(tn_dev *d, const shape *s, int rows, tn_error *err)
{
    bench b;
    double us[2];
    const double passes = s->back ? 3 + s->adds + s->scaled : 2;
    int rc = set_up(&b, d, s, rows, err);
    const tn_choice apart = {.row = rc ? 0 : b.op->n - 1};
    if (!rc) rc = measure(&b, &apart, us, err);
    if (!rc)
        printf("%s%s%s, %d to %d, dropout %.2f: floor %.1f us, apart %.1f + %.1f\n", s->back ? "backward" : "forward",
               s->adds ? ", adds" : "", s->scaled ? ", scaled" : "", s->cols, s->N, (double)s->p,
               2e6 * rows * (passes * s->cols + s->N) / 2.6e12, us[0], us[1]);
    if (!rc) rc = joined(&b, err);
    tear_down(&b);
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
