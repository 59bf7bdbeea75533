/* A figure: checked first, then timed (sample.c). */
#include "figure.h"
#include "ceiling.h"
#include "sample.h"
#include "selftest.h"
#include "text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DRAWN = 1000003 };

void tn_bench_note(tn_bench *b, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    json_array_append_new(b->notes, tn_json_text(text));
}

bool tn_bench_has_time(tn_bench *b, int k, int n, const char *what)
{
    char text[200];
    if (tn_budget_allows(&b->time, k, n, b->dev->prepared)) return true;
    snprintf(text, sizeof text, "%s: %s", b->part, what);
    json_array_append_new(b->left, tn_json_text(text));
    return false;
}

/* ---- what goes into the result ---- */

static json_t *heading(const tn_bench_job *j)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "id", j->id, "group", j->group, "name", j->name, "unit", j->unit, "better",
                     strcmp(j->unit, "s") != 0 ? "more" : "less");
}

static int append(tn_bench *b, json_t *m, tn_error *err)
{
    return m && !json_array_append_new(b->list, m) ? 0 : tn_oom(err);
}

int tn_bench_fail(tn_bench *b, const tn_bench_job *j, const char *check, const char *why, tn_error *err)
{
    char line[300]; /* a compiler says more */
    json_t *m = heading(j);
    snprintf(line, sizeof line, "%s", why);
    for (char *s = line; (s = strchr(s, '\n'));) *s = ' ';
    b->failed += !strcmp(check, "failed");
    if (m) json_object_set_new(m, "check", json_string(check));
    if (m) json_object_set_new(m, "why", tn_json_text(line));
    return append(b, m, err);
}

static int put_figure(json_t *m, const tn_bench *b, const tn_bench_job *j, const tn_sampled *s, tn_error *err)
{
    char doubt[256];
    tn_ceiling_judge(doubt, sizeof doubt, b, j, s->median);
    json_t *v = json_pack("{s:f, s:f, s:f, s:i, s:f, s:b}", "value", s->median, "low", s->low, "high", s->high, "samples", s->n,
                          "drift", s->drift, "drifts", s->drifts);
    if (v && doubt[0]) json_object_set_new(v, "implausible", tn_json_text(doubt));
    const int rc = v ? json_object_update(m, v) : -1;
    json_decref(v);
    return rc ? tn_oom(err) : 0;
}

int tn_bench_add(tn_bench *b, const tn_bench_job *j, const double *v, int n, json_t **put, tn_error *err)
{
    tn_sampled s;
    if (!tn_sampled_of(&s, v, n)) return tn_oom(err);
    json_t *m = heading(j);
    if (m) json_object_set_new(m, "check", json_string(j->compare ? "passed" : "none"));
    const int rc = m ? put_figure(m, b, j, &s, err) : tn_oom(err);
    if (put) *put = m;
    if (!rc) return append(b, m, err);
    json_decref(m);
    return rc;
}

/* Samples become figures in the job's unit, one by one, so that their order stays. */
static int put_samples(tn_bench *b, const tn_bench_job *j, tn_samples *s, double share, tn_error *err)
{
    tn_sampled of_copy;
    for (int i = 0; i < s->n && strcmp(j->unit, "s") != 0; i++) s->v[i] = j->work / TN_MAX(s->v[i], 1e-12);
    json_t *m;
    TN_TRY(tn_bench_add(b, j, s->v, s->n, &m, err));
    json_object_set_new(m, "runs", json_integer(s->runs));
    json_object_set_new(m, "clock", json_string(s->by_device ? "device" : "host"));
    if (j->compare) json_object_set_new(m, "error", json_real(share));
    if (!j->beside) return 0;
    if (!tn_sampled_of(&of_copy, s->ratio, s->n)) return tn_oom(err);
    json_object_set_new(m, "of_copy", json_real(of_copy.median));
    return 0;
}

/* ---- a job ---- */

/* One run, looked at. */
static int checked(tn_bench *b, const tn_bench_job *j, double *share, tn_error *err)
{
    *share = 0;
    if (j->poison) TN_TRY(j->poison(j->self, err));
    TN_TRY(j->run(j->runs, err));
    TN_TRY(tn_dev_finish(b->dev, err));
    return j->compare ? j->compare(j->self, share, err) : 0;
}

static int check_and_time(tn_bench *b, const tn_bench_job *j, tn_samples *s, double *share, tn_error *err)
{
    TN_TRY(checked(b, j, share, err));
    return *share <= 1 ? tn_sample(b, j, s, err) : 0;
}

/* What ends a benchmark, and what only leaves a figure out. */
static bool ends_all(const tn_bench *b, int rc)
{
    return rc == TN_ERR_CANCELLED || b->dev->lost;
}

/* What is said of a job whose run came back with an error. */
static const char *not_run(const tn_bench_job *j, int rc)
{
    return j->may_refuse || rc == TN_ERR_MEMORY ? "refused" : "failed";
}

static int measure_job(tn_bench *b, const tn_bench_job *j, tn_samples *s, tn_error *err)
{
    tn_error why = {0};
    char text[160];
    double share;
    const int rc = check_and_time(b, j, s, &share, &why);
    if (rc && ends_all(b, rc)) {
        if (err) *err = why;
        return rc;
    }
    if (rc) return tn_bench_fail(b, j, not_run(j, rc), why.message, err);
    if (share <= 1) return put_samples(b, j, s, share, err);
    if (isnan(share)) snprintf(text, sizeof text, "wrong: a value is not a number, or was not written");
    else snprintf(text, sizeof text, "wrong: %.2g times the error that its storage allows", share);
    return tn_bench_fail(b, j, "failed", text, err);
}

int tn_bench_begins(bool *go, tn_bench *b, const tn_bench_job *j, tn_error *err)
{
    char item[200];
    size_t i;
    json_t *m;
    *go = false;
    json_array_foreach(b->list, i, m) if (!strcmp(tn_json_str(m, "id", ""), j->id)) return 0;
    *go = true;
    snprintf(item, sizeof item, "%s, %s", b->part, j->name);
    if (b->begins) TN_TRY(b->begins(b->user, j, err));
    return tn_watch_tell(&b->watch, TN_PHASE_MEASURING, item, b->done, b->total, err);
}

int tn_bench_ends(tn_bench *b, int rc, tn_error *err)
{
    return rc || !b->begins ? rc : b->begins(b->user, NULL, err);
}

static int measure_now(tn_bench *b, const tn_bench_job *j, tn_error *err)
{
    const size_t n = (size_t)b->level->most + 1;
    tn_samples s = {.v = calloc(2 * n, sizeof *s.v)};
    if (s.v) s.ratio = s.v + n;
    const int rc = s.v ? measure_job(b, j, &s, err) : tn_oom(err);
    free(s.v);
    return rc;
}

int tn_bench_measure(tn_bench *b, const tn_bench_job *j, tn_error *err)
{
    bool go;
    TN_TRY(tn_bench_begins(&go, b, j, err));
    return go ? tn_bench_ends(b, measure_now(b, j, err), err) : 0;
}

/* ---- rows of an operation ---- */

typedef struct {
    tn_bench *b;
    const tn_variant_op *op;
    const void *args;
    tn_choice k;
} row_run;

static int run_row(void *runs, tn_error *err)
{
    row_run *r = runs;
    tn_ws_reset(&r->b->c);
    return tn_variant_run_row(&r->b->c, r->op, &r->k, r->args, err);
}

int tn_bench_reserve(tn_bench *b, int (*run)(void *runs, tn_error *err), void *runs, tn_error *err)
{
    b->c.dry = true;
    tn_ws_reset(&b->c);
    const int rc = run(runs, err);
    b->c.dry = false;
    return rc ? rc : tn_ctx_reserve(&b->c, b->c.ws_peak, err);
}

/* Kernels are built from the dry pass on. */
static int row_now(tn_bench *b, row_run *r, const tn_bench_job *j, tn_error *err)
{
    tn_error why = {0};
    const int rc = tn_bench_reserve(b, run_row, r, &why);
    if (!rc) return measure_now(b, j, err);
    return ends_all(b, rc) ? tn_fail(err, rc, "%s", why.message) : tn_bench_fail(b, j, not_run(j, rc), why.message, err);
}

/* Why a row was refused on another shape, where that has nothing to do with the shape; NULL: it was not. */
static const char *refused_before(const tn_bench *b, const tn_bench_job *j, const char *like)
{
    const char *shape = strrchr(like, '.'), *row = j->id + strlen(like);
    const size_t same = shape ? (size_t)(shape - like) + 1 : 0;
    size_t i;
    json_t *m;
    json_array_foreach(b->list, i, m)
    {
        const char *id = tn_json_str(m, "id", ""), *why = tn_json_str(m, "why", "");
        const bool alike = !strncmp(id, like, same) && tn_ends(id, row) && !strcmp(tn_json_str(m, "check", ""), "refused");
        if (alike && (strstr(why, "does not build") || strstr(why, "the process that tried it"))) return why;
    }
    return NULL;
}

static int row_measure(tn_bench *b, row_run *r, const tn_bench_job *like, tn_error *err)
{
    char id[160], name[160];
    bool go;
    const char *row = r->op->rows[r->k.row].name;
    tn_bench_job j = *like;
    snprintf(id, sizeof id, "%s.%s", like->id, row);
    snprintf(name, sizeof name, "%s, %s", like->name, row);
    j.id = id;
    j.name = name;
    j.run = run_row;
    j.runs = r;
    j.by_context = true;
    j.may_refuse = r->k.row < r->op->n - 1; /* the last runs anything anywhere */
    TN_TRY(tn_bench_begins(&go, b, &j, err));
    const char *why = go ? refused_before(b, &j, like->id) : NULL;
    if (why) return tn_bench_ends(b, tn_bench_fail(b, &j, "refused", why, err), err);
    return go ? tn_bench_ends(b, row_now(b, r, &j, err), err) : 0;
}

int tn_bench_rows(tn_bench *b, const tn_variant_op *op, const void *args, const tn_bench_job *like, tn_error *err)
{
    for (int i = 0; i < op->n; i++) {
        row_run r = {b, op, args, tn_variant_defaults(op, i)};
        if (tn_variant_tries(&b->c, op, i, args, false)) TN_TRY(row_measure(b, &r, like, err));
    }
    return 0;
}

/* ---- checks ---- */

void tn_bench_error_of(double *share, const float *got, const float *want, size_t n, tn_dtype dt)
{
    const double all = tn_relative_error(got, want, n, 1e-15) / tn_case_bound(dt);
    const double one = tn_element_error(got, want, n) / tn_case_element_bound(dt);
    *share = tn_larger_error(*share, tn_larger_error(all, one));
}

int tn_bench_error(double *share, const tn_tensor *x, const float *want, tn_error *err)
{
    const size_t n = tn_tensor_count(x);
    float *got = malloc(n * sizeof *got + 1);
    if (!got) return tn_oom(err);
    const int rc = tn_tensor_get(tn_buffer_device(x->mem), x, got, err);
    if (!rc) tn_bench_error_of(share, got, want, n, x->dtype);
    free(got);
    return rc;
}

int tn_bench_all_of(float **got, double *share, const tn_tensor *x, tn_error *err)
{
    const size_t n = tn_tensor_count(x);
    float *v = *got = malloc(n * sizeof *v + 1);
    int rc = v ? tn_tensor_get(tn_buffer_device(x->mem), x, v, err) : tn_oom(err);
    for (size_t i = 0; !rc && i < n; i++)
        if (!isfinite(v[i])) *share = NAN;
    if (rc) free(v);
    return rc;
}

bool tn_bench_normals(float *v, size_t n)
{
    tn_rng r = tn_rng_named(n, "bench");
    const size_t drawn = TN_MIN(n, (size_t)DRAWN);
    if (!v) return false;
    for (size_t i = 0; i < drawn; i++) v[i] = (float)tn_rng_normal(&r);
    for (size_t i = drawn; i < n; i += DRAWN) memcpy(v + i, v, TN_MIN(n - i, (size_t)DRAWN) * sizeof *v);
    return true;
}

int tn_bench_random(tn_tensor *t, tn_dev *d, tn_dtype dt, const int shape[2], float **host, tn_error *err)
{
    const size_t n = (size_t)shape[0] * (size_t)shape[1];
    float *v = malloc(n * sizeof *v + 1);
    if (!tn_bench_normals(v, n)) return tn_oom(err);
    int rc = tn_tensor_new(t, d, dt, shape[0], shape[1], "a measurement", err);
    if (!rc) rc = tn_tensor_set(d, t, v, err);
    if (!rc && host) rc = tn_tensor_get(d, t, v, err);
    if (!rc && host) *host = v;
    else free(v);
    return rc;
}
