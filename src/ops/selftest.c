#include "selftest.h"
#include "entry.h"
#include "ops.h"
#include "tuning.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const tn_case *const tn_case_tables[] = {tn_cases_gemm, tn_cases_dense, tn_cases_quant, tn_cases_spatial, NULL};

/* Twice what correct kernels need on the largest sizes. */
double tn_case_bound(tn_dtype act)
{
    return act == TN_F32 ? 6e-6 : act == TN_BF16 ? 7e-3 : 6e-4;
}

double tn_case_element_bound(tn_dtype act)
{
    return act == TN_F32 ? 1e-5 : act == TN_BF16 ? 1.3e-2 : 1.8e-3;
}

bool tn_case_of(const tn_case *k, const tn_variant_op *op)
{
    for (int i = 0; i < TN_CASE_OPS; i++)
        if (op && k->ops[i] == op) return true;
    return false;
}

static double larger(double a, double b)
{
    return isnan(a) || a >= b ? a : b; /* b too may be NaN */
}

void tn_case_add(tn_case_result *sum, const tn_case_result *r)
{
    sum->error = larger(sum->error, r->error);
    sum->element = larger(sum->element, r->element);
    sum->worst = larger(sum->worst, r->worst);
    sum->runs += r->runs;
}

bool tn_trial_wants(const tn_trial *t, const tn_variant_op *op, const void *args)
{
    const tn_forced *f = t->c->forced;
    char kind[TN_KEY];
    if (!f || !f->op) return true;
    if (f->op != op || !tn_variant_can(t->c, &op->rows[f->row], args)) return false;
    op->kind(kind, sizeof kind, args);
    return !f->kind || !strcmp(f->kind, kind);
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
    const double e = rc ? 0 : tn_relative_error(got, want, n, 1e-15), one = rc ? 0 : tn_element_error(got, want, n);
    t->error = larger(t->error, e);
    t->element = larger(t->element, one);
    t->share = larger(t->share, larger(e / tn_case_bound(x->dtype), one / tn_case_element_bound(x->dtype)));
    free(got);
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

int tn_case_run(const tn_case *k, tn_dev *d, const tn_case_spec *s, tn_case_result *out, tn_error *err)
{
    tn_ctx c;
    tn_forced forced = {.op = s->op, .row = s->row, .kind = s->kind};
    tn_ctx_init(&c, d);
    c.forced = &forced;
    const tn_step_constants now = {.seed = TN_TRIAL_SEED, .inv_mask = 1};
    int rc = tn_ctx_step(&c, &now, err);
    *out = (tn_case_result){0};
    for (int pass = 0; !rc && pass < 2; pass++) {
        tn_trial t = {
            .c = &c, .act = s->act, .like = s->like, .rng = tn_rng_named((uint64_t)s->size, k->name), .size = s->size, .err = err};
        c.dry = pass == 0;
        tn_ws_reset(&c);
        rc = k->run(&t);
        if (!rc && pass == 0) rc = tn_ctx_reserve(&c, c.ws_peak, err);
        out->error = larger(t.error, t.worst);
        out->element = t.element;
        out->worst = larger(t.share, t.worst / tn_case_bound(s->act));
        tn_trial_rewind(&t, 0);
    }
    out->runs = forced.runs;
    tn_ctx_free(&c);
    return rc;
}

static int run_all(tn_dev *d, char *report, size_t n, tn_error *err)
{
    int count = 0;
    for (int k = 0; tn_case_tables[k]; k++)
        for (const tn_case *c = tn_case_tables[k]; c->name; c++)
            for (int act = TN_F32; act <= TN_F16; act++) {
                tn_case_result r;
                const tn_case_spec s = {.act = (tn_dtype)act};
                if (act != TN_F32 && c->float32_only) continue;
                TN_TRY(tn_case_run(c, d, &s, &r, err));
                if (!(r.worst <= 1))
                    return tn_fail(err, TN_ERR_NUMERIC,
                                   "device '%s': %s in %s is off by %.2g, one element by %.2g (%.2g and %.2g allowed)",
                                   d->info.name, c->name, tn_dtype_name((tn_dtype)act), r.error, r.element,
                                   tn_case_bound((tn_dtype)act), tn_case_element_bound((tn_dtype)act));
                count++;
            }
    if (report) snprintf(report, n, "%d checks passed", count);
    return 0;
}

/* Opens a device by the options of a run. */
static int open_for(tn_dev **d, int index, const tn_run_options *o, tn_error *err)
{
    *d = NULL;
    TN_TRY(tn_run_check(&o, err));
    const tn_dev_options x = {o->memory_limit, o->log, {o->progress, o->user}, o->variants, o->cache};
    return tn_dev_open(d, index, &x, err);
}

int tn_device_self_test(int index, const tn_run_options *o, char *report, size_t n, tn_error *err)
{
    TN_ENTRY(err);
    tn_dev *d;
    TN_TRY(open_for(&d, index, o, err));
    int rc = run_all(d, report, n, err);
    tn_dev_close(d);
    return rc;
}

/* The table as the caller's text. */
static int table_of(char **report, int index, const tn_run_options *o, bool measure, tn_error *err)
{
    tn_dev *d;
    tn_text text = {0};
    if (report) *report = NULL;
    TN_TRY(open_for(&d, index, o, err));
    int rc = measure ? tn_tune_usual(d, err) : 0;
    if (!rc) rc = tn_tuning_table(&text, d, err);
    if (!rc && report && !(*report = text.s ? text.s : calloc(1, 1))) rc = tn_oom(err);
    if (rc || !report) tn_text_free(&text);
    tn_dev_close(d);
    return rc;
}

int tn_device_tune(int index, const tn_run_options *o, char **report, tn_error *err)
{
    TN_ENTRY(err);
    return table_of(report, index, o, true, err);
}

int tn_device_tuning(int index, const tn_run_options *o, char **report, tn_error *err)
{
    TN_ENTRY(err);
    return table_of(report, index, o, false, err);
}
