/* bench_attention [device [images]]: attention of heads 64 wide in bfloat16, every row that the device takes (the portable one at
 * these lengths only where there is no other). First some heads of each are held against src/ref, after outputs of NaN, and a
 * second run against the first, bit for bit; then microseconds, medians of launches timed by the device, and TFLOP/s (4 N^2 64 a
 * head, backward two and a half times that). Beside PyTorch's: peer_attention.py. */
#include "../testdev.h"
#include "args.h"
#include "ref.h"
#include "sweep.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 64, SKIP = 5, CHECKED = 4 };

typedef struct {
    int n, heads, images; /* images: a part of those asked for, 1 / images */
} shape;

static const shape shapes[] = {{581, 6, 1}, {581, 12, 1}, {581, 16, 1}, {2309, 6, 1}, {2309, 12, 1}, {2309, 16, 2}};
static const shape odd[] = {{5, 3, 1}, {64, 2, 1}, {65, 6, 1}, {129, 6, 1}, {200, 1, 1}};

static tn_attention_args describe(const shape *s, int images, bool turned)
{
    tn_attention_args a = {.batch = TN_MAX(images / s->images, 1), .heads = s->heads, .n = s->n, .hd = WIDTH, .act = TN_BF16};
    a.scale = 1 / sqrtf(WIDTH);
    if (turned) a.skip = SKIP, a.table.rows = s->n - SKIP, a.table.cols = a.table.ld = WIDTH;
    return a;
}

/* ---- against src/ref ---- */

/* Columns `from` to from + WIDTH of one image's rows. */
static void take_head(float *to, int ld, const float *x, const tn_attention_args *a, int width, int image, int from)
{
    for (int r = 0; r < a->n; r++)
        for (int c = 0; c < WIDTH; c++) to[(size_t)r * ld + c] = x[((size_t)image * a->n + r) * width + from + c];
}

/* |got - want|^2 and |want|^2 of a head's part. */
static void add_error(double e[2], const float *want, int ld, const float *got, const tn_attention_args *a, int width, int image,
                      int from)
{
    for (int r = 0; r < a->n; r++)
        for (int c = 0; c < WIDTH; c++) {
            const double w = (double)want[(size_t)r * ld + c], d = (double)got[((size_t)image * a->n + r) * width + from + c] - w;
            e[0] += d * d, e[1] += w * w;
        }
}

typedef struct {
    float *qkv, *o, *d_o, *dqkv;
} host;

static void check_head(const tn_attention_args *a, const host *h, int bh, double e[2][2])
{
    const int D = a->heads * WIDTH, image = bh / a->heads, at = bh % a->heads * WIDTH;
    const size_t n = (size_t)a->n;
    float *v = malloc(sizeof *v * n * WIDTH * 8 + sizeof *v * n);
    if (!v) return;
    float *qkv = v, *g = qkv + n * 3 * WIDTH, *o = g + n * WIDTH, *dqkv = o + n * WIDTH, *lse = dqkv + n * 3 * WIDTH;
    for (int i = 0; i < 3; i++) take_head(qkv + (ptrdiff_t)i * WIDTH, 3 * WIDTH, h->qkv, a, 3 * D, image, i * D + at);
    take_head(g, WIDTH, h->d_o, a, D, image, at);
    tn_ref_attention(qkv, 1, a->n, 1, WIDTH, o, lse);
    tn_ref_attention_backward(qkv, g, 1, a->n, 1, WIDTH, dqkv);
    add_error(e[0], o, WIDTH, h->o, a, D, image, at);
    for (int i = 0; i < 3; i++) add_error(e[1], dqkv + (ptrdiff_t)i * WIDTH, 3 * WIDTH, h->dqkv, a, 3 * D, image, i * D + at);
    free(v);
}

static int fetch(tn_dev *d, const tn_tensor *t, float **to, tn_error *err)
{
    free(*to);
    *to = malloc(sizeof **to * tn_tensor_count(t));
    return *to ? tn_tensor_get(d, t, *to, err) : tn_oom(err);
}

static int poison(tn_dev *d, const tn_tensor *t, tn_error *err)
{
    const size_t bytes = tn_tensor_bytes(t);
    void *v = malloc(bytes);
    if (!v) return tn_oom(err);
    memset(v, 0xff, bytes);
    const int rc = tn_buffer_write(t->mem, t->off * tn_dtype_size(t->dtype), v, bytes, err);
    free(v);
    return rc;
}

/* Row f of the forward pass, and row b of the backward pass of what it left. */
static int pass(sweep *s, int f, int b, tn_attention_args *a, tn_error *err)
{
    tn_ws_reset(&s->c);
    TN_TRY(tn_variant_run_row(&s->c, &tn_attention_op, &(tn_choice){.row = f}, a, err));
    return tn_variant_run_row(&s->c, &tn_attention_back_op, &(tn_choice){.row = b}, a, err);
}

/* Workspace for both. */
static int reserve(sweep *s, int f, int b, tn_attention_args *a, tn_error *err)
{
    s->c.dry = true;
    TN_TRY(pass(s, f, b, a, err));
    s->c.dry = false;
    return tn_ctx_reserve(&s->c, s->c.ws_peak, err);
}

static int both(sweep *s, int f, int b, tn_attention_args *a, host *h, tn_error *err)
{
    tn_tensor *const outs[] = {&a->o, &a->lse, &a->delta, &a->dqkv};
    for (size_t i = 0; i < TN_COUNT(outs); i++) TN_TRY(poison(s->c.dev, outs[i], err));
    TN_TRY(pass(s, f, b, a, err));
    TN_TRY(fetch(s->c.dev, &a->o, &h->o, err));
    return fetch(s->c.dev, &a->dqkv, &h->dqkv, err);
}

static int check(sweep *s, int f, int b, tn_error *err)
{
    tn_attention_args *a = s->set[0];
    const int all = a->batch * a->heads;
    host h = {0}, again = {0};
    double e[2][2] = {{0}};
    TN_TRY(reserve(s, f, b, a, err));
    int rc = fetch(s->c.dev, &a->qkv, &h.qkv, err);
    if (!rc) rc = fetch(s->c.dev, &a->d_o, &h.d_o, err);
    if (!rc) rc = both(s, f, b, a, &h, err);
    if (!rc) rc = both(s, f, b, a, &again, err);
    if (!rc) {
        for (int i = 0; i < CHECKED; i++) check_head(a, &h, (int)((long)i * (all - 1) / (CHECKED - 1)), e);
        const bool same = !memcmp(h.o, again.o, sizeof *h.o * tn_tensor_count(&a->o)) &&
                          !memcmp(h.dqkv, again.dqkv, sizeof *h.dqkv * tn_tensor_count(&a->dqkv));
        const double o = sqrt(e[0][0] / e[0][1]), g = sqrt(e[1][0] / e[1][1]);
        printf("  %s: o off by %.1e, gradients by %.1e, twice the same: %s\n", tn_attention_op.rows[f].name, o, g,
               same ? "yes" : "NO");
        if (!(o < 5e-3) || !(g < 1e-2) || !same) rc = tn_fail(err, TN_ERR_DEVICE, "attention is wrong");
    }
    float *const all_of[] = {h.qkv, h.d_o, h.o, h.dqkv, again.o, again.dqkv};
    for (size_t i = 0; i < TN_COUNT(all_of); i++) free(all_of[i]);
    return rc;
}

/* ---- times ---- */

/* What a forward pass leaves in every set. */
static int fill_sets(sweep *s, int f, int b, tn_error *err)
{
    TN_TRY(reserve(s, f, b, s->set[0], err));
    for (int i = 0; i < SWEEP_SETS; i++) TN_TRY(pass(s, f, b, s->set[i], err));
    return 0;
}

static int row_named(const tn_variant_op *op, const char *name)
{
    int i = op->n - 1;
    while (i >= 0 && strcmp(op->rows[i].name, name) != 0) i--;
    return i;
}

static int time_row(tn_dev *d, const shape *z, int images, int f, tn_error *err)
{
    const int b = row_named(&tn_attention_back_op, tn_attention_op.rows[f].name);
    const tn_attention_args plain = describe(z, images, false), turned = describe(z, images, true);
    const double flop = 4.0 * plain.batch * z->heads * z->n * z->n * WIDTH;
    double us[4], fwd;
    sweep s = {0};
    int rc = sweep_open(&s, d, &tn_attention_op, &plain, err);
    if (!rc) rc = sweep_time(&s, &(tn_choice){.row = f}, us, 1, err);
    fwd = us[0];
    sweep_close(&s);
    if (!rc) rc = sweep_open(&s, d, &tn_attention_back_op, &turned, err);
    if (!rc) rc = fill_sets(&s, f, b, err);
    if (!rc) rc = sweep_time(&s, &(tn_choice){.row = b}, us, 4, err);
    sweep_close(&s);
    if (rc) return rc;
    const double back = us[0] + us[1] + us[2] + us[3];
    printf("  %-8s forward %7.1f us %5.1f TFLOP/s; backward %7.1f us %5.1f TFLOP/s (%.1f + %.1f)\n", tn_attention_op.rows[f].name,
           fwd, flop / fwd / 1e6, back, 2.5 * flop / back / 1e6, us[0], us[1]);
    fflush(stdout);
    return 0;
}

static int one(tn_dev *d, const shape *z, int images, bool timed, tn_error *err)
{
    const tn_attention_args like = describe(z, images, false);
    printf("%d tokens, %d heads, %d images\n", z->n, z->heads, like.batch);
    for (int f = 0, able = 0; f < tn_attention_op.n; f++) {
        if (f == tn_attention_op.n - 1 && timed && able) break; /* a hundred times as long */
        const int b = row_named(&tn_attention_back_op, tn_attention_op.rows[f].name);
        sweep s = {0};
        int rc = sweep_open(&s, d, &tn_attention_back_op, &like, err);
        const bool can = !rc && b >= 0 && tn_variant_can(&s.c, &tn_attention_op.rows[f], &like) &&
                         tn_variant_can(&s.c, &tn_attention_back_op.rows[b], &like);
        able += can;
        if (can) rc = check(&s, f, b, err);
        sweep_close(&s);
        if (!rc && can && timed) rc = time_row(d, z, images, f, err);
        if (rc) return rc;
    }
    return 0;
}

int main(int argc, char **argv)
{
    tn_error err = {0};
    tn_dev *d = NULL;
    const int images = argc > 2 ? atoi(argv[2]) : 32;
    int rc = images < 1 ? tn_fail(&err, TN_ERR_ARGUMENT, "bench_attention [device [images]]: images from 1 on")
                        : test_device(&d, argc > 1 ? argv[1] : "gpu", &err);
    if (!rc) printf("%s, driver %s\n", d->info.name, d->info.driver);
    for (size_t i = 0; !rc && i < TN_COUNT(odd); i++) rc = one(d, &odd[i], TN_MAX(images / 4, 1), false, &err);
    for (size_t i = 0; !rc && i < TN_COUNT(shapes); i++) rc = one(d, &shapes[i], images, true, &err);
    if (rc) fprintf(stderr, "bench_attention: %s\n", err.message);
    tn_dev_close(d);
    return rc != 0;
}
