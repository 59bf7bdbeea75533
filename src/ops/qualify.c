#include "qualify.h"
#include "clock.h"
#include "cpu.h"
#include "facts.h"
#include "files.h"
#include "jsonio.h"
#include "selftest.h"
#include "tuning.h"
#include "tuning_db.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PART "kernels" /* of the store's checks, beside the operations */

/* ---- the store ---- */

static void name_of(char *out, size_t n, const struct tn_need *k)
{
    snprintf(out, n, "%s %s", k->file, k->entry);
}

static json_t *known(json_t *db, tn_dtype act, const struct tn_need *k)
{
    char name[TN_KEY];
    name_of(name, sizeof name, k);
    return tn_db_at(db, "checks", PART, tn_dtype_name(act), name);
}

static int remember(json_t *db, tn_dtype act, const struct tn_need *k, json_t *verdict, tn_error *err)
{
    char name[TN_KEY];
    name_of(name, sizeof name, k);
    const char *const at[4] = {"checks", PART, tn_dtype_name(act), name};
    return tn_db_put(db, at, verdict, err);
}

int tn_qualify_narrow(tn_dev *d, tn_error *err)
{
    json_t *db;
    TN_TRY(tn_db(&db, d, err));
    const long long items = tn_json_int(tn_db_at(db, "checks", PART, "groups", "most"), "items", 0);
    if (items > 0) tn_dev_narrow(d, (size_t)items);
    if (!d->narrow) return 0;
    tn_logf(d->log, TN_LOG_INFO, "device '%s': a kernel takes groups of %zu work-items at most, so all do", d->info.name,
            d->narrow);
    tn_dev_narrow(d, d->narrow);
    d->narrow = 0;
    const char *const at[4] = {"checks", PART, "groups", "most"};
    TN_TRY(tn_db_put(db, at, json_pack("{s:b, s:i}", "good", 1, "items", (int)d->info.max_work_group), err));
    tn_db_save(d);
    return 0;
}

/* ---- which cases ---- */

typedef struct {
    const tn_case *k;
    tn_dtype act;
    int size, fresh; /* programs that only the case would build */
    tn_needs of;
} candidate;

static int fresh_of(const tn_needs *of, const tn_needs *needs)
{
    int n = 0;
    for (int i = 0; i < of->n; i++) n += !tn_needs_program(needs, of->v[i].file, of->v[i].options);
    return n;
}

static bool covers(const candidate *c, const struct tn_need *k)
{
    return tn_needs_has(&c->of, k->file, k->entry, NULL);
}

/* A case at a size. */
static int look_at(candidate *c, tn_dev *d, const tn_needs *needs, tn_error *err)
{
    const tn_case_spec s = {.act = c->act, .size = c->size};
    TN_TRY(tn_case_walk(c->k, d, &s, &c->of, NULL, err));
    c->fresh = fresh_of(&c->of, needs);
    return 0;
}

/* A CPU device whose compiler takes half a second for a program, and whose kernels the project's own tests run. */
static bool is_dear(const tn_dev *d)
{
    return tn_cpu_kernels(d);
}

/* A CPU device's rows are nearly all in tables, and checked as such; any size of the rest may have what it builds. */
static int sizes_of(const tn_case *k, const tn_dev *d)
{
    if (is_dear(d)) return k->ops[0] ? 0 : 3;
    return 1;
}

static int candidates_of(candidate **out, int *n, tn_dev *d, const tn_needs *needs, tn_dtype act, tn_error *err)
{
    int rc = 0;
    *out = NULL;
    *n = 0;
    for (int t = 0; tn_case_tables[t]; t++)
        for (const tn_case *k = tn_case_tables[t]; !rc && k->name; k++)
            for (int size = 0; !rc && size < sizes_of(k, d); size++) {
                candidate *v = realloc(*out, sizeof *v * (size_t)(*n + 1));
                if (!v) return tn_oom(err);
                *out = v;
                v[*n] = (candidate){.k = k, .act = k->float32_only ? TN_F32 : act, .size = size};
                rc = look_at(&v[(*n)++], d, needs, err);
            }
    return rc;
}

/* The cheapest that has the kernel, or NULL. */
static candidate *cheapest(candidate *v, int n, const tn_dev *d, const struct tn_need *k)
{
    candidate *best = NULL;
    for (int i = 0; i < n; i++)
        if (covers(&v[i], k) && (!best || v[i].fresh < best->fresh)) best = &v[i];
    return best && best->fresh && is_dear(d) ? NULL : best;
}

/* ---- the trial ---- */

static json_t *verdict_of(const candidate *c, const tn_case_result *r, int rc, const tn_error *why)
{
    char text[256] = "";
    const bool good = !rc && r->worst <= 1;
    if (rc) snprintf(text, sizeof text, "%.250s", why->message);
    else if (!good) snprintf(text, sizeof text, "wrong: %.2g times the error allowed", r->worst);
    return json_pack("{s:b, s:f, s:s, s:s}", "good", good, "error", isfinite(r->error) ? r->error : -1.0, "why", text, "case",
                     c->k->name);
}

/* The report of a device that is refused, and where it lies. */
static int refuse(tn_dev *d, const struct tn_need *k, const json_t *v, tn_error *err)
{
    tn_text t = {0};
    tn_error ignored;
    char *path = d->cache_dir ? tn_strf("%s/refused-%d.txt", d->cache_dir, d->index) : NULL;
    tn_device_facts(&t, d);
    int rc = tn_qualify_table(&t, d, &ignored);
    if (!rc && path && !t.oom && !tn_mkdirs(d->cache_dir, &ignored)) rc = tn_write_file(path, t.s, t.len, &ignored);
    const bool written = path && !rc;
    rc = tn_fail(
        err, TN_ERR_DEVICE,
        "device '%s' is not used: the self-test case '%s', which runs kernel %s of cl/%s, fails (%s); %s%s%s'tracknet doctor' "
        "writes what a bug report needs; try another driver, or another --device",
        d->info.name, tn_json_str(v, "case", ""), k->entry, k->file, tn_json_str(v, "why", ""), written ? "see " : "",
        written ? path : "", written ? "; " : "");
    tn_text_free(&t);
    free(path);
    return rc;
}

static int run_case(candidate *c, tn_dev *d, json_t *db, const tn_needs *needs, tn_error *err)
{
    const tn_case_spec s = {.act = c->act, .size = c->size};
    tn_case_result r;
    tn_error why = {0};
    d->narrow = 0;
    const int rc = tn_case_run(c->k, d, &s, &r, &why);
    if (d->lost || d->narrow) return tn_fail_cl(err, rc, why.opencl, "%s", why.message);
    if (rc == TN_ERR_MEMORY) return 0; /* the run may have room for itself: another run tries it */
    for (int i = 0; i < needs->n; i++)
        if (covers(c, &needs->v[i])) TN_TRY(remember(db, c->act, &needs->v[i], verdict_of(c, &r, rc, &why), err));
    return 0;
}

/* Kernels in float32 alone are remembered as such. */
static json_t *verdict_on(json_t *db, tn_dtype act, const struct tn_need *k)
{
    json_t *v = known(db, act, k);
    return v ? v : known(db, TN_F32, k);
}

static int try_kernel(const struct tn_need *k, candidate *v, int n, tn_dev *d, json_t *db, const tn_needs *needs, tn_dtype act,
                      tn_error *err)
{
    candidate *c = cheapest(v, n, d, k);
    if (c) TN_TRY(run_case(c, d, db, needs, err));
    else TN_TRY(remember(db, act, k, json_pack("{s:b, s:s}", "good", 1, "why", "not tried by itself"), err));
    const json_t *is = verdict_on(db, c ? c->act : act, k);
    return tn_json_bool(is, "good", 1) ? 0 : refuse(d, k, is, err);
}

/* What the cases will launch that are to run; what cannot be told, for want of memory, is built where it is used. */
static int build_cases(candidate *v, int n, tn_dev *d, json_t *db, const tn_needs *needs, tn_dtype act, tn_error *err)
{
    tn_ahead *a;
    tn_error ignored;
    TN_TRY(tn_ahead_new(&a, d, err));
    for (int i = 0; a && i < needs->n; i++) {
        const candidate *c = verdict_on(db, act, &needs->v[i]) ? NULL : cheapest(v, n, d, &needs->v[i]);
        const tn_case_spec s = {.act = c ? c->act : act, .size = c ? c->size : 0};
        if (c) (void)tn_case_walk(c->k, d, &s, NULL, a, &ignored);
    }
    const int rc = a ? tn_ahead_build(a, TN_AHEAD_TRIAL, err) : 0;
    tn_ahead_free(a);
    return rc;
}

static int try_unknown(tn_dev *d, json_t *db, const tn_needs *needs, tn_dtype act, tn_error *err)
{
    candidate *v;
    int n, rc = candidates_of(&v, &n, d, needs, act, err);
    if (!rc) rc = build_cases(v, n, d, db, needs, act, err);
    for (int i = 0; !rc && i < needs->n; i++)
        if (!verdict_on(db, act, &needs->v[i])) rc = try_kernel(&needs->v[i], v, n, d, db, needs, act, err);
    for (int i = 0; i < n; i++) tn_needs_free(&v[i].of);
    free(v);
    tn_db_save(d);
    return rc;
}

int tn_qualify(tn_dev *d, const tn_needs *needs, tn_dtype act, tn_error *err)
{
    json_t *db;
    int unknown = 0;
    TN_TRY(tn_db(&db, d, err));
    for (int i = 0; i < needs->n; i++) {
        const json_t *v = verdict_on(db, act, &needs->v[i]);
        if (v && !tn_json_bool(v, "good", 1)) return refuse(d, &needs->v[i], v, err);
        unknown += !v;
    }
    if (!unknown) return 0;
    const size_t peak = d->peak;
    const double begin = tn_now();
    const int rc = try_unknown(d, db, needs, act, err);
    d->peak = peak;
    tn_logf(d->log, TN_LOG_DEBUG, "device '%s': %d kernels looked at for the first time, %.2f s", d->info.name, unknown,
            tn_now() - begin);
    return rc;
}

static void add_row(tn_text *out, const char *type, const char *name, const json_t *v)
{
    const char *of = tn_json_str(v, "case", NULL);
    tn_text_addf(out, "%-9s %-44s ", type, name);
    if (!of) tn_text_addf(out, "%s\n", tn_json_str(v, "why", ""));
    else if (tn_json_bool(v, "good", 0)) tn_text_addf(out, "passed '%s', error %.2g\n", of, tn_json_num(v, "error", 0));
    else tn_text_addf(out, "FAILED '%s': %s\n", of, tn_json_str(v, "why", ""));
}

int tn_qualify_table(tn_text *out, tn_dev *d, tn_error *err)
{
    json_t *db;
    const char *type, *name;
    json_t *kernels, *v;
    TN_TRY(tn_db(&db, d, err));
    json_object_foreach(tn_db_at(db, "checks", PART, NULL, NULL), type, kernels)
    {
        if (!strcmp(type, "groups")) continue;
        json_object_foreach(kernels, name, v) add_row(out, type, name, v);
    }
    return out->oom ? tn_oom(err) : 0;
}
