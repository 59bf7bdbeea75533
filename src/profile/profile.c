/* Steps on the host's clock first, then the same passes with every command timed, which stops the device between them. */
#include "clock.h"
#include "entry.h"
#include "prof.h"

#include <stdlib.h>
#include <string.h>

enum { WARM_UP = 2, REPEAT = 5 };

typedef struct {
    const tn_profile_options *p;
    tn_profile_report *r;
    tn_prof step;
    int done, total;
} task;

static int progressed(task *t, tn_error *err)
{
    return tn_watch_tell(&t->step.e->watch, TN_PHASE_PROFILING, NULL, ++t->done, t->total, err);
}

static int on_the_clock(task *t, tn_error *err)
{
    double begin = 0;
    for (int i = -WARM_UP; i < t->r->repeat; i++) {
        const tn_dev *d = t->step.e->dev;
        const long long launches = d->launches, blocking = d->blocking;
        if (!i) begin = tn_now();
        TN_TRY(tn_prof_step(&t->step, err));
        t->r->launches = d->launches - launches;
        t->r->blocking = d->blocking - blocking;
        if (i < 0) TN_TRY(tn_dev_finish(t->step.e->dev, err));
        TN_TRY(progressed(t, err));
    }
    TN_TRY(tn_dev_finish(t->step.e->dev, err));
    t->r->step_seconds = (tn_now() - begin) / t->r->repeat;
    return 0;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* times: [repeat][n], a pass after the other, becomes medians [n]. */
static int medians(double *times, int n, int repeat, tn_error *err)
{
    double *one = malloc(sizeof *one * (size_t)repeat);
    if (!one) return tn_oom(err);
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < repeat; k++) one[k] = times[(size_t)k * (size_t)n + (size_t)i];
        qsort(one, (size_t)repeat, sizeof *one, by_value);
        times[i] = (one[repeat / 2] + one[(repeat - 1) / 2]) / 2;
    }
    free(one);
    return 0;
}

static int one_pass(tn_prof *s, double *pass, double *rest, tn_error *err)
{
    double *seconds = NULL;
    int rc = tn_session_profile(s->e->session, s->x, &seconds, err);
    if (!rc) memcpy(pass, seconds, sizeof *pass * (size_t)tn_tape_count(s->x->tape));
    free(seconds);
    return rc || !s->rest ? rc : tn_tape_profile(s->rest, rest, err);
}

/* pass, rest: [repeat] times as many as the tapes have entries. */
static int all_passes(task *t, double *pass, int n, double *rest, int m, tn_error *err)
{
    const int repeat = t->r->repeat;
    for (int k = 0; k < repeat; k++) {
        TN_TRY(one_pass(&t->step, pass + (size_t)k * (size_t)n, rest + (size_t)k * (size_t)m, err));
        TN_TRY(progressed(t, err));
    }
    TN_TRY(medians(pass, n, repeat, err));
    TN_TRY(medians(rest, m, repeat, err));
    TN_TRY(tn_prof_add_tape(t->r, t->step.x->tape, pass, err));
    if (t->step.rest) TN_TRY(tn_prof_add_tape(t->r, t->step.rest, rest, err));
    tn_prof_sum_costs(t->r);
    return 0;
}

static int by_command(task *t, tn_error *err)
{
    tn_prof *s = &t->step;
    TN_TRY(tn_prof_record(s, err));
    const int n = tn_tape_count(s->x->tape), m = s->rest ? tn_tape_count(s->rest) : 0;
    double *pass = calloc((size_t)n * (size_t)t->r->repeat + 1, sizeof *pass);
    double *rest = calloc((size_t)m * (size_t)t->r->repeat + 1, sizeof *rest);
    const int rc = pass && rest ? all_passes(t, pass, n, rest, m, err) : tn_oom(err);
    free(pass);
    free(rest);
    return rc;
}

static int run(task *t, const tn_settings *s, const tn_run_options *o, tn_error *err)
{
    TN_TRY(tn_prof_open(&t->step, s, o, t->p, err));
    const tn_engine *e = t->step.e;
    t->r->device = tn_prof_keep(t->r, e->dev->info.name);
    t->r->storage = tn_dtype_name(e->act);
    t->r->batch = t->step.batch;
    if (!t->r->device) return tn_oom(err);
    TN_TRY(on_the_clock(t, err));
    return by_command(t, err);
}

int tn_profile(const tn_config *c, const tn_run_options *o, const tn_profile_options *p, tn_profile_report **out, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(c, "tn_profile's configuration", err));
    TN_TRY(tn_required(out, "tn_profile's result", err));
    *out = NULL;
    TN_TRY(tn_run_check(&o, err));
    TN_TRY(tn_struct(p, TN_PROFILE_OPTIONS_VERSION, "tn_profile_options", err));
    task t = {.p = p};
    if (p->batch < 0 || p->repeat < 0) return tn_fail(err, TN_ERR_ARGUMENT, "a batch and a number of repeats cannot be negative");
    TN_TRY(tn_prof_report_new(&t.r, err));
    t.r->what = p->what;
    t.r->repeat = p->repeat ? p->repeat : REPEAT;
    t.total = WARM_UP + 2 * t.r->repeat;
    int rc = run(&t, tn_config_settings(c), o, err);
    const tn_dtype storage = t.step.e ? t.step.e->act : TN_F32;
    tn_prof_close(&t.step);
    if (!rc) rc = tn_prof_roofline(t.r, o, storage, err);
    if (!rc) rc = tn_prof_write(t.r, p->json, p->trace, err);
    if (rc) tn_profile_free(t.r);
    else *out = t.r;
    return rc;
}
