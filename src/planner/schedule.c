/* The public function: a plan in its three forms. */
#include "entry.h"
#include "plan_report.h"

#include <math.h>
#include <stdlib.h>

static int report(tn_schedule_report **out, const tn_run_plan *p, const tn_measured *m, tn_error *err)
{
    tn_schedule_report *r = calloc(1, sizeof *r);
    if (!r) return tn_oom(err);
    r->step_seconds = p->timeline.seconds;
    r->images_per_second = p->problem.batch / p->timeline.seconds;
    r->measured_seconds = m ? m->seconds : NAN;
    r->table = tn_run_plan_table(p, m);
    r->json = tn_run_plan_json(p, m);
    r->svg = tn_run_plan_svg(p, m);
    if (r->table && r->json && r->svg) {
        *out = r;
        return 0;
    }
    tn_schedule_free(r);
    return tn_oom(err);
}

int tn_schedule(const tn_config *c, const tn_run_options *o, const tn_schedule_options *s, tn_schedule_report **out, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(c, "tn_schedule's configuration", err));
    TN_TRY(tn_required(out, "tn_schedule's result", err));
    *out = NULL;
    TN_TRY(tn_run_check(&o, err));
    TN_TRY(tn_struct(s, TN_SCHEDULE_OPTIONS_VERSION, "tn_schedule_options", err));
    if (s && s->measure && s->machine) return tn_fail(err, TN_ERR_ARGUMENT, "a described machine cannot be measured");
    tn_run_plan p;
    tn_measured m = {0};
    TN_TRY(tn_run_plan_new(&p, tn_config_settings(c), o, s, NULL, err));
    const bool measure = s->measure;
    int rc = measure ? tn_measure(&m, &p, tn_config_settings(c), o, err) : 0;
    if (!rc) rc = report(out, &p, measure ? &m : NULL, err);
    tn_measured_free(&m);
    tn_run_plan_free(&p);
    return rc;
}

void tn_schedule_free(tn_schedule_report *r)
{
    if (!r) return;
    free(r->table);
    free(r->json);
    free(r->svg);
    free(r);
}
