/**
 * Optimiser steps, one after another, with the host a step ahead of the device: what training and `tracknet profile train` run.
 *
 * A step copies its batch into pinned memory, enqueues everything (inputs, the passes' tapes, the optimiser's tape, reads of the
 * results) and returns. The only call that waits is for the step two back, whose staging it takes over and whose results it
 * hands out. One host thread; freed before the engine.
 */
#ifndef TN_STEPPER_H
#define TN_STEPPER_H
#include "frozen.h"

typedef struct tn_stepper tn_stepper;

/** Of a batch that several processes share, what is here. */
typedef struct tn_step_part {
    int first;      /* the batch's frame 0 is this one of the whole batch */
    double counted; /* tn_engine_counted of the whole batch */
} tn_step_part;

/** One step. The batch is copied before tn_stepper_step returns. */
typedef struct tn_step_job {
    long long index; /* of the run, from 0; the masks of dropout follow from it */
    tn_batch batch;
    const tn_step_part *part;    /* NULL: the batch is whole. With it n may be 0: the step takes the others' gradient */
    const tn_features *features; /* read in place of the batch's frames, by its index; groups: the head alone. NULL: none */
    int micro, groups;           /* the batch is summed from parts of `micro`; groups: what is trained */
    double lr;
} tn_step_job;

/** What came of it. */
typedef struct tn_step_result {
    long long index;
    int images;
    double lr, loss;
    tn_optim_state optim; /* after the step */
} tn_step_result;

/** Called once for every step, in order, up to two steps late. A failure is the stepper's; later results are not handed out. */
typedef int (*tn_step_done)(void *user, const tn_step_result *r, tn_error *err);

/** How the gradient becomes the sum over several processes. */
typedef struct tn_step_others {
    /** Plays the step's last pass; its gradients may leave part by part while it runs. Not called where there is no pass. */
    int (*play)(void *user, tn_exec *x, tn_error *err);
    /** All passes of these groups are enqueued: the arena holds the sum for what is enqueued after. */
    int (*sum)(void *user, int groups, tn_error *err);
    /** What the loss of this part is becomes the whole batch's. */
    int (*total)(void *user, double *loss, tn_error *err);
    void *user;
} tn_step_others;

/** For batches of at most `batch`. Device memory is taken by the first step. `done` may be NULL. */
int tn_stepper_new(tn_stepper **out, tn_engine *e, int batch, tn_step_done done, void *user, tn_error *err);
/** Every step from now on is one of several processes'. Copied. */
void tn_stepper_join(tn_stepper *st, const tn_step_others *others);
/** Waits for what is enqueued; results nobody has seen yet are lost. NULL is allowed. */
void tn_stepper_free(tn_stepper *st);
/** TN_ERR_MEMORY: the device refused. As a rule that is before anything of the step was enqueued, weights and running statistics
 * are as they were, and the same job may be tried again with a smaller micro. */
int tn_stepper_step(tn_stepper *st, const tn_step_job *j, tn_error *err);
/** Waits for every step and hands its results out: before anything else uses the session. */
int tn_stepper_drain(tn_stepper *st, tn_error *err);
/** What a step of these groups plays before its passes and after them, recorded when it is not yet. Borrowed. */
int tn_stepper_tapes(tn_tape **before, tn_tape **after, tn_stepper *st, int groups, tn_error *err);
/** Device memory that it takes, beside the session's: a part of what tn_engine_fit counts. features: also with steps whose features
 * come from host memory. */
size_t tn_stepper_bytes(const tn_engine *e, int batch, int micro, bool features);
#endif
