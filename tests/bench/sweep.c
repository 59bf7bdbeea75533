#include "sweep.h"
#include "clock.h"
#include "tape.h"

#include <stdlib.h>
#include <string.h>

int sweep_open(sweep *s, tn_dev *d, const tn_variant_op *op, const void *like, tn_error *err)
{
    memset(s, 0, sizeof *s);
    tn_ctx_init(&s->c, d);
    s->op = op, s->like = like;
    for (int i = 0; i < SWEEP_SETS; i++) {
        s->set[i] = calloc(1, op->args_size);
        if (!s->set[i]) return tn_oom(err);
        TN_TRY(op->make(s->set[i], &s->c, like, err));
    }
    return 0;
}

void sweep_close(sweep *s)
{
    for (int i = 0; i < SWEEP_SETS; i++)
        if (s->set[i]) s->op->release(s->set[i], &s->c), free(s->set[i]);
    if (s->op) tn_ctx_free(&s->c);
}

/* What the row calls is measured, and the workspace is counted. */
static int prepare(sweep *s, const tn_choice *k, tn_error *err)
{
    tn_wanted w = {0};
    s->c.dry = true;
    s->c.wanted = &w;
    int rc = tn_variant_run_row(&s->c, s->op, k, s->like, err);
    s->c.wanted = NULL;
    if (!rc) rc = tn_tune(&w, s->c.dev, err);
    tn_wanted_free(&w);
    tn_ws_reset(&s->c);
    if (!rc) rc = tn_variant_run_row(&s->c, s->op, k, s->like, err);
    s->c.dry = false;
    return rc ? rc : tn_ctx_reserve(&s->c, s->c.ws_peak, err);
}

int sweep_once(sweep *s, const tn_choice *k, tn_error *err)
{
    TN_TRY(prepare(s, k, err));
    tn_ws_reset(&s->c);
    TN_TRY(tn_variant_run_row(&s->c, s->op, k, s->set[0], err));
    return tn_dev_finish(s->c.dev, err);
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Of the i-th launch of n in each run. */
static double median(const double *seconds, int n, int i)
{
    double v[SWEEP_LAUNCHES];
    for (int r = 0; r < SWEEP_LAUNCHES; r++) v[r] = 1e6 * seconds[r * n + i];
    qsort(v, SWEEP_LAUNCHES, sizeof *v, by_value);
    return v[SWEEP_LAUNCHES / 2];
}

/* SWEEP_LAUNCHES runs of the row; n: launches of one. */
static int record(tn_tape **t, sweep *s, const tn_choice *k, int *n, tn_error *err)
{
    TN_TRY(prepare(s, k, err));
    TN_TRY(tn_tape_new(t, s->c.dev, err));
    int rc = 0;
    s->c.tape = *t;
    for (int i = 0; !rc && i < SWEEP_LAUNCHES; i++) {
        tn_ws_reset(&s->c);
        rc = tn_variant_run_row(&s->c, s->op, k, s->set[i % SWEEP_SETS], err);
        if (!i) *n = tn_tape_count(*t);
    }
    s->c.tape = NULL;
    return rc;
}

int sweep_time(sweep *s, const tn_choice *k, double *us, int most, tn_error *err)
{
    double *seconds = NULL;
    tn_tape *t = NULL;
    int n = 0;
    for (int i = 0; i < most; i++) us[i] = 0;
    int rc = record(&t, s, k, &n, err);
    if (!rc && !(seconds = calloc((size_t)tn_tape_count(t) + 1, sizeof *seconds))) rc = tn_oom(err);
    for (int i = 0; !rc && i < 2; i++) rc = tn_tape_profile(t, seconds, err);
    for (int i = 0; !rc && i < TN_MIN(n, most); i++) us[i] = median(seconds, n, i);
    free(seconds);
    if (t) tn_tape_free(t);
    return rc;
}

int sweep_sustained(sweep *s, const tn_choice *k, double *us, tn_error *err)
{
    enum { HALVES = 2 };
    const double half = 0.4;
    tn_tape *t = NULL;
    int n = 0, runs = 0;
    double begin = 0, taken = 0;
    int rc = record(&t, s, k, &n, err);
    for (int h = 0; !rc && h < HALVES; h++)
        for (begin = tn_now(), runs = 0, taken = 0; !rc && taken < half; taken = tn_now() - begin, runs += 4) {
            for (int i = 0; !rc && i < 4; i++) rc = tn_tape_play(t, err);
            if (!rc) rc = tn_dev_finish(s->c.dev, err);
        }
    if (!rc) *us = 1e6 * taken / runs / SWEEP_LAUNCHES;
    if (t) tn_tape_free(t);
    return rc;
}
