/** The samples of a figure. */
#ifndef TN_SAMPLE_H
#define TN_SAMPLE_H
#include "figure.h"

typedef struct tn_samples {
    double *v, *ratio; /* seconds of a run; the copy's over them. Room for level->most */
    int n, runs;       /* samples; runs of each */
    bool by_device;    /* by the device's clock, without what lies between launches */
} tn_samples;

/** Warms up and takes them: several runs and a wait on the host's clock. What takes a GPU less than a launch may is recorded and
 * timed by events instead, where the driver's tell: a step's launches lie as near to each other as the device can take them. */
int tn_sample(tn_bench *b, const tn_bench_job *j, tn_samples *s, tn_error *err);
#endif
