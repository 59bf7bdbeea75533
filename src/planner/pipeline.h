/** The best pipelines of every choice of devices, at one micro-batch. */
#ifndef TN_PIPELINE_H
#define TN_PIPELINE_H
#include "kinds.h"

typedef struct tn_pipelines tn_pipelines;

/** One stage of a pipeline, from the first to the last. */
typedef struct tn_leg {
    int kind, first, last, in_flight;
} tn_leg;

/** Borrows both. near: how much slower, as a part, what is found may be for each stage behind the first; 0 finds the best. Free
 * with tn_pipelines_free; NULL is allowed there. */
int tn_pipelines_new(tn_pipelines **out, const tn_kinds *k, tn_costs *c, double near, tn_error *err);
void tn_pipelines_free(tn_pipelines *p);
/** The most stages that a pipeline may have. */
int tn_pipelines_depth(const tn_pipelines *p);
/** Costs all of them of at most `depth` stages for a micro-batch; alone: for one that is not followed by another. *short_of (may be
 * NULL): memory was short somewhere, so that it matters. Nothing is done where that is what was costed last. */
int tn_pipelines_at(tn_pipelines *p, int micro, bool alone, int depth, bool *short_of, tn_error *err);
/** Seconds of the best one of a choice for so many micro-batches; INFINITY where there is none. */
double tn_pipeline_seconds(const tn_pipelines *p, int choice, int micros);
/** Its stages; returns how many. */
int tn_pipeline_legs(const tn_pipelines *p, int choice, int micros, tn_leg leg[TN_MAX_STAGES]);
#endif
