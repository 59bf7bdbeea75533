/** What a run's recipe decides: rates, how much of a split an epoch takes, which epoch is the best and when to stop. */
#ifndef TN_RECIPE_H
#define TN_RECIPE_H
#include "checkpoint.h"

/** The rate of an epoch, from 0: LinearLR, then CosineAnnealingLR restarting at the full rate (torch.optim.lr_scheduler, closed
 * forms). */
double tn_recipe_rate(const tn_settings *s, int epoch);
/** How many of `batches` a limit leaves (training.limit_train_batches); never none. */
int tn_recipe_limit(int batches, double limit);
#endif
