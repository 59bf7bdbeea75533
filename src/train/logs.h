/** What a run writes down beside its checkpoints, in log_dir: log.csv (a row an epoch), steps.csv (a row an optimiser step) and the
 * same for TensorBoard in tb/. */
#ifndef TN_LOGS_H
#define TN_LOGS_H
#include "checkpoint.h"

typedef struct tn_logs tn_logs;

/** An optimiser step's row. */
typedef struct tn_step_row {
    long long step; /* of the run, from 1 */
    int epoch;      /* from 1 */
    double loss, lr, grad_norm, loss_scale, images_per_second;
} tn_step_row;

/** `from`: where the run begins; steps.csv loses the rows after it and, where the run is `resumed`, so does log.csv. */
int tn_logs_open(tn_logs **out, const char *dir, const tn_trainer_state *from, bool resumed, tn_error *err);
int tn_logs_step(tn_logs *l, const tn_step_row *r, tn_error *err);
/** The end of an epoch, after `step` steps of the run; everything is flushed. */
int tn_logs_epoch(tn_logs *l, const tn_epoch *e, long long step, double images_per_second, tn_error *err);
/** NULL is allowed. */
void tn_logs_close(tn_logs *l);
#endif
