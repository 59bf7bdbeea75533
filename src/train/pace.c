/* A device of several that becomes slower, because it is hot or others use it: seen in the last step of an epoch, whose passes are
 * waited for one by one, and answered before the next. */
#include "trainer.h"

#include <math.h>
#include <stdlib.h>

#define NOTABLE 1.3 /* times as long; less is noise */

int tn_pace_watch(trainer *t, int batch, tn_error *err)
{
    if (t->e->team.n_dev < 2 || batch != t->batches - 1) return 0;
    TN_TRY(tn_stepper_drain(t->stepper, err)); /* the step before is not to be in it */
    free(t->watched);
    t->watched = calloc((size_t)t->e->team.n, sizeof *t->watched);
    if (!t->watched) return tn_oom(err);
    tn_stepper_log(t->stepper, t->watched);
    return 0;
}

/* Seconds of a micro-batch's two passes: the median of the step's, so that a moment's disturbance is none. */
static double pace_of(const tn_lane_log *log)
{
    double took[TN_LANE_SPANS];
    int n = 0;
    for (int i = 0; i < log->n; i++) {
        const tn_lane_span *s = &log->span[i];
        if (s->micro < 0) continue;
        if (s->micro >= n) took[n++] = 0;
        took[s->micro] += s->end - s->begin;
    }
    if (!n) return 0;
    tn_sort_doubles(took, (size_t)n);
    return took[n / 2];
}

/* A pace that is regained counts as a change too; one that was never lost only says what is usual. */
static void compare_pace(trainer *t, const tn_dev *d, double now)
{
    double *usual = &t->usual[d->index], *slow = &t->slow[d->index];
    const double by = *usual > 0 ? now / *usual : 1;
    if (now <= 0 || *usual <= 0 || (by < 1 && *slow <= 1)) {
        *usual = now;
        return;
    }
    if (by < NOTABLE && by > 1 / NOTABLE) return;
    tn_logf(t->o->log, TN_LOG_WARN, "device %d, '%s', takes %.1f times as long for its layers as before%s", d->index, d->info.name,
            by, t->stages ? "" : "; the division is by hand and stays");
    *slow = fmax(*slow * by, 1);
    *usual = now;
    t->moves = t->stages != NULL;
}

void tn_pace_look(trainer *t)
{
    if (!t->watched) return;
    tn_stepper_log(t->stepper, NULL);
    for (int i = 0; i < t->e->team.n; i++) {
        const tn_dev *d = t->e->team.member[i].dev;
        if (d->index < (int)TN_COUNT(t->usual)) compare_pace(t, d, pace_of(&t->watched[i]));
    }
    free(t->watched);
    t->watched = NULL;
}

int tn_pace_move(trainer *t, tn_step_done done, tn_error *err)
{
    bool otherwise;
    if (!t->moves) return 0;
    t->moves = false;
    TN_TRY(tn_trainer_divides_otherwise(&otherwise, t, err));
    if (!otherwise) return 0;
    tn_logf(t->o->log, TN_LOG_INFO, "the layers are divided anew");
    TN_TRY(tn_stepper_rescue(&t->rescued, t->stepper, err));
    t->left.stages = NULL;
    return tn_reopen(t, done, err);
}
