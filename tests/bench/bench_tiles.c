/* bench_tiles [device [width [sustained]]]: what a layer of a ViT multiplies, by every row for a matrix unit and with every value
 * of its tunables, the default first: the products of one frame (581 rows) with the ends of a prediction, those of a training step
 * of 32 frames with theirs, and the step's gradients of adapters with dropout's bits; of ViT-S, B and L, or of one of them.
 * bfloat16. A product is compared with what its row makes of the same matrices by default. Microseconds: medians of launches timed
 * by the device, or of launches without a pause (sweep_sustained). */
#include "../testdev.h"
#include "grads.h"
#include "sweep.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { FRAME = 581, BATCH = 32 * FRAME, RANK = 16, WIDTHS = 3 };

typedef enum { BIAS, RESIDUAL, GELU, SLOPE, PLAIN } ending;
static const char *const endings[] = {"bias", "scale, residual", "GELU", "slope", "bare"};

/* Of a layer D wide: columns and K in D, adapters that the product takes in a step. */
typedef struct {
    int n, k, parts;
    bool back;
    ending end;
} shape;

static const shape shapes[] = {
    {3, 1, 3, false, BIAS}, {1, 1, 1, false, RESIDUAL}, {4, 1, 1, false, GELU}, {1, 4, 1, false, RESIDUAL},
    {4, 1, 1, true, SLOPE}, {1, 4, 1, true, PLAIN},     {1, 1, 1, true, PLAIN}, {1, 3, 3, true, PLAIN},
};

static tn_tensor mat(int rows, int cols)
{
    return tn_view(NULL, TN_BF16, rows, cols);
}

/* vector: any, of which copies are made. */
static void describe(tn_gemm_args *g, const shape *s, int d, bool step, tn_buffer *vector)
{
    const int m = step ? BATCH : FRAME, n = s->n * d, k = s->k * d, ranks = RANK * s->parts;
    tn_epilogue *e = &g->e;
    *g = (tn_gemm_args){.tb = !s->back, .alpha = 1, .A = mat(m, k), .C = mat(m, n), .M = m, .N = n, .K = k, .any = tn_gemm_run};
    g->B = s->back ? mat(k, n) : mat(n, k);
    if (s->end == BIAS || s->end == GELU || s->end == RESIDUAL) e->bias = vector;
    if (s->end == GELU) e->has_act = true, e->act = TN_GELU;
    if (s->end == RESIDUAL) e->scale = vector, e->residual = mat(m, n);
    if (s->end == SLOPE) e->slope = mat(m, n), e->slope_ready = true, e->act = TN_GELU;
    if (!step) return;
    if (s->end == GELU) e->pre = mat(m, n), e->pre_slope = true;
    e->alpha2 = 1, e->tb2 = !s->back, e->parts = s->back ? 1 : s->parts;
    e->A2 = mat(m, ranks), e->B2 = s->back ? mat(ranks, n) : mat(n, RANK);
    if (s->back) e->mask = (tn_mask){0.05f, 5}, g->drawn = 1;
}

static void gradient(tn_grads *l, int thin, int wide, bool a)
{
    tn_gemm_args *g = &l->g[l->n++];
    *g = (tn_gemm_args){.ta = true, .alpha = 1, .beta = 1, .M = a ? thin : wide, .N = a ? wide : thin, .K = BATCH};
    g->A = mat(BATCH, g->M), g->B = mat(BATCH, g->N), g->C = tn_view(NULL, TN_F32, g->M, g->N), g->any = tn_gemm_run;
    if (a) g->mask_b = (tn_mask){0.05f, 5}, g->drawn = 1;
}

/* Of q, k and v, o, up and down: A's, then B's. */
static void describe_grads(tn_grads *l, int d)
{
    l->n = 0;
    gradient(l, 3 * RANK, d, true);
    gradient(l, RANK, d, true);
    gradient(l, RANK, d, true);
    gradient(l, RANK, 4 * d, true);
    for (int i = 0; i < 3; i++) gradient(l, RANK, d, false);
    gradient(l, RANK, d, false);
    gradient(l, RANK, 4 * d, false);
    gradient(l, RANK, d, false);
}

/* ---- runs ---- */

/* What the first set's product is; NULL: something else than one. */
static const tn_tensor *result(const sweep *b)
{
    return b->op == &tn_gemm_op ? &((const tn_gemm_args *)b->set[0])->C : NULL;
}

static int made(float **out, sweep *b, const tn_choice *k, tn_error *err)
{
    const tn_tensor *C = result(b);
    if (!C) return 0;
    TN_TRY(tn_tensor_poison(b->c.dev, C, err));
    TN_TRY(sweep_once(b, k, err));
    *out = malloc(sizeof **out * tn_tensor_count(C));
    return *out ? tn_tensor_get(b->c.dev, C, *out, err) : tn_oom(err);
}

static double difference(const float *a, const float *b, size_t n)
{
    double d = 0, all = 0;
    for (size_t i = 0; i < n; i++) d += pow((double)a[i] - (double)b[i], 2), all += pow((double)b[i], 2);
    return sqrt(d / all);
}

static bool sustained;

static int one_choice(sweep *b, const tn_choice *k, const float *want, const char *name, tn_error *err)
{
    double us[2] = {0}, off = 0;
    float *got = NULL;
    int rc = made(&got, b, k, err);
    if (!rc) rc = sustained ? sweep_sustained(b, k, us, err) : sweep_time(b, k, us, 2, err);
    if (!rc && got) off = difference(got, want, tn_tensor_count(result(b)));
    if (!rc) printf("  %s %.1f%s", name, us[0] + us[1], off < 6e-3 ? "" : " WRONG");
    free(got);
    fflush(stdout);
    return rc;
}

static int one_row(sweep *b, int row, const float *want, tn_error *err)
{
    const tn_variant *v = &b->op->rows[row];
    const tn_choice usual = tn_variant_defaults(b->op, row);
    char name[64];
    TN_TRY(one_choice(b, &usual, want, v->name, err));
    for (int i = 0; v->tunables && v->tunables[i].name; i++)
        for (const int *t = v->tunables[i].values + 1; *t; t++) {
            tn_choice k = usual;
            k.tune[i] = *t;
            snprintf(name, sizeof name, "%s=%d", v->tunables[i].name, *t);
            TN_TRY(one_choice(b, &k, want, name, err));
        }
    return 0;
}

static int one(tn_dev *d, const tn_variant_op *op, const void *like, tn_error *err)
{
    sweep b = {0};
    float *want = NULL;
    char key[TN_KEY];
    int rc = sweep_open(&b, d, op, like, err);
    op->key(key, sizeof key, like);
    if (!rc) printf("%s\n", key);
    for (int row = 0; !rc && row < op->n; row++) {
        const tn_choice k = tn_variant_defaults(op, row);
        if (!(op->rows[row].needs || op->rows[row].any) || !tn_variant_can(&b.c, &op->rows[row], like)) continue;
        rc = made(&want, &b, &k, err); /* of bits that mean nothing rows that draw by themselves make something else */
        if (!rc) rc = one_row(&b, row, want, err);
        free(want);
        want = NULL;
    }
    puts("");
    sweep_close(&b);
    return rc;
}

static int layer(tn_dev *d, int width, tn_buffer *vector, tn_error *err)
{
    tn_gemm_args g;
    tn_grads l;
    for (int step = 0; step < 2; step++)
        for (size_t i = 0; i < TN_COUNT(shapes); i++) {
            if (shapes[i].back && !step) continue;
            describe(&g, &shapes[i], width, step, vector);
            printf("%s: ", endings[shapes[i].end]);
            TN_TRY(one(d, &tn_gemm_op, &g, err));
        }
    describe_grads(&l, width);
    return one(d, &tn_grads_op, &l, err);
}

int main(int argc, char **argv)
{
    static const int widths[WIDTHS] = {384, 768, 1024};
    tn_error err = {0};
    tn_dev *d = NULL;
    tn_tensor vector = {0};
    sustained = argc > 3;
    int rc = test_device(&d, argc > 1 ? argv[1] : "gpu", &err);
    if (!rc) printf("%s, driver %s\n", d->info.name, d->info.driver);
    if (!rc) rc = tn_tensor_new(&vector, d, TN_F32, 1, 4 * widths[WIDTHS - 1], "a vector", &err);
    for (int i = 0; !rc && i < WIDTHS; i++)
        if (argc < 3 || atoi(argv[2]) == widths[i]) rc = layer(d, widths[i], vector.mem, &err);
    if (rc) fprintf(stderr, "bench_tiles: %s\n", err.message);
    tn_tensor_free(d, &vector);
    tn_dev_close(d);
    return rc != 0;
}
