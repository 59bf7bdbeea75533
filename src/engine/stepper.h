/**
 * Optimiser steps, one after another, with the host a step ahead of the device: what training and `tracknet profile train` run.
 *
 * A step copies its batch into pinned memory, enqueues everything (inputs, the passes' tapes, the optimiser's tape, reads of the
 * results) and returns. With one device the only call that waits is for the step two back, whose staging it takes over and whose
 * results it hands out. With several the lanes' threads (crew.h) run the passes while the next batch is copied; then, in the next
 * call, they are waited for: the gradient's norm is of all lanes, and replicas' gradients are added, in the replicas' order, on the
 * host. What failed then is the failure of that call. One host thread; freed before the engine.
 */
#ifndef TN_STEPPER_H
#define TN_STEPPER_H
#include "rescue.h"

typedef struct tn_stepper tn_stepper;

/** What came of a step. */
typedef struct tn_step_result {
    long long index;
    int images;
    double lr, loss;
    tn_optim_state optim; /* after the step */
} tn_step_result;

/** Called once for every step, in order, up to two steps late. A failure is the stepper's; later results are not handed out. */
typedef int (*tn_step_done)(void *user, const tn_step_result *r, tn_error *err);

/** For batches of at most `batch`. Device memory is taken by the first step. `done` may be NULL. */
int tn_stepper_new(tn_stepper **out, tn_engine *e, int batch, tn_step_done done, void *user, tn_error *err);
/** Every step from now on is one of several processes', with one device each. Copied. */
void tn_stepper_join(tn_stepper *st, const tn_step_others *others);
/** Steps from now on write what each lane does to logs[lanes]; NULL: no more. Passes are waited for then. */
void tn_stepper_log(tn_stepper *st, tn_lane_log *logs);
/** Waits for what is enqueued; results nobody has seen yet are lost. NULL is allowed. */
void tn_stepper_free(tn_stepper *st);
/** TN_ERR_MEMORY: the device refused. As a rule that is before anything of the step was enqueued, weights and running statistics
 * are as they were, and the same job may be tried again with a smaller micro. */
int tn_stepper_step(tn_stepper *st, const tn_step_job *j, tn_error *err);
/** Waits for every step and hands its results out: before anything else uses the session. */
int tn_stepper_drain(tn_stepper *st, tn_error *err);
/** After a step that failed because a device was lost: what the last complete step left, from what the lanes kept. Results of that
 * step and of those before it are handed out. r->steps 0: there is none. Only with several devices; the stepper is good for nothing
 * more but to be freed. */
int tn_stepper_rescue(tn_rescue *r, tn_stepper *st, tn_error *err);
/** What a step of these groups plays on the first device after its passes, recorded when it is not yet. It leaves the gradients
 * zero; whoever plays passes between steps plays it behind them. Borrowed. */
int tn_stepper_tape(tn_tape **update, tn_stepper *st, int groups, tn_error *err);
#endif
