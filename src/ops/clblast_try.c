/* CLBlast with given parameters: a process of its own multiplies, compares with plain C and measures. */
#include "clblast.h"
#include "clock.h"
#include "entry.h"
#include "gemm.h"
#include "helper.h"
#include "ref.h"
#include "selftest.h"
#include "tuning.h"
#include "verdict.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The products of a ViT-S layer on one image of 322 x 322: forward, towards the input, of a weight. */
static const struct {
    bool ta, tb;
    int M, N, K;
} shapes[] = {{false, true, 581, 1536, 384}, {false, false, 581, 384, 1536}, {true, false, 384, 1536, 581}};

enum { ROWS = 24, RUNS = 5 }; /* rows of a product that plain C computes too */
#define ENOUGH 1.0            /* seconds that a shape is measured for, where one run does not take longer */

static tn_gemm_args product(int i)
{
    tn_gemm_args g = {.ta = shapes[i].ta, .tb = shapes[i].tb, .alpha = 1, .M = shapes[i].M, .N = shapes[i].N, .K = shapes[i].K};
    g.A = tn_view(NULL, TN_F32, g.ta ? g.K : g.M, g.ta ? g.M : g.K);
    g.B = tn_view(NULL, TN_F32, g.tb ? g.N : g.K, g.tb ? g.K : g.N);
    g.C = tn_view(NULL, TN_F32, g.M, g.N);
    return g;
}

/* Row i of the sample: the first, the last, and some between. */
static int sampled(int i, int M)
{
    return (int)((long long)i * (M - 1) / (ROWS - 1));
}

/* The sampled rows of op(A), and of C as they are and as they should be; all in one allocation of `host`. */
static int compare(tn_clblast_answer *out, tn_dev *d, const tn_gemm_args *g, float *host, tn_error *err)
{
    float *a = host, *b = a + (size_t)g->M * (size_t)g->K, *c = b + (size_t)g->N * (size_t)g->K,
          *rows = c + (size_t)g->M * (size_t)g->N;
    float *want = rows + (size_t)ROWS * (size_t)g->K, *got = want + (size_t)ROWS * (size_t)g->N;
    TN_TRY(tn_tensor_get(d, &g->A, a, err));
    TN_TRY(tn_tensor_get(d, &g->B, b, err));
    TN_TRY(tn_tensor_get(d, &g->C, c, err));
    for (int i = 0; i < ROWS; i++) {
        const size_t at = (size_t)sampled(i, g->M);
        for (int k = 0; k < g->K; k++)
            rows[(size_t)i * (size_t)g->K + (size_t)k] =
                g->ta ? a[(size_t)k * (size_t)g->M + at] : a[at * (size_t)g->K + (size_t)k];
        memcpy(got + (size_t)i * (size_t)g->N, c + at * (size_t)g->N, sizeof *c * (size_t)g->N);
    }
    const tn_ref_product p = {.tb = g->tb,
                              .M = ROWS,
                              .N = g->N,
                              .K = g->K,
                              .lda = g->K,
                              .ldb = g->tb ? g->K : g->N,
                              .ldc = g->N,
                              .alpha = 1,
                              .A = rows,
                              .B = b};
    tn_ref_gemm(&p, want);
    const size_t n = (size_t)ROWS * (size_t)g->N;
    const double e = tn_relative_error(got, want, n, 1e-15), one = tn_element_error(got, want, n);
    out->good = e <= tn_case_bound(TN_F32) && one <= tn_case_element_bound(TN_F32);
    if (!out->good) snprintf(out->why, sizeof out->why, "wrong: off by %.2g, one element by %.2g", e, one);
    return 0;
}

static int multiply(tn_ctx *c, const tn_gemm_args *g, tn_error *err)
{
    tn_ws_reset(c);
    return tn_gemm_clblast(c, g, err);
}

static int reserve(tn_ctx *c, const tn_gemm_args *g, tn_error *err)
{
    c->dry = true;
    TN_TRY(multiply(c, g, err));
    c->dry = false;
    return tn_ctx_reserve(c, c->ws_peak, err);
}

static int check_shape(tn_clblast_answer *out, tn_ctx *c, const tn_gemm_args *g, tn_error *err)
{
    const size_t M = (size_t)g->M, N = (size_t)g->N, K = (size_t)g->K;
    float *host = calloc(M * K + N * K + M * N + ROWS * (K + 2 * N), sizeof *host);
    if (!host) return tn_oom(err);
    int rc = tn_tensor_poison(c->dev, &g->C, err);
    if (!rc) rc = reserve(c, g, err);
    const double begin = tn_now();
    if (!rc) rc = multiply(c, g, err);
    if (!rc) rc = tn_dev_finish(c->dev, err);
    if (out->first <= 0) out->first = tn_now() - begin;
    if (!rc) rc = compare(out, c->dev, g, host, err);
    free(host);
    return rc;
}

/* On a processor what its threads worked, each: there other programs take from the time that passes. */
static double worked(const tn_dev *d)
{
    return d->caps & TN_CAP_CPU ? (double)clock() / CLOCKS_PER_SEC / d->info.compute_units : tn_now();
}

static int time_shape(double *seconds, tn_ctx *c, const tn_gemm_args *g, tn_error *err)
{
    const double begin = tn_now();
    *seconds = INFINITY;
    for (int i = 0; i < RUNS && (!i || tn_now() - begin < ENOUGH); i++) {
        const double t = worked(c->dev);
        TN_TRY(multiply(c, g, err));
        TN_TRY(tn_dev_finish(c->dev, err));
        *seconds = TN_MIN(*seconds, worked(c->dev) - t);
    }
    return 0;
}

/* out->seconds gathers logarithms. */
static int try_shape(tn_clblast_answer *out, tn_ctx *c, int i, tn_error *err)
{
    const tn_gemm_args like = product(i);
    tn_gemm_args g;
    double seconds = 0;
    int rc = tn_gemm_make(&g, c, &like, err);
    if (!rc) rc = check_shape(out, c, &g, err);
    if (!rc && out->good) rc = time_shape(&seconds, c, &g, err);
    if (!rc && out->good) out->seconds += log(seconds);
    tn_gemm_release(&g, c);
    return rc;
}

/* The self-test's products of the shapes' kinds. */
static int try_cases(tn_clblast_answer *out, tn_dev *d, tn_error *err)
{
    const int row = tn_variant_find(&tn_gemm_op, "clblast");
    for (size_t i = 0; out->good && i < TN_COUNT(shapes); i++) {
        tn_verdict v;
        char kind[TN_KEY];
        const tn_gemm_args g = product((int)i);
        tn_gemm_kind(kind, sizeof kind, &g);
        TN_TRY(tn_check_row(&v, d, &tn_gemm_op, row, kind, &g, err));
        out->good = v.good;
        snprintf(out->why, sizeof out->why, "%.190s", v.why);
    }
    return 0;
}

static int try_all(tn_clblast_answer *out, tn_dev *d, const tn_clblast_request *q, tn_error *err)
{
    tn_ctx c;
    tn_ctx_bare(&c, d);
    d->library_set = true;
    int rc = strcmp(d->info.name, q->device) ? tn_fail(err, TN_ERR_DEVICE, "the list of devices has changed") : 0;
    if (!rc) rc = tn_clblast_apply(d, q->text, err);
    out->good = true;
    for (size_t i = 0; !rc && out->good && i < TN_COUNT(shapes); i++) rc = try_shape(out, &c, (int)i, err);
    if (!rc && q->thorough) rc = try_cases(out, d, err);
    out->seconds = exp(out->seconds / TN_COUNT(shapes));
    tn_ctx_free(&c);
    return rc;
}

static bool is_request(tn_clblast_request *q)
{
    char stamp[sizeof q->stamp] = "";
    tn_clblast_stamp(stamp, sizeof stamp);
    q->cache_dir[sizeof q->cache_dir - 1] = q->device[sizeof q->device - 1] = q->text[sizeof q->text - 1] = 0;
    return !memcmp(stamp, q->stamp, sizeof stamp);
}

int tn_device_try_clblast(int in, int out, tn_error *err)
{
    TN_ENTRY(err);
    tn_clblast_request q;
    tn_clblast_answer a = {.good = false};
    tn_dev *d = NULL;
    if (!tn_helper_read(in, &q, sizeof q) || !is_request(&q))
        return tn_fail(err, TN_ERR_ARGUMENT, "try-clblast is for tracknet itself: its input asks for nothing");
    const int answer = tn_helper_answers_to(out);
    const tn_dev_options o = {.cache = q.cache_dir};
    int rc = tn_dev_open(&d, q.index, &o, err);
    if (!rc) rc = try_all(&a, d, &q, err);
    if (rc) a = (tn_clblast_answer){.good = false}, snprintf(a.why, sizeof a.why, "%.190s", err->message);
    tn_dev_close(d);
    const bool told = write(answer, &a, sizeof a) == (ssize_t)sizeof a;
    close(answer);
    return told ? 0 : tn_fail(err, TN_ERR_IO, "nobody waits for the answer");
}
