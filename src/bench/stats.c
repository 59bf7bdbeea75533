#include "stats.h"
#include "numeric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RESAMPLES = 1000, LEAST_FOR_DRIFT = 6 };
#define DRIFTS 0.05

double tn_quantile(const double *v, int n, double q)
{
    const double at = q * (n - 1);
    const int i = (int)at;
    return i + 1 < n ? v[i] + (at - i) * (v[i + 1] - v[i]) : v[n - 1];
}

typedef struct {
    double median, low, high;
} interval;

/* room: [n + RESAMPLES] */
static interval bootstrap(const double *v, int n, double *room)
{
    tn_rng r = tn_rng_named(1, "bootstrap");
    double *medians = room + n;
    for (int k = 0; k < RESAMPLES; k++) {
        for (int i = 0; i < n; i++) room[i] = v[tn_rng_below(&r, (uint32_t)n)];
        tn_sort_doubles(room, (size_t)n);
        medians[k] = tn_quantile(room, n, 0.5);
    }
    tn_sort_doubles(medians, RESAMPLES);
    memcpy(room, v, sizeof *v * (size_t)n);
    tn_sort_doubles(room, (size_t)n);
    return (interval){tn_quantile(room, n, 0.5), tn_quantile(medians, RESAMPLES, 0.025), tn_quantile(medians, RESAMPLES, 0.975)};
}

bool tn_sampled_of(tn_sampled *out, const double *v, int n)
{
    double *room = malloc(sizeof *room * (size_t)(n + RESAMPLES));
    if (!room) return false;
    const interval all = bootstrap(v, n, room);
    *out = (tn_sampled){.n = n, .median = all.median, .low = all.low, .high = all.high};
    if (n >= LEAST_FOR_DRIFT) {
        const interval first = bootstrap(v, n / 3, room), last = bootstrap(v + n - n / 3, n / 3, room);
        out->drift = first.median > 0 ? last.median / first.median - 1 : 0;
        out->drifts = fabs(out->drift) > DRIFTS && (last.low > first.high || last.high < first.low);
    }
    free(room);
    return true;
}
