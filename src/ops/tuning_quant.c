/* Which kernels read a device's quantised matrices: each is checked against the host first and then timed, the fused
 * product of few tokens against unpacking and multiplying. */
#include "clock.h"
#include "gemm.h"
#include "ops.h"
#include "ref.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 1536, K = 384, TIMES = 7 };
static const int tokens[] = {1, 2, 4, TN_QGEMV_ROWS};

typedef struct {
    tn_ctx c;
    tn_qtensor q;
    tn_tensor x, w, w16, y;            /* w16: bfloat16 */
    float *host, *values, *got, *want; /* random; as the host unpacks them; read back; the reference's product */
} trial;

static void trial_free(trial *t)
{
    tn_dev *d = t->c.dev;
    tn_tensor_free(d, &t->y);
    tn_tensor_free(d, &t->x);
    tn_tensor_free(d, &t->w16);
    tn_tensor_free(d, &t->w);
    tn_qtensor_free(&t->q, d);
    tn_ctx_free(&t->c);
    free(t->host);
    free(t->values);
    free(t->got);
    free(t->want);
}

static int trial_new(trial *t, tn_dev *d, tn_error *err)
{
    const tn_qshape s = {.type = TN_Q_NF4, .rows = N, .cols = K, .block = 64, .nested = true};
    const size_t n = (size_t)N * K;
    tn_ctx_init(&t->c, d, TN_F32);
    t->host = malloc(n * 4);
    t->values = malloc(n * 4);
    t->got = malloc(n * 4);
    t->want = malloc((size_t)TN_QGEMV_ROWS * N * 4);
    if (!t->host || !t->values || !t->got || !t->want) return tn_oom(err);
    tn_rng r = tn_rng_named(3, "tuning");
    for (size_t i = 0; i < n; i++) t->host[i] = (float)tn_rng_normal(&r);
    tn_qmatrix m;
    TN_TRY(tn_quantize(&m, t->host, &s, "tuning", err));
    tn_dequantize(&m, t->values);
    int rc = tn_qtensor_new(&t->q, d, &s, NULL, err);
    if (!rc) rc = tn_qtensor_set(&t->q, d, &m, err);
    tn_qmatrix_free(&m);
    if (!rc) rc = tn_tensor_new(&t->w, d, TN_F32, N, K, "tuning", err);
    if (!rc) rc = tn_tensor_new(&t->w16, d, TN_BF16, N, K, "tuning", err);
    return rc;
}

/* x and y for so many tokens, and what y must be. */
static int trial_tokens(trial *t, int rows, tn_error *err)
{
    tn_dev *d = t->c.dev;
    tn_tensor_free(d, &t->y);
    tn_tensor_free(d, &t->x);
    TN_TRY(tn_tensor_new(&t->x, d, TN_F32, rows, K, "tuning", err));
    TN_TRY(tn_tensor_new(&t->y, d, TN_F32, rows, N, "tuning", err));
    TN_TRY(tn_tensor_set(d, &t->x, t->host, err));
    tn_ref_gemm(false, true, rows, N, K, 1, t->host, K, t->values, K, 0, t->want, N, NULL);
    return 0;
}

/* The host's values, rounded to w's storage. */
static bool same_values(const trial *t, const tn_tensor *w)
{
    for (size_t i = 0; i < (size_t)N * K; i++) {
        const float want = tn_rounded(t->values[i], w->dtype);
        if (memcmp(&want, &t->got[i], sizeof want)) return false;
    }
    return true;
}

static bool unpack_agrees(trial *t, tn_qvariant v, tn_tensor *w)
{
    tn_error err = {0};
    bool can = false;
    int rc = tn_tensor_poison(t->c.dev, w, &err);
    if (!rc) rc = tn_unpack_with(&t->c, v, &t->q, w, &can, &err);
    if (!rc && can) rc = tn_tensor_get(t->c.dev, w, t->got, &err);
    const bool ok = !rc && can && same_values(t, w);
    if (can && !ok)
        tn_logf(t->c.dev->log, TN_LOG_WARN, "device '%s': unpacking variant %s is not used (%s)", t->c.dev->info.name,
                tn_qvariant_names[v], rc ? err.message : "its values are not the host's");
    return ok;
}

static bool gemv_agrees(trial *t, tn_qvariant v)
{
    tn_error err = {0};
    bool can = false;
    int rc = tn_tensor_poison(t->c.dev, &t->y, &err);
    if (!rc) rc = tn_qgemv_with(&t->c, v, &t->x, &t->q, NULL, t->y, &can, &err);
    if (!rc && can) rc = tn_tensor_get(t->c.dev, &t->y, t->got, &err);
    const bool ok = !rc && can && tn_relative_error(t->got, t->want, tn_tensor_count(&t->y), 0) < 1e-5;
    if (can && !ok)
        tn_logf(t->c.dev->log, TN_LOG_WARN, "device '%s': variant %s of the quantised product is not used (%s)",
                t->c.dev->info.name, tn_qvariant_names[v], rc ? err.message : "its values are not the reference's");
    return ok;
}

typedef int timed(trial *t, int v, tn_error *err);

static int unpacking(trial *t, int v, tn_error *err)
{
    bool can;
    return tn_unpack_with(&t->c, (tn_qvariant)v, &t->q, &t->w16, &can, err);
}

/* v: a variant of the fused product, or TN_QV_COUNT for unpacking and multiplying. */
static int product(trial *t, int v, tn_error *err)
{
    bool can;
    if (v < TN_QV_COUNT) return tn_qgemv_with(&t->c, (tn_qvariant)v, &t->x, &t->q, NULL, t->y, &can, err);
    TN_TRY(tn_unpack(&t->c, &t->q, &t->w, err));
    return tn_gemm(&t->c, false, true, 1, t->x, t->w, 0, t->y, NULL, err);
}

static int seconds_of(trial *t, timed *run, int v, double *seconds, tn_error *err)
{
    t->c.dry = true;
    tn_ws_reset(&t->c);
    TN_TRY(run(t, v, err));
    t->c.dry = false;
    TN_TRY(tn_ctx_reserve(&t->c, t->c.ws_peak, err));
    *seconds = 1e30;
    for (int i = 0; i < TIMES; i++) {
        const double begin = tn_now();
        TN_TRY(run(t, v, err));
        TN_TRY(tn_dev_finish(t->c.dev, err));
        if (i) *seconds = TN_MIN(*seconds, tn_now() - begin);
    }
    return 0;
}

/* By bfloat16, the storage that training unpacks to; to float32 they are alike. */
static int tune_unpack(tn_gemm_tuning *g, trial *t, tn_error *err)
{
    double best = 1e30;
    g->unpack = TN_QV_PORTABLE;
    for (int v = 0; v < TN_QV_COUNT; v++) {
        double sec;
        if (!unpack_agrees(t, (tn_qvariant)v, &t->w) || !unpack_agrees(t, (tn_qvariant)v, &t->w16)) continue;
        TN_TRY(seconds_of(t, unpacking, v, &sec, err));
        if (sec < best) best = sec, g->unpack = v;
    }
    return 0;
}

/* The variant that takes least in all, and up to how many tokens it wins. */
static int tune_gemv(tn_gemm_tuning *g, trial *t, tn_error *err)
{
    double sec[TN_COUNT(tokens)][TN_QV_COUNT + 1], sum[TN_QV_COUNT] = {0};
    for (size_t i = 0; i < TN_COUNT(tokens); i++) {
        TN_TRY(trial_tokens(t, tokens[i], err));
        for (int v = 0; v <= TN_QV_COUNT; v++) {
            sec[i][v] = 1e30;
            if (v == TN_QV_COUNT || gemv_agrees(t, (tn_qvariant)v)) TN_TRY(seconds_of(t, product, v, &sec[i][v], err));
            if (v < TN_QV_COUNT) sum[v] += sec[i][v];
        }
    }
    g->qgemv = 0;
    g->qgemv_rows = 0;
    for (int v = 1; v < TN_QV_COUNT; v++)
        if (sum[v] < sum[g->qgemv]) g->qgemv = v;
    for (size_t i = 0; i < TN_COUNT(tokens) && sec[i][g->qgemv] < sec[i][TN_QV_COUNT]; i++) g->qgemv_rows = tokens[i];
    return 0;
}

int tn_tune_quant(tn_gemm_tuning *g, tn_dev *d, tn_error *err)
{
    trial t = {0};
    int rc = trial_new(&t, d, err);
    if (!rc) rc = tune_unpack(g, &t, err);
    if (!rc) rc = tune_gemv(g, &t, err);
    trial_free(&t);
    return rc;
}
