/** What repeated measurements say of a quantity. */
#ifndef TN_STATS_H
#define TN_STATS_H
#include <stdbool.h>

typedef struct tn_sampled {
    int n;
    double median, low, high; /* low, high: 95 % interval of the median, by bootstrap (percentiles) */
    double drift;             /* the last third's median over the first third's, less 1; 0 for fewer than 6 */
    bool drifts;              /* that is more than 5 %, and more than their intervals explain */
} tn_sampled;

/** v: n > 0 values in the order in which they were measured; stays as it is. The same values give the same bits. False when memory
 * ran out. */
bool tn_sampled_of(tn_sampled *out, const double *v, int n);
/** The value that the part q (0 to 1) of them does not exceed, between neighbours linearly; v is ascending, n > 0. */
double tn_quantile(const double *v, int n, double q);
#endif
