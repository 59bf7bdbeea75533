/** A step played through as it is planned: which stage does what from when to when. What really ran comes in the same form. */
#ifndef TN_TIMELINE_H
#define TN_TIMELINE_H
#include "planner.h"

typedef enum tn_span_kind { TN_SPAN_FORWARD, TN_SPAN_BACKWARD, TN_SPAN_LINK, TN_SPAN_EXCHANGE, TN_SPAN_UPDATE } tn_span_kind;

/** From the step's begin on. */
typedef struct tn_span {
    int replica, stage, micro; /* micro -1: of no micro-batch */
    tn_span_kind kind;
    double begin, end; /* seconds */
} tn_span;

typedef struct tn_timeline {
    tn_span *span; /* owned */
    int n;
    double seconds;
} tn_timeline;

/** One forward, one backward (1F1B): every stage runs as many forward passes ahead as there are stages from it to the last, then
 * takes a backward pass whenever one is there; transfers run beside. Free with tn_timeline_free. */
int tn_timeline_play(tn_timeline *t, const tn_planner_result *r, tn_error *err);
/** Behind what is in it; zeros begin one. */
int tn_timeline_add(tn_timeline *t, tn_span s, tn_error *err);
void tn_timeline_free(tn_timeline *t);
/** Seconds that a stage computes. */
double tn_timeline_busy(const tn_timeline *t, int replica, int stage);
#endif
