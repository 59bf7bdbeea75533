/**
 * Repair of a ball's track as it comes: outliers are dropped, short gaps are filled. Positions go in one by one and come out
 * in order, a bounded number of frames later, so that a track may be hours long. docs/predict.md tells the rules.
 */
#ifndef TN_SMOOTH_H
#define TN_SMOOTH_H
#include "fail.h"
#include <stdbool.h>

typedef struct tn_track_point {
    double at;   /* when: rising, in frames (a video of varying rate has fractions) */
    double x, y; /* pixels */
    bool visible;
    bool repaired; /* out: not as it went in: filled, or an outlier that was dropped (then not visible) */
} tn_track_point;

enum {
    TN_SMOOTH_RUN = 3,    /* outliers in a row that are dropped */
    TN_SMOOTH_REACH = 6,  /* frames from the point before an outlier to the one behind, and of the motion looked at on each side */
    TN_SMOOTH_FACTOR = 3, /* a step may be so many times the usual one, */
};
#define TN_SMOOTH_SLACK 0.02 /* and so much of the picture's width more */

typedef struct tn_smooth tn_smooth;

/** slack: pixels. max_gap: 0 fills none. */
int tn_smooth_new(tn_smooth **out, double slack, int max_gap, tn_error *err);
int tn_smooth_push(tn_smooth *s, const tn_track_point *p, tn_error *err);
/** The next point that nothing to come can change, with its repair; false when there is none yet. `last`: nothing will come. */
bool tn_smooth_pop(tn_smooth *s, bool last, tn_track_point *p);
/** Points that are held back at most. */
int tn_smooth_delay(int max_gap);
void tn_smooth_free(tn_smooth *s);
#endif
