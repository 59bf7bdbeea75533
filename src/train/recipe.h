/** What a run's recipe decides: rates, how much of a split an epoch takes, which epoch is the best and when to stop. */
#ifndef TN_RECIPE_H
#define TN_RECIPE_H
#include "checkpoint.h"

/** The rate of an epoch, from 0: LinearLR, then CosineAnnealingLR restarting at the full rate (torch.optim.lr_scheduler, closed
 * forms). */
double tn_recipe_rate(const tn_settings *s, int epoch);
/** How many of `batches` a limit leaves (training.limit_train_batches); never none. */
int tn_recipe_limit(int batches, double limit);
/** After an epoch and its validation: sets ep->best (by the validation's loss, or the training's where nothing is validated) and
 * moves on what the state knows of best values. Early stopping watches a value of its own; true: it ends the run. */
bool tn_recipe_judge(tn_trainer_state *st, const tn_settings *s, tn_epoch *ep);
#endif
