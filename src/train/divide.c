/* Which devices a run takes of those that it may: by the planner, before anything else is opened, and again when one has changed.
 */
#include "run_plan.h"
#include "trainer.h"

#include <stdlib.h>
#include <string.h>

/* Is there anything to divide? */
static int count_devices(const tn_run_options *o, int *n, tn_error *err)
{
    int *index;
    TN_TRY(tn_device_select_list(&index, n, NULL, o->device, err));
    free(index);
    return 0;
}

static void say_left_out(const trainer *t, const tn_run_plan *p)
{
    if (p->left[0]) tn_logf(t->o->log, TN_LOG_INFO, "%s", p->left);
    for (int i = 0; i < p->result.n_left; i++)
        tn_logf(t->o->log, TN_LOG_INFO, "device %d, '%s', is left out: %s", p->device[p->result.left[i].device].id,
                p->device[p->result.left[i].device].name, p->result.left[i].why);
}

static int plan_of(tn_run_plan *p, const trainer *t, tn_error *err)
{
    tn_run_options o = *t->o;
    o.stages = NULL;
    return tn_run_plan_new(p, t->s, &o, &(tn_schedule_options)TN_SCHEDULE_OPTIONS_INIT, &(tn_slowness){t->slow, TN_COUNT(t->slow)},
                           err);
}

static int take_plan(trainer *t, const tn_run_plan *p, tn_error *err)
{
    char *text;
    TN_TRY(tn_run_plan_stages(&text, p, err));
    free(t->stages);
    t->stages = text;
    if (t->o != &t->left) t->left = *t->o;
    t->left.stages = t->stages;
    t->o = &t->left;
    say_left_out(t, p);
    tn_logf(t->o->log, TN_LOG_INFO, "planned: %s; %.1f img/s", t->stages, p->problem.batch / p->timeline.seconds);
    return 0;
}

int tn_trainer_divide(trainer *t, tn_error *err)
{
    int n;
    tn_run_plan p;
    if (t->ranks || t->o->stages) return 0;
    TN_TRY(count_devices(t->o, &n, err));
    if (n < 2) return 0;
    TN_TRY(plan_of(&p, t, err));
    const int rc = take_plan(t, &p, err);
    tn_run_plan_free(&p);
    return rc;
}

int tn_trainer_divides_otherwise(bool *otherwise, const trainer *t, tn_error *err)
{
    tn_run_plan p;
    char *text = NULL;
    TN_TRY(plan_of(&p, t, err));
    const int rc = tn_run_plan_stages(&text, &p, err);
    *otherwise = !rc && strcmp(text, t->stages) != 0;
    tn_run_plan_free(&p);
    free(text);
    return rc;
}
