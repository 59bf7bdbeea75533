/** A device measured by this process, stage by stage: the parts on a device that is open for them, then the work, size by size. */
#ifndef TN_MEASURE_H
#define TN_MEASURE_H
#include "figure.h"
#include <tracknet/bench.h>

typedef struct tn_bench_task {
    const tn_run_options *o; /* of everything; its device is not looked at */
    tn_bench_effort effort;
    const char *parts, *sizes; /* as in tn_bench_options, and what stands there by default */
    const char *config_dir;    /* NULL where no work is measured */
    int index;                 /* of tn_device_list */
    json_t *device;        /* the document of tn_bench_document; what is measured goes there, and is not measured again. Borrowed */
    double begin, seconds; /* as tn_budget */
    double allowance;      /* as tn_bench_level */
    int first;             /* stages before this one are done */
    int done, total;       /* of all devices' stages, for progress: those of devices before, and all */
    /* NULL, or: before and after (NULL) each figure; after each stage. An error ends it all */
    int (*begins)(void *user, const tn_bench_job *j, tn_error *err);
    int (*stage_done)(void *user, int stage, tn_error *err);
    void *user;
} tn_bench_task;

/** How much each effort measures. */
extern const tn_bench_level tn_bench_levels[];
enum { TN_BENCH_EFFORTS = 3 };
/** "links", ...: is there such a part? */
bool tn_bench_is_part(const char *name);
/** Sizes of a device that were not chosen. */
const char *tn_bench_sizes(const tn_device_info *d, tn_bench_effort effort);
/** The same of the parts. */
const char *tn_bench_parts(tn_bench_effort effort);
int tn_bench_stages(const char *parts, const char *sizes);
/** "products", "vit-s": of stage i. Lives as long as `name` [64] does. */
const char *tn_bench_stage_name(char name[64], const char *parts, const char *sizes, int i);

/** The document of a device of which nothing is measured yet; NULL: no memory. New reference. */
json_t *tn_bench_document(const tn_device_info *d);
/** Every stage from t->first on. TN_ERR_MEMORY where no size fits. */
int tn_bench_measure_device(const tn_bench_task *t, tn_error *err);
/** The same by processes of t->o->helper: a driver that ends one costs the figure that it was at, and no longer than the time that
 * there is. */
int tn_bench_measure_apart(const tn_bench_task *t, tn_error *err);
#endif
