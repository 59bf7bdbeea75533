/** What a plan comes to when it is run: its step by the clock, its passes one by one, its memory. */
#ifndef TN_MEASURE_H
#define TN_MEASURE_H
#include "run_plan.h"

typedef struct tn_measured {
    tn_timeline timeline;        /* of one step whose passes were each waited for */
    double seconds;              /* of a step, the median of bursts */
    int n;                       /* stages, replica by replica */
    double *planned, *allocated; /* [n] bytes of the stages' devices: by the plan of memory, and at most in use; owned */
} tn_measured;

/** Runs the plan's split on random frames. Free with tn_measured_free. */
int tn_measure(tn_measured *m, const tn_run_plan *p, const tn_settings *s, const tn_run_options *o, tn_error *err);
void tn_measured_free(tn_measured *m);
#endif
