/** A training run under way: what its parts (train.c, setup.c, recover.c) share. */
#ifndef TN_TRAINER_H
#define TN_TRAINER_H
#include "gradsum.h"
#include "logs.h"
#include "metrics.h"
#include "recipe.h"
#include "run_folder.h"
#include "stepper.h"

typedef struct trainer {
    const tn_config *c;
    const tn_settings *s;
    const tn_run_options *o;
    const tn_train_callbacks *cb;
    tn_engine *e;
    tn_dataset train, val;
    tn_dataset seen; /* of val what a validation looks at; borrows its frames */
    tn_loader *train_loader, *val_loader;
    tn_trainer_state st;
    tn_eval_result measured; /* by the last validation */
    tn_train_summary *sum;
    tn_stepper *stepper;
    tn_ranks *ranks; /* NULL: alone */
    tn_share share;
    tn_gradsum *gradsum;      /* NULL: alone */
    bool writes;              /* rank 0 does */
    bool asked;               /* a callback wants the run to stop; with ranks, after a step: of any of them */
    tn_features_plan planned; /* of the frozen backbone's features */
    tn_features *features;    /* NULL: none, or not now */
    tn_logs *logs;
    json_t *variants_before;             /* of the run that is gone on with, until compared */
    int *own;                            /* ranks: room for what of the order is here */
    long long first_step;                /* of the epoch that is being trained */
    int *order, batches, samples, epoch; /* samples: of an epoch; epoch: the one being trained, from 0 */
    float *labels;                       /* room for a batch's */
    tn_run_folder folder;
    tn_config *own_config;                               /* what the checkpoints keep: the configuration, with the run's folders */
    double begin, images_done, epoch_loss, epoch_images; /* sums; of steps whose results have come */
    double told;                                         /* when the last result came */
    double loss_scale;                                   /* after that result */
    int counted, skipped;                                /* the epoch's steps with a loss; that overflowed float16 */
    bool stop;
    tn_rescue rescued;          /* what the last step left that was complete when a device failed */
    tn_run_options left;        /* the run's, once its devices are divided or one has failed */
    char *stages;               /* of a plan; owned. NULL: by hand, or one device */
    double slow[64], usual[64]; /* by device of tn_device_list: how many times as long it takes as when it was timed for the plan,
                                   and seconds of a micro-batch; usual 0: not known yet */
    tn_lane_log *watched;       /* of the step that is watched; NULL: none is */
    bool moves;                 /* a device has changed its pace */
    char left_devices[256];
} trainer;

/** Everything before the first step. What is opened is closed by tn_trainer_close, also after a failure. */
int tn_trainer_open(trainer *t, tn_step_done done, tn_error *err);
void tn_trainer_close(trainer *t);
/** Device, model and weights as t->o says, with the state that the run begins from, and what memory decides. */
int tn_trainer_engine(trainer *t, tn_error *err);
int tn_trainer_plan(trainer *t, tn_error *err);
/** Where the options list several devices: which of them runs what. */
int tn_trainer_divide(trainer *t, tn_error *err);
/** Would a plan divide the run otherwise now? */
int tn_trainer_divides_otherwise(bool *otherwise, const trainer *t, tn_error *err);

/* pace.c: of several devices one may become slower, because it is hot or shared. */

/** Before batch `batch` of an epoch: the last one is watched. */
int tn_pace_watch(trainer *t, int batch, tn_error *err);
/** After the epoch's steps: what came of it is said. */
void tn_pace_look(trainer *t);
/** Before the next epoch: the run goes on with its layers divided anew where that is better now. */
int tn_pace_move(trainer *t, tn_step_done done, tn_error *err);

/** Frames of a backbone that is frozen no more, or of a run that has no use for them. */
void tn_trainer_forget_features(trainer *t);

/** After the failure rc: did a device give up, and is there another one to go on with? Waits for the devices. */
bool tn_recover_can(const trainer *t, int rc);
/** The run's model on the devices that are left, as the last complete step has left it. */
int tn_recover(trainer *t, tn_step_done done, tn_error *err);
/** The run's model opened again as the options are now, with what the last complete step has left. */
int tn_reopen(trainer *t, tn_step_done done, tn_error *err);
#endif
