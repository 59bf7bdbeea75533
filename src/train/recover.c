/* A device of several gives up: the others go on. */
#include "trainer.h"

#include <stdio.h>
#include <string.h>

static const tn_dev *lost_one(const trainer *t)
{
    for (int i = 0; t->e && i < t->e->team.n_dev; i++)
        if (t->e->team.dev[i]->lost) return t->e->team.dev[i];
    return NULL;
}

/* Who waited in vain for another's result has failed too: each device is asked itself. */
static void ask_all(const trainer *t)
{
    tn_error unread;
    for (int i = 0; t->e && t->e->team.n_dev > 1 && i < t->e->team.n_dev; i++) (void)tn_dev_finish(t->e->team.dev[i], &unread);
}

bool tn_recover_can(const trainer *t, int rc)
{
    int left = 0;
    if (rc != TN_ERR_DEVICE) return false;
    ask_all(t);
    for (int i = 0; t->e && i < t->e->team.n_dev; i++) left += !t->e->team.dev[i]->lost;
    return !t->ranks && left && lost_one(t);
}

/* The run's options from now on. */
static int leave_out(trainer *t, tn_error *err)
{
    const tn_team *team = &t->e->team;
    size_t at = 0;
    for (int i = 0; i < team->n_dev && at < sizeof t->left_devices; i++)
        if (!team->dev[i]->lost)
            at += (size_t)snprintf(t->left_devices + at, sizeof t->left_devices - at, "%s%d", at ? "," : "", team->dev[i]->index);
    if (at >= sizeof t->left_devices) return tn_fail(err, TN_ERR_DEVICE, "too many devices to go on without one");
    if (t->o != &t->left) t->left = *t->o;
    t->left.device = t->left_devices;
    t->left.stages = NULL;
    t->o = &t->left;
    return 0;
}

static int open_again(trainer *t, tn_step_done done, tn_error *err)
{
    const tn_rescue *r = &t->rescued;
    const tn_trainer_state was = t->st;
    TN_TRY(tn_trainer_engine(t, err)); /* as the run began */
    if (r->steps) {
        t->st = was;
        t->st.step = r->steps;
        t->st.micro = 0;
        TN_TRY(tn_rescue_give(r, t->e, err));
    }
    TN_TRY(tn_trainer_plan(t, err));
    return tn_stepper_new(&t->stepper, t->e, t->s->training.batch_size, done, t, err);
}

int tn_reopen(trainer *t, tn_step_done done, tn_error *err)
{
    tn_stepper_free(t->stepper);
    t->stepper = NULL;
    tn_trainer_forget_features(t);
    tn_engine_close(t->e);
    t->e = NULL;
    memset(t->usual, 0, sizeof t->usual);
    return open_again(t, done, err);
}

int tn_recover(trainer *t, tn_step_done done, tn_error *err)
{
    const tn_dev *lost = lost_one(t);
    TN_TRY(tn_stepper_rescue(&t->rescued, t->stepper, err));
    TN_TRY(leave_out(t, err));
    tn_logf(t->o->log, TN_LOG_WARN, "%s; the run goes on without it, on device %s, from step %lld", lost->failure, t->left_devices,
            (t->rescued.steps ? t->rescued.steps : t->st.step) + 1);
    return tn_reopen(t, done, err);
}
