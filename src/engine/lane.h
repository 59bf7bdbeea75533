/**
 * One stage's share of optimiser steps, on its device: pinned staging for what a step brings, its passes, its part of the
 * update. Everything is enqueued; nothing waits but what says so. A lane is used by one host thread at a time.
 */
#ifndef TN_LANE_H
#define TN_LANE_H
#include "frozen.h"

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

enum { TN_LANE_SLOTS = 2 };

/** TN_GROUP_* of the arena's g-th part. */
static inline int tn_group_bit(int g)
{
    static const int bits[TN_GROUPS] = {TN_GROUP_HEAD, TN_GROUP_LORA, TN_GROUP_BACKBONE};
    return bits[g];
}

/** Where things lie in a slot, bytes. Frames come last of what goes up, so that a short batch is a shorter upload. */
typedef struct tn_lane_layout {
    size_t image, table; /* of one frame, or of what stands for it; of RoPE's table where it is drawn anew, 0 else */
    size_t labels, tables, frames, parts, state, total;
} tn_lane_layout;

typedef struct tn_lane_slot {
    tn_staging staging;
    tn_staging kept;      /* what the step leaves of all that is trained, where a device may be lost (rescue.h) */
    tn_event *kept_there; /* it is all there */
    tn_event *done;       /* NULL: no step is in it */
    int micros, images;   /* of the step's batch, its share */
} tn_lane_slot;

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

typedef enum tn_half { TN_HALF_BOTH, TN_HALF_FORWARD, TN_HALF_BACKWARD } tn_half;

/** When a lane had a pass, or its update (micro -1), by the host's clock. */
typedef struct tn_lane_span {
    int micro;
    tn_half half;
    double begin, end; /* tn_now */
} tn_lane_span;

enum { TN_LANE_SPANS = 1024 };
/** What a lane did; what is beyond the room is not in it. */
typedef struct tn_lane_log {
    tn_lane_span span[TN_LANE_SPANS];
    int n;
} tn_lane_log;

typedef struct tn_lane {
    tn_engine *e;
    const tn_member *who;
    bool frames, labels; /* its layers read them; where the labels are, there is the loss */
    int batch, micro;    /* the slots are laid out for */
    tn_lane_layout at;
    tn_lane_slot slot[TN_LANE_SLOTS];
    tn_buffer *inputs;             /* on the device; NULL where it shares the host's memory */
    tn_event *taken;               /* the last step's inputs were read */
    int n_flights;                 /* passes that are under way at once */
    tn_exec *x[2][TN_MAX_FLIGHTS]; /* of a whole micro-batch, and of the batch's rest */
    tn_ctx optim;                  /* workspace of its own: the session's may grow, which would leave the tapes with the old one */
    tn_buffer *sums;               /* of the gradient's squares, where the norm is made of several lanes' */
    tn_tape *norm, *update[1 << TN_GROUPS];
    int recorded_for; /* the store's generation */
    bool cleared;     /* gradients are zero once all that is enqueued has ended: the last update left them so */
    tn_lane_log *log; /* passes are waited for and written there; NULL: neither. Borrowed */
} tn_lane;

/** For at most `batch` frames of a step. */
int tn_lane_new(tn_lane *l, tn_engine *e, const tn_member *who, int batch, tn_error *err);
/** Waits for what is enqueued. */
void tn_lane_free(tn_lane *l);
/** Device memory that it takes, beside the session's. features: also with steps whose features come from host memory. */
size_t tn_lane_bytes(const tn_engine *e, const tn_member *who, int batch, int micro, bool features);

/** Of a sample. */
size_t tn_lane_label_bytes(const tn_engine *e);
/** How many of a step's micro-batches a member has under way at once. */
int tn_lane_flights(const tn_member *who, int micros);
/** Is the lane ready for the job's passes, of `images` frames, without waiting or taking memory? */
bool tn_lane_ready(tn_lane *l, const tn_step_job *j, int images);
/** Staging and passes for the job, recorded, so that a refusal comes before anything is enqueued. Nothing may be under way. */
int tn_lane_prepare(tn_lane *l, const tn_step_job *j, int images, tn_error *err);
/** Copies what the step brings into slot s. */
void tn_lane_fill(tn_lane *l, int s, const tn_step_job *j, int first, int images);
/** Inputs go up. Gradients become zero where the last step did not end in an update that left them so: the first step, and one
 * after a failure. */
int tn_lane_begin(tn_lane *l, int s, const tn_step_job *j, tn_error *err);
/** Micro-batch k's pass or half of it; others (may be NULL) plays it. */
int tn_lane_play(tn_lane *l, int s, const tn_step_job *j, int k, tn_half half, const tn_step_others *others, tn_error *err);
/** Does the lane keep on the host what its steps leave? */
bool tn_lane_keeps(const tn_lane *l);
/** The execution that runs it. */
tn_exec *tn_lane_exec(const tn_lane *l, int s, int k);
/** The squares' sums of this lane's gradients, to be added on the host: sums[TN_PARTIALS]. Waits. */
int tn_lane_norm(tn_lane *l, int s, float *sums, tn_error *err);
/** The optimiser, and the reading of its state. total: NULL, or the sum of the squares of all lanes' gradients. */
int tn_lane_update(tn_lane *l, int s, const tn_step_job *j, const float *total, tn_error *err);
/** Waits for the slot's step and gives the state. Nothing where there is no step. */
int tn_lane_collect(tn_lane *l, int s, tn_optim_state *state, tn_error *err);
/** Waits for the slot's step and what it leaves, without asking a device that may be lost. An error where there is no step. */
int tn_lane_join(const tn_lane *l, int s, tn_error *err);
/** The optimiser's state after the slot's step, which has ended. */
const tn_optim_state *tn_lane_state(const tn_lane *l, int s);
/** Of the slot's frames, whose passes have ended; 0 where the lane has no loss. */
double tn_lane_loss(const tn_lane *l, int s);
/** What a step of these groups plays after its passes, recorded when it is not yet. Borrowed. */
int tn_lane_tape(tn_tape **update, tn_lane *l, int groups, tn_error *err);
#endif
