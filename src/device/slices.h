/**
 * Launches that a display's driver does not take for a hang: each recorded one is timed when it is first played, cut into slices of
 * at most tn_dev.slice_seconds from then on, and the work that is queued is bounded (drivers give up on seconds of it, i915 on 20).
 */
#ifndef TN_SLICES_H
#define TN_SLICES_H
#include "dev_cl.h"

typedef struct tn_slices {
    bool known;
    double seconds; /* of the whole launch */
    size_t items;   /* of a slice, along the slowest dimension; 0: the launch is whole */
} tn_slices;

/** Enqueues on the main queue a kernel whose arguments are set; waits for it where it is timed. Only where d->slice_seconds is set.
 */
int tn_slices_launch(tn_dev *d, cl_kernel k, const char *name, const tn_range *r, tn_slices *s, tn_error *err);
#endif
