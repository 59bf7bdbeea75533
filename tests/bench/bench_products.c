/* bench_products [device]: the products of a ViT's layers in bfloat16 (GEMM at batch 32 and of one frame), forward (A B^T)
 * and towards the input (A B), bare and with what a layer puts at their end, by the row that the tuner takes or TRACKNET_GEMM
 * names. Each is checked first: 300 elements against float64, NaN where nothing was written, two runs equal bit by bit.
 * Microseconds: the median of launches timed by the device. Beside them cuBLAS (peer_products.py, run in the same go where PyTorch
 * is). */
#include "../testdev.h"
#include "gemm.h"
#include "tape.h"
#include "tuning.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 300, LAUNCHES = 31, RANK = 16, SHAPES = 40 };

typedef enum { BARE, LORA, GELU, GELU_KEPT, RESIDUAL, SLOPE, ENDS } ending;
static const char *const endings[] = {"bare", "lora", "gelu", "gelu kept, lora", "residual, lora", "slope, lora"};

typedef struct {
    int m, n, k;
    bool tb;
    double peer; /* us; 0: not known */
} shape;

typedef struct {
    tn_ctx c;
    tn_gemm_args g;
    tn_tensor a, b, y, u, x, t, l, bias, scale;
} bench;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int fill(tn_tensor *t, bench *b, tn_dtype dt, int rows, int cols, tn_error *err)
{
    TN_TRY(tn_tensor_new(t, b->c.dev, dt, rows, cols, "bench", err));
    return tn_tensor_random(b->c.dev, t, err);
}

static int open_bench(bench *b, tn_dev *d, const shape *s, ending e, tn_error *err)
{
    memset(b, 0, sizeof *b);
    tn_ctx_init(&b->c, d);
    TN_TRY(fill(&b->a, b, TN_BF16, s->m, s->k, err));
    TN_TRY(fill(&b->b, b, TN_BF16, s->tb ? s->n : s->k, s->tb ? s->k : s->n, err));
    TN_TRY(fill(&b->y, b, TN_BF16, s->m, s->n, err));
    TN_TRY(fill(&b->u, b, TN_BF16, s->m, s->n, err));
    TN_TRY(fill(&b->t, b, TN_BF16, s->m, RANK, err));
    TN_TRY(fill(&b->l, b, TN_BF16, s->tb ? s->n : RANK, s->tb ? RANK : s->n, err));
    TN_TRY(fill(&b->bias, b, TN_F32, 1, s->n, err));
    TN_TRY(fill(&b->scale, b, TN_F32, 1, s->n, err));
    b->g = (tn_gemm_args){.tb = s->tb, .alpha = 1, .A = b->a, .B = b->b, .C = b->y};
    tn_epilogue *p = &b->g.e;
    if (e == LORA || e >= GELU_KEPT) p->parts = 1, p->tb2 = s->tb, p->alpha2 = 2, p->A2 = b->t, p->B2 = b->l;
    if (e == GELU || e == GELU_KEPT) p->has_act = true, p->act = TN_GELU, p->bias = b->bias.mem;
    if (e == GELU_KEPT) p->pre = b->u;
    if (e == RESIDUAL) p->residual = b->u, p->scale = b->scale.mem, p->bias = b->bias.mem;
    if (e == SLOPE) p->slope = b->u, p->act = TN_GELU;
    return tn_ctx_reserve(&b->c, (size_t)512 << 20, err);
}

static void close_bench(bench *b)
{
    tn_tensor *const all[] = {&b->a, &b->b, &b->y, &b->u, &b->t, &b->l, &b->bias, &b->scale};
    for (size_t i = 0; i < TN_COUNT(all); i++) tn_tensor_free(b->c.dev, all[i]);
    tn_ctx_free(&b->c);
}

/* ---- what is right ---- */

static double gelu(double x)
{
    return 0.5 * x * erfc(-x * sqrt(0.5));
}

static double gelu_slope(double x)
{
    return 0.5 * erfc(-x * sqrt(0.5)) + x * exp(-0.5 * x * x) / sqrt(6.283185307179586);
}

typedef struct {
    float *a, *b, *u, *t, *l, *bias, *scale;
} host;

static double expected(const host *h, const shape *s, ending e, int r, int c)
{
    double v = 0, pair = 0;
    for (int k = 0; k < s->k; k++)
        v += (double)h->a[(size_t)r * (size_t)s->k + (size_t)k] *
             (double)h->b[s->tb ? (size_t)c * (size_t)s->k + (size_t)k : (size_t)k * (size_t)s->n + (size_t)c];
    for (int k = 0; k < RANK; k++) pair += (double)h->t[r * RANK + k] * (double)h->l[s->tb ? c * RANK + k : k * s->n + c];
    const double u = (double)h->u[(size_t)r * (size_t)s->n + (size_t)c];
    if (e == LORA || e >= GELU_KEPT) v += 2 * pair;
    if (e == GELU || e == GELU_KEPT || e == RESIDUAL) v += (double)h->bias[c];
    if (e == GELU || e == GELU_KEPT) return gelu(v);
    if (e == RESIDUAL) return u + v * (double)h->scale[c];
    return e == SLOPE ? v * gelu_slope(u) : v;
}

static int get(float **out, bench *b, const tn_tensor *t, tn_error *err)
{
    *out = malloc(sizeof **out * (tn_tensor_count(t) + 1));
    return *out ? tn_tensor_get(b->c.dev, t, *out, err) : tn_oom(err);
}

/* The relative error of SAMPLES elements, corners among them; NaN where two runs differ. */
static int check(bench *b, const shape *s, ending e, double *error, tn_error *err)
{
    host h = {0};
    float *got[2] = {0};
    int rc = 0;
    for (int i = 0; !rc && i < 2; i++) {
        if (e != GELU_KEPT) rc = tn_tensor_poison(b->c.dev, &b->y, err);
        tn_ws_reset(&b->c);
        if (!rc) rc = tn_gemm_run(&b->c, &b->g, err);
        if (!rc) rc = get(&got[i], b, &b->y, err);
    }
    const tn_tensor *const from[] = {&b->a, &b->b, &b->u, &b->t, &b->l, &b->bias, &b->scale};
    float **const to[] = {&h.a, &h.b, &h.u, &h.t, &h.l, &h.bias, &h.scale};
    for (size_t i = 0; !rc && i < TN_COUNT(to); i++) rc = get(to[i], b, from[i], err);
    double num = 0, den = 0;
    for (int i = 0; !rc && i < SAMPLES; i++) {
        const int r = i < 20 ? s->m - 1 - i % 4 : (int)(tn_hash_u32(1, (uint32_t)i) % (uint32_t)s->m);
        const int c = i < 20 ? s->n - 1 - i / 4 : (int)(tn_hash_u32(2, (uint32_t)i) % (uint32_t)s->n);
        const double want = expected(&h, s, e, r, c), d = (double)got[0][(size_t)r * (size_t)s->n + (size_t)c] - want;
        num += d * d, den += want * want;
    }
    *error = sqrt(num / den);
    if (!rc && memcmp(got[0], got[1], sizeof(float) * tn_tensor_count(&b->y))) *error = NAN;
    for (size_t i = 0; i < TN_COUNT(to); i++) free(*to[i]);
    free(got[0]);
    free(got[1]);
    return rc;
}

/* ---- times ---- */

static int measure(bench *b, double *us, tn_error *err)
{
    double *s = NULL;
    tn_tape *t;
    TN_TRY(tn_tape_new(&t, b->c.dev, err));
    b->c.tape = t;
    int rc = 0, n = 0;
    for (int i = 0; !rc && i < LAUNCHES; i++) {
        tn_ws_reset(&b->c);
        rc = tn_gemm_run(&b->c, &b->g, err);
        if (!i) n = tn_tape_count(t);
    }
    b->c.tape = NULL;
    if (!rc && !(s = calloc((size_t)tn_tape_count(t) + 1, sizeof *s))) rc = tn_oom(err);
    for (int i = 0; !rc && i < 2; i++) rc = tn_tape_profile(t, s, err);
    double all[LAUNCHES] = {0};
    for (int i = 0; !rc && i < LAUNCHES; i++)
        for (int k = 0; k < n; k++) all[i] += 1e6 * s[i * n + k];
    qsort(all, LAUNCHES, sizeof *all, by_value);
    *us = all[LAUNCHES / 2];
    free(s);
    tn_tape_free(t);
    return rc;
}

static const char *row_of(bench *b)
{
    tn_gemm_args g;
    tn_choice k;
    tn_error e;
    if (tn_gemm_check(&g, &b->g, &e) || tn_variant_choose(&k, &b->c, &tn_gemm_op, &g, &e)) return "?";
    return tn_gemm_op.rows[k.row].name;
}

static int one(tn_dev *d, const shape *s, ending e, tn_error *err)
{
    bench b;
    double us = 0, error = 0;
    int rc = open_bench(&b, d, s, e, err);
    if (!rc) rc = check(&b, s, e, &error, err);
    if (!rc) rc = measure(&b, &us, err);
    if (!rc) {
        printf("| %5d x %4d x %4d | %s | %-15s | %-8s | %8.1f | %5.0f |", s->m, s->n, s->k, s->tb ? "NT" : "NN", endings[e],
               row_of(&b), us, 2e-6 * s->m * s->n * s->k / us);
        if (s->peer > 0) printf(" %8.1f | %.2f |", s->peer, s->peer / us);
        else printf("        - |    - |");
        printf(" %.1e%s |\n", error, error < 4e-3 ? "" : " WRONG");
        fflush(stdout);
    }
    close_bench(&b);
    return rc;
}

/* cuBLAS's times, where its script runs. */
static void ask_peer(shape *s, int n)
{
    char path[] = "/tmp/bench_products.XXXXXX";
    const int fd = mkstemp(path);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!f) return;
    for (int i = 0; i < n; i++) fprintf(f, "%d %d %d %d\n", s[i].m, s[i].n, s[i].k, s[i].tb);
    fclose(f);
    char command[160];
    snprintf(command, sizeof command, "python3 tests/bench/peer_products.py < %s 2>/dev/null", path);
    FILE *p = popen(command, "r"); /* NOLINT(cert-env33-c): a bench runs its peer */
    int known = 0;
    for (int m, cols, k, tb; known < n && p && fscanf(p, "%d %d %d %d %lf", &m, &cols, &k, &tb, &s[known].peer) == 5;) known++;
    if (p) pclose(p);
    remove(path);
    if (!known) printf("the peer (tests/bench/peer_products.py) does not run here: ours alone\n");
}

static int shapes(shape *s)
{
    static const int dims[] = {384, 768, 1024}, tall[] = {32 * 581, 581};
    int n = 0;
    for (size_t t = 0; t < TN_COUNT(tall); t++)
        for (size_t i = 0; i < TN_COUNT(dims); i++)
            for (int f = 0; f < 4; f++)
                for (int tb = 1; tb >= (t ? 1 : 0); tb--) {
                    const int w = dims[i], cols = f == 1 ? 3 * w : f == 2 ? 4 * w : w, k = f == 3 ? 4 * w : w;
                    s[n++] = (shape){tall[t], cols, k, tb, 0};
                }
    s[n++] = (shape){4096, 4096, 4096, true, 0};
    return n;
}

int main(int argc, char **argv)
{
    tn_error err = {0};
    tn_dev *d;
    shape s[SHAPES];
    const int n = shapes(s);
    int rc = test_device(&d, argc > 1 ? argv[1] : "gpu", &err);
    if (rc) return fprintf(stderr, "bench_products: %s\n", err.message), 1;
    printf("%s, driver %s\n", d->info.name, d->info.driver);
    ask_peer(s, n);
    printf("| M x N x K | | end | row | us | TFLOP/s | cuBLAS us | ratio | error |\n|---|---|---|---|---|---|---|---|---|\n");
    for (int e = BARE; !rc && e < ENDS; e++)
        for (int i = 0; !rc && i < n; i++) {
            const bool back = e == SLOPE, forward = e == GELU || e == GELU_KEPT || e == RESIDUAL;
            if ((e && s[i].m < 1000) || (e && s[i].n == 4096 && s[i].k == 4096) || (back && s[i].tb) || (forward && !s[i].tb))
                continue;
            rc = one(d, &s[i], (ending)e, &err);
        }
    if (rc) fprintf(stderr, "bench_products: %s\n", err.message);
    tn_dev_close(d);
    return rc != 0;
}
