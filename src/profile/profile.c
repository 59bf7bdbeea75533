/* Steps on the host's clock first, then the same passes with every command timed, which stops the device between them. */
#include "clock.h"
#include "entry.h"
#include "prof.h"

#include <math.h>
#include <stdlib.h>

enum { WARM_UP = 2, REPEAT = 5, LONGEST = 1000 };
#define BURST 0.3 /* seconds, beside which a step's start and end count little */

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

static int command_pass_done(void *user, tn_error *err)
{
    return progressed(user, err);
}

static int warm_up(task *t, tn_error *err)
{
    double seconds;
    for (int i = 0; i < WARM_UP; i++) {
        TN_TRY(tn_prof_burst(&t->step, t->r, 1, &seconds, err));
        TN_TRY(progressed(t, err));
    }
    t->r->burst = (int)fmin(fmax(BURST / fmax(seconds, 1e-9), 1), LONGEST);
    return t->r->burst > 1 ? tn_prof_burst(&t->step, t->r, t->r->burst, &seconds, err) : 0; /* clocks rise with load */
}

static int on_the_clock(task *t, tn_error *err)
{
    const int n = t->r->repeat;
    double *took = calloc((size_t)n, sizeof *took);
    int rc = took ? warm_up(t, err) : tn_oom(err);
    for (int i = 0; !rc && i < n; i++) {
        rc = tn_prof_burst(&t->step, t->r, t->r->burst, &took[i], err);
        if (!rc) rc = progressed(t, err);
    }
    if (!rc) t->r->step_seconds = tn_prof_middle(took, n) / t->r->burst;
    t->r->peak_bytes = t->step.e->dev->peak;
    free(took);
    return rc;
}

static int run(task *t, const tn_settings *s, const tn_run_options *o, tn_error *err)
{
    TN_TRY(tn_prof_open(&t->step, s, o, t->p, err));
    const tn_engine *e = t->step.e;
    t->r->device = tn_prof_keep(t->r, e->dev->info.name);
    t->r->driver = tn_prof_keep(t->r, e->dev->info.driver);
    t->r->storage = tn_dtype_name(e->act);
    t->r->batch = t->step.batch;
    if (!t->r->device || !t->r->driver) return tn_oom(err);
    TN_TRY(on_the_clock(t, err));
    TN_TRY(tn_prof_commands(&t->step, t->r, command_pass_done, t, err));
    t->r->result = t->step.result;
    t->r->idle = fmax(0, 1 - t->r->seconds / t->r->step_seconds);
    return 0;
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
