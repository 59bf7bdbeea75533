/* What a case of the self-test is made with. */
#include "selftest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

double tn_larger_error(double a, double b)
{
    return isnan(a) || a >= b ? a : b; /* b too may be NaN */
}

void tn_case_add(tn_case_result *sum, const tn_case_result *r)
{
    sum->error = tn_larger_error(sum->error, r->error);
    sum->element = tn_larger_error(sum->element, r->element);
    sum->worst = tn_larger_error(sum->worst, r->worst);
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

/* Nothing is left out for the GPU, for a check of one kind, or where all is asked for. */
static bool takes_all(const tn_trial *t)
{
    return t->all || t->like || !(t->c->dev->caps & TN_CAP_CPU);
}

static bool is_of_bfloat16(const tn_forced *f)
{
    return f && f->op && (f->op->rows[f->row].needs & (TN_CAP_AVX512_BF16 | TN_CAP_AMX_BF16));
}

/* Is it the other types' of two bytes? */
static bool is_of_other(tn_dtype act, int i)
{
    return act == TN_F16 ? i % 3 : i && i % 3 == 0;
}

bool tn_trial_skips(const tn_trial *t, int i)
{
    if (takes_all(t) || t->act == TN_F32) return false;
    return is_of_other(t->act, i) && !(t->act == TN_BF16 && is_of_bfloat16(t->c->forced));
}

/* A certain row in float32, after the first size. */
static bool comes_again(const tn_trial *t)
{
    const tn_forced *f = t->c->forced;
    return f && f->op && t->act == TN_F32 && t->size && !takes_all(t);
}

bool tn_trial_repeats(const tn_trial *t, int i)
{
    return tn_trial_skips(t, i) || (comes_again(t) && i % 3 != t->size);
}

bool tn_trial_leaves(const tn_trial *t, int i)
{
    return tn_trial_skips(t, i) || (comes_again(t) && !is_of_other(t->size == 1 ? TN_BF16 : TN_F16, i));
}

bool tn_trial_is_of(const tn_trial *t, const tn_variant_op *op)
{
    return t->c->forced && t->c->forced->op == op;
}

bool tn_trial_is_little(const tn_trial *t)
{
    return !t->size && t->c->dev->info.max_work_group < 64;
}

float *tn_trial_host(tn_trial *t, size_t n)
{
    if (t->n == TN_TRIAL_TENSORS) return NULL;
    return t->h[t->n++] = calloc(n + 1, sizeof(float));
}

float *tn_trial_copy(tn_trial *t, const float *v, size_t n)
{
    float *w = tn_trial_host(t, n);
    if (w && v) memcpy(w, v, n * sizeof *w);
    return w;
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
    for (size_t i = 0; !t->c->dry && i < n; i++) v[i] = (float)tn_rng_normal(&t->rng);
    TN_TRY(tn_trial_put(t, dt, rows, cols, v, x));
    return t->c->dry ? 0 : tn_tensor_get(t->c->dev, *x, v, t->err); /* as rounded by the storage */
}

int tn_trial_given(tn_trial *t, const tn_tensor *x, const float *values)
{
    return t->c->dry ? 0 : tn_tensor_set(t->c->dev, x, values, t->err);
}

int tn_trial_turns(tn_trial *t, int rows, int width, tn_tensor **x, float **host)
{
    const size_t n = (size_t)rows * (size_t)width;
    float *v = *host = tn_trial_host(t, n);
    if (!v) return tn_oom(t->err);
    for (size_t i = 0; i < n; i += 2) {
        const double angle = 3 * tn_rng_normal(&t->rng);
        v[i] = (float)cos(angle), v[i + 1] = (float)sin(angle);
    }
    return tn_trial_put(t, TN_F32, rows, width, v, x);
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

int tn_trial_compare_as(tn_trial *t, const tn_tensor *x, const float *want, tn_dtype type)
{
    if (t->c->dry) return 0;
    const size_t n = tn_tensor_count(x);
    float *got = malloc((n + 1) * sizeof *got);
    if (!got) return tn_oom(t->err);
    int rc = tn_tensor_get(t->c->dev, x, got, t->err);
    const double e = rc ? 0 : tn_relative_error(got, want, n, 1e-15), one = rc ? 0 : tn_element_error(got, want, n);
    t->error = tn_larger_error(t->error, e);
    t->element = tn_larger_error(t->element, one);
    t->share = tn_larger_error(t->share, tn_larger_error(e / tn_case_bound(type), one / tn_case_element_bound(type)));
    free(got);
    return rc;
}

int tn_trial_compare(tn_trial *t, const tn_tensor *x, const float *want)
{
    return tn_trial_compare_as(t, x, want, x->dtype);
}

void tn_trial_rewind(tn_trial *t, int mark)
{
    for (; t->n > mark; t->n--) {
        if (t->t[t->n - 1].mem) tn_tensor_free(t->c->dev, &t->t[t->n - 1]);
        free(t->h[t->n - 1]);
        t->h[t->n - 1] = NULL;
    }
}
