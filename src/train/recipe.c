#include "recipe.h"

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
