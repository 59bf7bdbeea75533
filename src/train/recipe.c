#include "recipe.h"

#include "report.h"

#include <math.h>
#include <string.h>

double tn_recipe_rate(const tn_settings *s, int epoch)
{
    const double base = s->training.lr, f = s->training.warmup_factor;
    const int m = s->training.warmup_epochs;
    if (!s->training.scheduler || !strcmp(s->training.scheduler, "none")) return base;
    if (epoch < m) return base * (f + (1 - f) * epoch / m);
    const int t_max = TN_MAX(1, s->training.epochs - m);
    return base * (1 + cos(M_PI * (epoch - m) / t_max)) / 2;
}

int tn_recipe_limit(int batches, double limit)
{
    if (limit <= 0) return batches;
    return limit < 1 ? TN_MAX(1, (int)(batches * limit)) : (int)fmin(limit, batches);
}

/* What early stopping watches; without a validation split, the training loss. */
static double watched(const tn_settings *s, const tn_epoch *ep, bool *larger_is_better)
{
    const tn_metric *m = tn_metric_find(s->training.es_monitor);
    const char *mode = s->training.es_mode;
    const bool of_training = s->training.es_monitor && !strcmp(s->training.es_monitor, "train/loss");
    if (of_training || !ep->validated) {
        *larger_is_better = of_training && mode && !strcmp(mode, "max");
        return ep->train_loss;
    }
    *larger_is_better = mode ? !strcmp(mode, "max") : m->more;
    return tn_metric_value(m, ep->val);
}

bool tn_recipe_judge(tn_trainer_state *st, const tn_settings *s, tn_epoch *ep)
{
    const double loss = ep->validated ? ep->val_loss : ep->train_loss;
    ep->best = isnan(st->best) || loss < st->best; /* a loss that is not a number is best only while there is nothing better */
    if (ep->best) st->best = loss;
    bool larger;
    const double v = watched(s, ep, &larger), gain = larger ? v - st->es_best : st->es_best - v;
    if ((isnan(st->es_best) && !isnan(v)) || gain > s->training.es_min_delta) st->es_best = v, st->bad_epochs = 0;
    else st->bad_epochs++;
    return s->training.es_patience > 0 && st->bad_epochs >= s->training.es_patience;
}
