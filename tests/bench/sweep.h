/* An operation with variants on copies of its arguments: what a row takes with given values of its tunables. */
#ifndef SWEEP_H
#define SWEEP_H
#include "tuning.h"

enum { SWEEP_SETS = 5, SWEEP_ROUNDS = 7, SWEEP_LAUNCHES = SWEEP_SETS * SWEEP_ROUNDS };

/* Each run works on other tensors than the four before, so that little of them is in a cache. */
typedef struct {
    tn_ctx c;
    const tn_variant_op *op;
    const void *like; /* the caller's: arguments with shapes alone */
    void *set[SWEEP_SETS];
} sweep;

int sweep_open(sweep *s, tn_dev *d, const tn_variant_op *op, const void *like, tn_error *err);
void sweep_close(sweep *s);
/* us[i]: medians of the i-th launch of a run, of `most` at most, timed by the device. Rows of operations that the row calls are
 * chosen by measurement. */
int sweep_time(sweep *s, const tn_choice *k, double *us, int most, tn_error *err);
/* us: of a run after 0.4 s in which the device did nothing else, by the clock over 0.4 s: what it takes where the device is held
 * back by the power it may use. */
int sweep_sustained(sweep *s, const tn_choice *k, double *us, tn_error *err);
/* The first set's run, for who wants to look at what it makes. */
int sweep_once(sweep *s, const tn_choice *k, tn_error *err);
#endif
