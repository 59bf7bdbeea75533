/** A run's plan: its model's layers, its devices' speeds, and the division that follows. */
#ifndef TN_RUN_PLAN_H
#define TN_RUN_PLAN_H
#include "machine.h"
#include "speed.h"
#include "timeline.h"
#include <tracknet/schedule.h>

typedef struct tn_run_plan {
    tn_engine *e; /* dry, on the first device */
    tn_layers layers;
    tn_machine machine; /* n 0: these devices here */
    tn_speed *speed;    /* one a device, or a kind of the machine's; only times and update for the latter */
    int n_speeds;
    tn_planner_device *device;
    char (*name)[160];
    tn_planner_problem problem;
    tn_planner_result result;
    tn_timeline timeline;
    char *left;              /* sentences about devices that "all" did not take, a line each; owned */
    double *alone;           /* [devices]: seconds of a step on that one alone; INFINITY: it does not hold the model */
    double planning_seconds; /* that the search took */
} tn_run_plan;

/** How many times as long devices take as when they were timed, by their index in tn_device_list; behind the n-th: once. */
typedef struct tn_slowness {
    const double *factor;
    int n;
} tn_slowness;

/** Of a training run on the devices that o lists. slow may be NULL. Free with tn_run_plan_free. */
int tn_run_plan_new(tn_run_plan *p, const tn_settings *s, const tn_run_options *o, const tn_schedule_options *what,
                    const tn_slowness *slow, tn_error *err);
void tn_run_plan_free(tn_run_plan *p);
/** The division as tn_split_read takes it; the caller free()s *out. */
int tn_run_plan_stages(char **out, const tn_run_plan *p, tn_error *err);

#endif
