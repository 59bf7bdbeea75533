/** Training steps on random frames, timed by the clock. */
#ifndef TN_STEPS_H
#define TN_STEPS_H
#include "stepper.h"

/** Zeros begin one. */
typedef struct tn_steps {
    tn_engine *e; /* borrowed */
    tn_stepper *stepper;
    uint8_t *frames;
    float *labels;
    int most;
    long long done;
} tn_steps;

/** For steps of at most so many images. */
int tn_steps_open(tn_steps *s, tn_engine *e, int most, tn_error *err);
void tn_steps_close(tn_steps *s);
/** n steps, with parts of `micro` images. *seconds: of one of them. Waits. */
int tn_steps_run(tn_steps *s, int images, int micro, int n, double *seconds, tn_error *err);
/** Seconds of a step once everything is built and measured: the median of several bursts. */
int tn_steps_time(tn_steps *s, int images, int micro, double *seconds, tn_error *err);
#endif
