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
    t->step = 0;
}

double tn_budget_left(const tn_budget *t)
{
    return t->seconds > 0 ? t->end - tn_now() : FOREVER;
}

bool tn_budget_allows(tn_budget *t, int k, int n)
{
    const double now = tn_now(), took = t->step > 0 ? now - t->step : 0, left = tn_budget_left(t);
    if (t->seconds <= 0) return true;
    t->step = now;
    if (took <= 0) return left > 0; /* nothing is known yet */
    const double whole = took / (FIXED + (1 - FIXED) * t->pace), each = left / (n - k);
    t->pace = TN_MAX(LEAST_PACE, TN_MIN(1, (each / whole - FIXED) / (1 - FIXED)));
    return left >= whole * (FIXED + (1 - FIXED) * t->pace);
}
