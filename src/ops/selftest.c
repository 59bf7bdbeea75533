#include "selftest.h"
#include "ops.h"
#include "text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double tn_case_bound(tn_dtype act)
{
    return act == TN_F32 ? 2e-5 : act == TN_BF16 ? 2e-2 : 3e-3;
}

float *tn_trial_host(tn_trial *t, size_t n)
{
    if (t->n == TN_TRIAL_TENSORS) return NULL;
    return t->h[t->n++] = calloc(n + 1, sizeof(float));
}

int tn_trial_put(tn_trial *t, tn_dtype dt, int rows, int cols, const float *values, tn_tensor **x)
{
    if (t->n == TN_TRIAL_TENSORS) return tn_fail(t->err, TN_ERR_ARGUMENT, "a case has too many tensors");
    tn_tensor *p = *x = &t->t[t->n++];
    TN_TRY(tn_tensor_new(p, t->c->dev, dt, rows, cols, "the self-test", t->err));
    return t->c->dry ? 0 : tn_tensor_set(t->c->dev, p, values, t->err); /* the dry pass leaves its buffers untouched */
}

int tn_trial_in(tn_trial *t, tn_dtype dt, int rows, int cols, tn_tensor **x, float **host)
{
    const size_t n = (size_t)rows * (size_t)cols;
    float *v = *host = tn_trial_host(t, n);
    if (!v) return tn_oom(t->err);
    for (size_t i = 0; i < n; i++) v[i] = (float)tn_rng_normal(&t->rng);
    TN_TRY(tn_trial_put(t, dt, rows, cols, v, x));
    return t->c->dry ? 0 : tn_tensor_get(t->c->dev, *x, v, t->err); /* as rounded by the storage */
}

int tn_trial_out(tn_trial *t, tn_dtype dt, int rows, int cols, tn_tensor **x)
{
    if (t->n == TN_TRIAL_TENSORS) return tn_fail(t->err, TN_ERR_ARGUMENT, "a case has too many tensors");
    tn_tensor *p = *x = &t->t[t->n++];
    TN_TRY(tn_tensor_new(p, t->c->dev, dt, rows, cols, "the self-test", t->err));
    return tn_trial_poison(t, p);
}

int tn_trial_poison(tn_trial *t, const tn_tensor *x)
{
    return t->c->dev->untouched ? 0 : tn_tensor_poison(t->c->dev, x, t->err);
}

int tn_trial_compare(tn_trial *t, const tn_tensor *x, const float *want)
{
    if (t->c->dry) return 0;
    const size_t n = tn_tensor_count(x);
    float *got = malloc((n + 1) * sizeof *got);
    if (!got) return tn_oom(t->err);
    int rc = tn_tensor_get(t->c->dev, x, got, t->err);
    const double e = rc ? 0 : tn_relative_error(got, want, n, 1e-15);
    free(got);
    if (!(e <= t->worst)) t->worst = e;
    return rc;
}

void tn_trial_rewind(tn_trial *t, int mark)
{
    for (; t->n > mark; t->n--) {
        if (t->t[t->n - 1].mem) tn_tensor_free(t->c->dev, &t->t[t->n - 1]);
        free(t->h[t->n - 1]);
        t->h[t->n - 1] = NULL;
    }
}

int tn_case_run(const tn_case *k, tn_dev *d, tn_dtype act, int size, double *error, tn_error *err)
{
    tn_ctx c;
    tn_ctx_init(&c, d, act);
    const tn_step_constants now = {.seed = TN_TRIAL_SEED, .inv_mask = 1};
    int rc = tn_ctx_step(&c, &now, err);
    for (int pass = 0; !rc && pass < 2; pass++) {
        tn_trial t = {.c = &c, .rng = tn_rng_named((uint64_t)size, k->name), .size = size, .err = err};
        c.dry = pass == 0;
        tn_ws_reset(&c);
        rc = k->run(&t);
        if (!rc && pass == 0) rc = tn_ctx_reserve(&c, c.ws_peak, err);
        *error = t.worst;
        tn_trial_rewind(&t, 0);
    }
    tn_ctx_free(&c);
    return rc;
}

static int run_all(tn_dev *d, char *report, size_t n, tn_error *err)
{
    int count = 0;
    const tn_case *const tables[] = {tn_cases_gemm, tn_cases_dense, tn_cases_spatial};
    for (size_t k = 0; k < TN_COUNT(tables); k++)
        for (const tn_case *c = tables[k]; c->name; c++)
            for (int act = TN_F32; act <= TN_F16; act++) {
                double e = 0;
                if (act != TN_F32 && c->float32_only) continue;
                TN_TRY(tn_case_run(c, d, (tn_dtype)act, 0, &e, err));
                if (!(e <= tn_case_bound((tn_dtype)act)))
                    return tn_fail(err, TN_ERR_NUMERIC, "device '%s': %s in %s is off by %.2g (allowed %.2g)", d->info.name,
                                   c->name, tn_dtype_name((tn_dtype)act), e, tn_case_bound((tn_dtype)act));
                count++;
            }
    if (report) snprintf(report, n, "%d checks passed", count);
    return 0;
}

int tn_device_self_test(int index, char *report, size_t n, tn_error *err)
{
    tn_dev *d;
    TN_TRY(tn_dev_open(&d, index, 0, NULL, err));
    int rc = run_all(d, report, n, err);
    tn_dev_close(d);
    return rc;
}

int tn_device_tune(int index, char *report, size_t n, tn_error *err)
{
    static const char *const shapes[TN_SHAPES] = {"dense", "skinny", "tall-k"};
    tn_dev *d;
    tn_gemm_tuning *t;
    TN_TRY(tn_dev_open(&d, index, 0, NULL, err));
    int rc = tn_tuning_get(&t, d, true, err);
    if (!rc) rc = tn_tuning_get_quant(&t, d, err);
    tn_text text = {0};
    for (int s = 0; !rc && s < TN_SHAPES; s++) {
        tn_text_addf(&text, "%s%s: %s (", s ? "; " : "", shapes[s], tn_gemm_op.rows[t->best[s]].name);
        for (int v = 0; v < TN_GEMM_VARIANTS; v++)
            if (t->seconds[s][v] > 0)
                tn_text_addf(&text, "%s%s %.2f ms", v ? ", " : "", tn_gemm_op.rows[v].name, 1e3 * t->seconds[s][v]);
        tn_text_addf(&text, ")");
    }
    if (!rc)
        tn_text_addf(&text, "; 4-bit: unpacked by %s, to %d tokens fused by %s", tn_qvariant_names[t->unpack], t->qgemv_rows,
                     tn_qvariant_names[t->qgemv]);
    if (!rc && report) snprintf(report, n, "%s", text.s ? text.s : "");
    tn_text_free(&text);
    tn_dev_close(d);
    return rc;
}
