/* Every command of a step, timed: the recorded pass is played again and again. */
#include "prof.h"

#include <stdlib.h>

double tn_prof_middle(double *v, int n)
{
    tn_sort_doubles(v, (size_t)n);
    return (v[n / 2] + v[(n - 1) / 2]) / 2;
}

/* times: [repeat][n], a pass after the other, becomes medians [n]. */
static int medians(double *times, int n, int repeat, tn_error *err)
{
    double *one = malloc(sizeof *one * (size_t)repeat);
    if (!one) return tn_oom(err);
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < repeat; k++) one[k] = times[(size_t)k * (size_t)n + (size_t)i];
        times[i] = tn_prof_middle(one, repeat);
    }
    free(one);
    return 0;
}

enum { TAPES = 2 };

/* What a step plays, in order; tapes that it has not are NULL. */
static void tapes_of(const tn_prof *s, tn_tape **t)
{
    t[0] = s->x->tape;
    t[1] = s->update;
}

static int one_pass(tn_prof *s, double *seconds, tn_error *err)
{
    tn_tape *t[TAPES];
    tapes_of(s, t);
    for (int i = 0; i < TAPES; i++) {
        if (!t[i]) continue;
        TN_TRY(tn_tape_profile(t[i], seconds, err));
        seconds += tn_tape_count(t[i]);
    }
    return 0;
}

/* times: [repeat][n], n entries on all tapes together. */
static int keep_medians(tn_prof *s, tn_profile_report *r, double *times, int n, tn_error *err)
{
    tn_tape *tapes[TAPES];
    TN_TRY(medians(times, n, r->repeat, err));
    tapes_of(s, tapes);
    for (int i = 0; i < TAPES; i++) {
        if (!tapes[i]) continue;
        TN_TRY(tn_prof_add_tape(r, tapes[i], times, err));
        times += tn_tape_count(tapes[i]);
    }
    tn_prof_sum_costs(r);
    return 0;
}

int tn_prof_commands(tn_prof *s, tn_profile_report *r, int (*done)(void *user, tn_error *err), void *user, tn_error *err)
{
    tn_tape *tapes[TAPES];
    int n = 0;
    TN_TRY(tn_prof_recorded(s, err));
    tapes_of(s, tapes);
    for (int i = 0; i < TAPES; i++) n += tapes[i] ? tn_tape_count(tapes[i]) : 0;
    double *times = calloc((size_t)n * (size_t)r->repeat + 1, sizeof *times);
    int rc = times ? 0 : tn_oom(err);
    for (int k = 0; !rc && k < r->repeat; k++) {
        rc = one_pass(s, times + (size_t)k * (size_t)n, err);
        if (!rc) rc = done(user, err);
    }
    if (!rc) rc = keep_medians(s, r, times, n, err);
    free(times);
    return rc;
}
