/* The public function: a plan in its three forms. */
#include "entry.h"
#include "run_plan.h"

#include <stdlib.h>

int tn_schedule(const tn_config *c, const tn_run_options *o, const tn_schedule_options *s, tn_schedule_report **out, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(c, "tn_schedule's configuration", err));
    TN_TRY(tn_required(out, "tn_schedule's result", err));
    *out = NULL;
    TN_TRY(tn_run_check(&o, err));
    TN_TRY(tn_struct(s, TN_SCHEDULE_OPTIONS_VERSION, "tn_schedule_options", err));
    tn_run_plan p;
    TN_TRY(tn_run_plan_new(&p, tn_config_settings(c), o, s, err));
    tn_schedule_report *r = calloc(1, sizeof *r);
    if (r) {
        r->step_seconds = p.timeline.seconds;
        r->images_per_second = p.problem.batch / p.timeline.seconds;
        r->table = tn_run_plan_table(&p);
        r->json = tn_run_plan_json(&p);
        r->svg = tn_run_plan_svg(&p, NULL);
    }
    tn_run_plan_free(&p);
    if (r && r->table && r->json && r->svg) {
        *out = r;
        return 0;
    }
    tn_schedule_free(r);
    return tn_oom(err);
}

void tn_schedule_free(tn_schedule_report *r)
{
    if (!r) return;
    free(r->table);
    free(r->json);
    free(r->svg);
    free(r);
}
