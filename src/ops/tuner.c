/* Checks rows by their operation's self-test cases, and measures them on the shapes asked for. */
#include "verdict.h"
#include "clock.h"
#include "jsonio.h"
#include "tuning.h"
#include "tuning_db.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- checks ---- */

/* What a check found, for the store; a reason where the row must not be used. */
static json_t *verdict(const tn_verdict *v)
{
    return json_pack("{s:b, s:f, s:s}", "good", v->good, "error", v->error, "why", v->why);
}

/* Here, or by a process of its own; without one a row that asks for it is not used. */
static int run_check(tn_verdict *v, tn_dev *d, const tn_variant_op *op, int row, const char *kind, const void *args, tn_error *err)
{
    *v = (tn_verdict){.unsure = true, .why = "no command is named that could try it in a process of its own"};
    if (!tn_variant_apart(d, &op->rows[row])) return tn_check_row(v, d, op, row, kind, args, err);
    if (d->helper) tn_check_apart(v, d, op, row, kind, args);
    return 0;
}

#define ANY_KIND "any" /* a row's record where it crashed or hung: it is tried no more */

/* The record of a row for a kind; NULL: none. */
static json_t *record(json_t *db, const tn_variant_op *op, int row, const char *kind)
{
    json_t *known = tn_db_at(db, "checks", op->name, kind, op->rows[row].name);
    if (!known) known = tn_db_at(db, "checks", op->name, ANY_KIND, op->rows[row].name);
    return json_is_boolean(json_object_get(known, "good")) ? known : NULL;
}

static int keep_record(tn_dev *d, json_t *db, const tn_variant_op *op, int row, const char *kind, const tn_verdict *v,
                       tn_error *err)
{
    const char *const at[4] = {"checks", op->name, v->fatal ? ANY_KIND : kind, op->rows[row].name};
    TN_TRY(tn_db_put(db, at, verdict(v), err));
    tn_db_save(d);
    if (!v->good)
        tn_logf(d->log, TN_LOG_WARN, "device '%s': %s variant %s is not used for %s (%s)", d->info.name, op->name,
                op->rows[row].name, v->fatal ? "anything" : kind, v->why);
    return 0;
}

static int tuner_check(bool *good, tn_dev *d, const tn_variant_op *op, int row, const void *args, tn_error *err)
{
    json_t *db;
    char kind[TN_KEY];
    *good = row == op->n - 1;
    if (*good) return 0;
    TN_TRY(tn_db(&db, d, err));
    op->kind(kind, sizeof kind, args);
    const json_t *known = record(db, op, row, kind);
    tn_verdict v = {.good = known && tn_json_bool(known, "good", 0)};
    if (!known) TN_TRY(run_check(&v, d, op, row, kind, args, err));
    if (v.unsure) tn_logf(d->log, TN_LOG_DEBUG, "%s variant %s is not tried: %s", op->name, op->rows[row].name, v.why);
    else if (!known) TN_TRY(keep_record(d, db, op, row, kind, &v, err));
    *good = v.good;
    return 0;
}

const tn_registry tn_registry_checked = {tn_variant_ops, tuner_check};

/* ---- measurements ---- */

#define WAIT 2e-5 /* seconds: what one launch and waiting for it take beside the work */

/* Waiting for the device costs as much as a short kernel: several of these share it. */
static int burst_of(double seconds)
{
    enum { MOST = 10 };
    return TN_MAX(1, TN_MIN((int)(MOST * WAIT / seconds), (int)MOST));
}

static int run_burst(tn_ctx *c, const tn_variant_op *op, const tn_choice *k, const void *args, int n, tn_error *err)
{
    for (int i = 0; i < n; i++) {
        tn_ws_reset(c);
        TN_TRY(tn_variant_run_row(c, op, k, args, err));
    }
    return tn_dev_finish(c->dev, err);
}

static int tuner_measure(tn_ctx *c, const tn_variant_op *op, const tn_choice *k, const void *args, double best, double *seconds,
                         tn_error *err)
{
    const double begin = tn_now();
    int burst = 1;
    *seconds = INFINITY;
    c->dry = true;
    tn_ws_reset(c);
    TN_TRY(tn_variant_run_row(c, op, k, args, err));
    c->dry = false;
    TN_TRY(tn_ctx_reserve(c, c->ws_peak, err));
    for (int i = 0; i < 20 && (i < 3 || tn_now() - begin < 0.03); i++) {
        const double t = tn_now();
        TN_TRY(run_burst(c, op, k, args, burst, err));
        if (i) *seconds = TN_MIN(*seconds, (tn_now() - t) / burst); /* the first builds the kernel */
        if (i && *seconds > 3 * best + WAIT) break;
        if (i == 1) burst = burst_of(*seconds);
    }
    return 0;
}

typedef struct {
    tn_dev *d;
    tn_ctx c;
    const tn_variant_op *op;
    void *args;
    tn_choice best;
    double seconds;
    json_t *rows;
    bool all; /* slow rows and tunables too */
} tuner;

/* One value at a time from the defaults: what is faster stays. */
static int tune_values(tuner *t, tn_choice *k, double *seconds, tn_error *err)
{
    const tn_tunable *p = t->op->rows[k->row].tunables;
    for (int i = 0; t->all && p && p[i].name; i++)
        for (const int *v = p[i].values + 1; *v; v++) {
            tn_choice tried = *k;
            double sec;
            tried.tune[i] = *v;
            TN_TRY(tuner_measure(&t->c, t->op, &tried, t->args, *seconds, &sec, err));
            if (sec < *seconds) *k = tried, *seconds = sec;
        }
    return 0;
}

static int tune_row(tuner *t, int row, tn_error *err)
{
    const tn_variant *v = &t->op->rows[row];
    json_t *db;
    char kind[TN_KEY];
    bool good = false;
    double sec = 0;
    const char *why = "";
    tn_error e = {0};
    tn_choice k = tn_variant_defaults(t->op, row);
    TN_TRY(tn_db(&db, t->d, err));
    t->op->kind(kind, sizeof kind, t->args);
    if (!tn_variant_fits(v, t->d->caps)) return 0; /* of another vendor: nothing to tell */
    if (!tn_variant_can(&t->c, v, t->args)) why = "cannot do this shape or storage type";
    else if (!tn_variant_tries(&t->c, t->op, row, t->args, t->all)) why = "not for CPUs: only tried by devices --tune";
    else TN_TRY(tuner_check(&good, t->d, t->op, row, t->args, err));
    json_t *checked = record(db, t->op, row, kind);
    if (!good && !why[0]) why = tn_json_str(checked, "why", "not tried: that takes a process of its own, and none could do it");
    int rc = good ? tuner_measure(&t->c, t->op, &k, t->args, t->seconds, &sec, &e) : 0;
    if (!rc && good) rc = tune_values(t, &k, &sec, &e);
    if (rc == TN_ERR_MEMORY) return tn_fail(err, rc, "%s", e.message);
    if (rc) why = e.message;
    if (good && !rc && sec < t->seconds) t->seconds = sec, t->best = k;
    json_t *r = json_pack("{s:f, s:s}", "seconds", rc ? 0.0 : sec, "why", why);
    if (checked) json_object_set(r, "error", json_object_get(checked, "error"));
    return r && !json_object_set_new(t->rows, v->name, r) ? 0 : tn_oom(err);
}

static json_t *answer(const tuner *t)
{
    const tn_variant *v = &t->op->rows[t->best.row];
    json_t *tune = json_object();
    for (int i = 0; v->tunables && v->tunables[i].name; i++)
        json_object_set_new(tune, v->tunables[i].name, json_integer(t->best.tune[i]));
    return json_pack("{s:s, s:o, s:O}", "variant", v->name, "tune", tune, "rows", t->rows);
}

static int tune_shape(const struct tn_wish *w, tn_dev *d, bool all, tn_error *err)
{
    json_t *db;
    tuner t = {.d = d, .op = w->op, .all = all, .seconds = INFINITY, .rows = json_object(), .args = calloc(1, w->op->args_size)};
    TN_TRY(tn_db(&db, d, err));
    tn_ctx_bare(&t.c, d);
    t.c.registry = &tn_registry_checked;
    int rc = t.rows && t.args ? w->op->make(t.args, &t.c, w->args, err) : tn_oom(err);
    for (int i = 0; !rc && i < w->op->n; i++) rc = tune_row(&t, i, err);
    if (!rc && isfinite(t.seconds)) {
        const char *const at[4] = {"choices", w->op->name, w->key};
        rc = tn_db_put(db, at, answer(&t), err);
    }
    if (t.args) w->op->release(t.args, &t.c);
    tn_ctx_free(&t.c);
    json_decref(t.rows);
    free(t.args);
    return rc;
}

/* ---- their programs, built ahead ---- */

typedef struct {
    tn_ahead *ahead;
    tn_dev *d;
    json_t *db, *checks; /* checks: those that were walked: operation, row, kind */
    bool all;
} foresight;

/* What the check of a row launches, unless its outcome is known. */
static int check_ahead(foresight *f, const struct tn_wish *w, int row, tn_error *err)
{
    char kind[TN_KEY];
    w->op->kind(kind, sizeof kind, w->args);
    const char *const at[4] = {w->op->name, w->op->rows[row].name, kind};
    if (row == w->op->n - 1 || record(f->db, w->op, row, kind) || tn_db_at(f->checks, at[0], at[1], at[2], NULL)) return 0;
    TN_TRY(tn_db_put(f->checks, at, json_true(), err));
    return tn_check_ahead(f->ahead, f->d, w->op, row, kind, w->args, err);
}

/* The same of a row itself on a shape that is measured. */
static int row_ahead(foresight *f, const struct tn_wish *w, int row, tn_error *err)
{
    const tn_variant *v = &w->op->rows[row];
    const tn_choice k = tn_variant_defaults(w->op, row);
    tn_ctx c;
    tn_ctx_bare(&c, f->d);
    if (tn_variant_apart(f->d, v) || !tn_variant_fits(v, f->d->caps) || !tn_variant_tries(&c, w->op, row, w->args, f->all))
        return 0;
    TN_TRY(check_ahead(f, w, row, err));
    if (w->row >= 0) return 0;
    c.dry = true;
    c.ahead = f->ahead;
    const int rc = tn_variant_run_row(&c, w->op, &k, w->args, err);
    tn_ctx_free(&c);
    return rc;
}

/* What cannot be told here is built where it is used. */
static int build_wanted(const tn_wanted *w, tn_dev *d, tn_error *err)
{
    foresight f = {.d = d, .all = w->again, .checks = json_object()};
    tn_error ignored;
    int rc = tn_db(&f.db, d, err);
    if (!rc) rc = tn_ahead_new(&f.ahead, d, err);
    for (int i = 0; !rc && f.ahead && i < w->n; i++)
        for (int row = 0; row < w->v[i].op->n; row++)
            if (w->v[i].row < 0 || w->v[i].row == row) (void)row_ahead(&f, &w->v[i], row, &ignored);
    if (!rc && f.ahead) rc = tn_ahead_build(f.ahead, TN_AHEAD_TRIAL, err);
    tn_ahead_free(f.ahead);
    json_decref(f.checks);
    return rc;
}

static int wish_grant(const struct tn_wish *w, tn_dev *d, bool all, tn_error *err)
{
    bool good;
    return w->row < 0 ? tune_shape(w, d, all, err) : tuner_check(&good, d, w->op, w->row, w->args, err);
}

static void tell_begin(const tn_wanted *w, const tn_dev *d)
{
    int shapes = 0;
    for (int i = 0; i < w->n; i++) shapes += w->v[i].row < 0;
    if (shapes < w->n) tn_logf(d->log, TN_LOG_INFO, "device '%s': checking %d kernels, once", d->info.name, w->n - shapes);
    if (shapes) tn_logf(d->log, TN_LOG_INFO, "device '%s': measuring %d shapes, once", d->info.name, shapes);
}

enum { SAVE_EVERY = 5 }; /* seconds */

int tn_tune(tn_wanted *w, tn_dev *d, tn_error *err)
{
    const size_t limit = d->memory_limit, peak = d->peak, all = limit ? limit : d->info.global_memory;
    const double was = d->prepared, begin = tn_now(); /* programs that are built meanwhile count once */
    double saved = begin;
    int rc = 0, done = 0;
    if (!w->n) return 0;
    d->memory_limit = d->allocated + (all > d->allocated ? (all - d->allocated) / 4 : 0);
    tell_begin(w, d);
    rc = build_wanted(w, d, err);
    for (int k = 0; !rc && tn_variant_ops[k]; k++)
        for (int i = 0; !rc && i < w->n; i++) {
            if (w->v[i].op != tn_variant_ops[k]) continue;
            rc = tn_watch_tell(&d->watch, TN_PHASE_TUNING, w->v[i].key, done++, w->n, err);
            if (!rc) rc = wish_grant(&w->v[i], d, w->again, err);
            if (tn_now() - saved > SAVE_EVERY) { /* who is ended meanwhile need not begin anew */
                tn_db_save(d);
                saved = tn_now();
            }
            if (rc != TN_ERR_MEMORY) continue;
            tn_logf(d->log, TN_LOG_INFO, "%s %s is not measured: %s", w->v[i].op->name, w->v[i].key, err->message);
            rc = 0;
        }
    d->memory_limit = limit;
    d->peak = peak; /* what the run's own buffers took: these are gone before it starts */
    tn_db_save(d);
    d->prepared = was + (tn_now() - begin);
    return rc;
}
