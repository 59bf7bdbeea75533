/** The parts of tn_profile: a step that can be run and timed, the device's limits, the report and its files. */
#ifndef TN_PROF_H
#define TN_PROF_H
#include "adapter_use.h"
#include "fit.h"
#include "metrics.h"
#include "predictor.h"
#include "stepper.h"
#include <tracknet/profile.h>

/** A step as training or prediction makes it, on random frames. */
typedef struct tn_prof {
    tn_settings s; /* a run's whose batches are of `batch` */
    const tn_run_options *o;
    tn_profile_what what;
    int batch, groups, steps; /* steps: made so far */
    tn_engine *e;
    tn_stepper *stepper;     /* training only */
    tn_predictor *predictor; /* prediction only */
    tn_exec *x;              /* the pass */
    tn_tape *update;         /* training: what a step does after it */
    tn_adapter *adapters[TN_MAX_ADAPTERS];
    int n_adapters;
    uint8_t *frames;
    float *labels, *heat;
    double result; /* as in the report, of the last step whose results have come */
} tn_prof;

/** batch 0: as tn_profile_options says. Close it also when it fails. */
int tn_prof_open(tn_prof *p, const tn_settings *s, const tn_run_options *o, const tn_profile_options *want, tn_error *err);
void tn_prof_close(tn_prof *p);
/** n steps through the calls of training and prediction, each on frames that the one before did not have, then a wait; r->launches
 * and r->blocking are the last one's. Of a batch of several frames the heatmaps are waited for in the step after, as those of a
 * video are; a frame alone is waited for as a camera's would be. */
int tn_prof_burst(tn_prof *p, tn_profile_report *r, int n, double *seconds, tn_error *err);
/** Steps of another number of images from here on. */
int tn_prof_rebatch(tn_prof *p, int batch, tn_error *err);
/** Does the plan say that such steps fit into what the device has? */
int tn_prof_fits(bool *fits, const tn_prof *p, int batch, tn_error *err);
/** After a step: waits for it and finds what came of it (p->result) and what it played (p->x, p->update). */
int tn_prof_recorded(tn_prof *p, tn_error *err);

/** The median; v is sorted. */
double tn_prof_middle(double *v, int n);
/** After a step: r->entries with the medians of r->repeat passes, r->seconds, r->flops and r->bytes. done is called after each. */
int tn_prof_commands(tn_prof *s, tn_profile_report *r, int (*done)(void *user, tn_error *err), void *user, tn_error *err);

/** r->bandwidth and r->peak, on a device opened for it alone: the run's own memory may leave no room. */
int tn_prof_roofline(tn_profile_report *r, const tn_run_options *o, tn_dtype storage, tn_error *err);

int tn_prof_report_new(tn_profile_report **out, tn_error *err);
/** A copy that lives as long as the report; NULL when memory ran out. */
const char *tn_prof_keep(tn_profile_report *r, const char *text);
/** Appends a tape's entries with their times. */
int tn_prof_add_tape(tn_profile_report *r, const tn_tape *t, const double *seconds, tn_error *err);
/** r->flops and r->bytes, once all entries are there. */
void tn_prof_sum_costs(tn_profile_report *r);

int tn_prof_write(const tn_profile_report *r, const char *json, const char *trace, tn_error *err);
#endif
