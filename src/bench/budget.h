/** The time of a device's benchmark, divided over its parts: what one leaves the next may take. Seconds, on tn_now()'s clock. */
#ifndef TN_BUDGET_H
#define TN_BUDGET_H
#include <stdbool.h>

typedef struct tn_budget {
    double begin, seconds; /* all of it; seconds 0: as long as it takes */
    double end;            /* of the part that runs */
    double pace;           /* what figures may take of what their effort gives them: LEAST_PACE..1 */
    double step, prepared; /* when the station that runs began, and what had been prepared then; step 0: none runs */
    double took;           /* the last one, as long as its effort would have it; 0: not known */
} tn_budget;

/** A part that may go on until so much of the whole (0..1) is over. */
void tn_budget_part(tn_budget *t, double upto);
/** Seconds that the part has left; a large number where there is no limit. */
double tn_budget_left(const tn_budget *t);
/** Before a part's station k of n (a shape, a format): is there time for it, if it takes as long as the one before, at the pace at
 * which all n - k have time or the least? Sets the pace. prepared: seconds in which kernels were built so far; stations build
 * theirs once. */
bool tn_budget_allows(tn_budget *t, int k, int n, double prepared);
#endif
