#include "budget.h"
#include "clock.h"
#include "fail.h"

#define LEAST_PACE 0.125
#define FIXED      0.5 /* part of a station that no pace shortens: data, checks, kernels that are built */
#define FOREVER    1e9

void tn_budget_part(tn_budget *t, double upto)
{
    t->end = t->begin + upto * t->seconds;
    t->pace = 1;
    t->step = t->took = 0;
}

double tn_budget_left(const tn_budget *t)
{
    return t->seconds > 0 ? t->end - tn_now() : FOREVER;
}

/* Of what a station takes with figures as long as their effort has them. */
static double part_at(double pace)
{
    return FIXED + (1 - FIXED) * pace;
}

bool tn_budget_allows(tn_budget *t, int k, int n, double prepared)
{
    const double now = tn_now(), left = tn_budget_left(t), each = left / (n - k);
    if (t->seconds <= 0) return true;
    if (t->step > 0) t->took = TN_MAX(now - t->step - (prepared - t->prepared), 0) / part_at(t->pace);
    if (t->took > 0) t->pace = TN_MAX(LEAST_PACE, TN_MIN(1, (each / t->took - FIXED) / (1 - FIXED)));
    const bool allowed = left > 0 && left >= t->took * part_at(t->pace);
    t->step = allowed ? now : 0;
    t->prepared = prepared;
    return allowed;
}
