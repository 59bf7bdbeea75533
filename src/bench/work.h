/** The work itself: training steps and predictions of whole models. */
#ifndef TN_WORK_H
#define TN_WORK_H
#include "energy.h"
#include "figure.h"
#include <tracknet/bench.h>

typedef struct tn_bench_work {
    const tn_run_options *o; /* of one device */
    const char *config_dir;  /* that has configs' model, training and backbone folders */
    tn_energy *energy;
    json_t *steps;    /* where profiles go. Borrowed */
    double allowance; /* what is left of tn_bench_level's */
    double prepared;  /* seconds in which kernels were built and chosen for the first time */
    /* of the last case of training and of prediction by storage type, from which the next one's time is reckoned; cost 0: none yet
     */
    struct {
        double cost, open, prepared, step;
    } last[2][3];
    char least[512]; /* why the first that did not, did not */
    struct {
        double bandwidth, peak; /* 0: not measured yet */
        char copied_by[64], peak_by[64];
    } limit[3]; /* by storage type */
} tn_bench_work;

/** The folder of configurations: `given`, ./configs, or the installed one; NULL: there is none. Caller frees. */
char *tn_bench_configs(const char *given);
/** A backbone's training step and prediction in a storage type. What does not fit gets a note and w->least. */
int tn_bench_size(tn_bench *b, tn_bench_work *w, const char *size, tn_dtype dt, tn_error *err);
#endif
