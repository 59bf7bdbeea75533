#include "measure.h"
#include "fit.h"
#include "steps.h"

#include <math.h>
#include <stdlib.h>

static int open_engine(tn_engine **e, const tn_run_plan *p, const tn_settings *s, const tn_run_options *o, tn_error *err)
{
    char *stages;
    tn_run_options x = *o;
    TN_TRY(tn_run_plan_stages(&stages, p, err));
    x.stages = stages;
    const int rc = tn_engine_open(e, s, &x, true, false, err);
    free(stages);
    return rc;
}

/* ---- the timeline ---- */

static double first_begin(const tn_lane_log *logs, int n)
{
    double begin = INFINITY;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < logs[i].n; k++) begin = fmin(begin, logs[i].span[k].begin);
    return begin;
}

static tn_span_kind span_kind(const tn_lane_span *s)
{
    return s->micro < 0 ? TN_SPAN_UPDATE : s->half == TN_HALF_FORWARD ? TN_SPAN_FORWARD : TN_SPAN_BACKWARD;
}

static int take_logs(tn_timeline *t, const tn_engine *e, const tn_lane_log *logs, tn_error *err)
{
    const double zero = first_begin(logs, e->team.n);
    for (int i = 0; i < e->team.n; i++)
        for (int k = 0; k < logs[i].n; k++) {
            const tn_lane_span *s = &logs[i].span[k];
            const tn_member *who = &e->team.member[i];
            TN_TRY(tn_timeline_add(t, (tn_span){who->replica, who->stage, s->micro, span_kind(s), s->begin - zero, s->end - zero},
                                   err));
        }
    return 0;
}

static int log_step(tn_timeline *t, tn_steps *s, int images, int micro, tn_error *err)
{
    double seconds;
    tn_lane_log *logs = calloc((size_t)s->e->team.n, sizeof *logs);
    if (!logs) return tn_oom(err);
    tn_stepper_log(s->stepper, logs);
    int rc = tn_steps_run(s, images, micro, 1, &seconds, err);
    tn_stepper_log(s->stepper, NULL);
    if (!rc) rc = take_logs(t, s->e, logs, err);
    free(logs);
    return rc;
}

/* ---- memory ---- */

static int compare_memory(tn_measured *m, const tn_engine *e, int micro, tn_error *err)
{
    m->n = e->team.n;
    m->planned = calloc((size_t)m->n, sizeof *m->planned);
    m->allocated = calloc((size_t)m->n, sizeof *m->allocated);
    if (!m->planned || !m->allocated) return tn_oom(err);
    for (int i = 0; i < m->n; i++) {
        tn_memory own;
        TN_TRY(tn_engine_member_memory(e, &e->team.member[i], micro, &own, err));
        m->planned[i] = (double)own.total;
        m->allocated[i] = (double)e->team.member[i].dev->peak;
    }
    return 0;
}

static int run(tn_measured *m, tn_engine *e, int images, tn_error *err)
{
    tn_steps steps = {0};
    tn_memory planned;
    int micro;
    TN_TRY(tn_engine_fit(e, &micro, &planned, err));
    int rc = tn_steps_open(&steps, e, images, err);
    if (!rc) rc = tn_steps_time(&steps, images, micro, &m->seconds, err);
    if (!rc) rc = log_step(&m->timeline, &steps, images, micro, err);
    if (!rc) rc = compare_memory(m, e, micro, err);
    tn_steps_close(&steps);
    return rc;
}

int tn_measure(tn_measured *m, const tn_run_plan *p, const tn_settings *s, const tn_run_options *o, tn_error *err)
{
    tn_engine *e;
    *m = (tn_measured){.seconds = NAN};
    TN_TRY(open_engine(&e, p, s, o, err));
    const int rc = run(m, e, p->problem.batch, err);
    tn_engine_close(e);
    if (rc) tn_measured_free(m);
    return rc;
}

void tn_measured_free(tn_measured *m)
{
    tn_timeline_free(&m->timeline);
    free(m->planned);
    free(m->allocated);
    *m = (tn_measured){0};
}
