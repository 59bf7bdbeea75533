/** How a training run is divided among devices, before it begins. */
#ifndef TRACKNET_SCHEDULE_H
#define TRACKNET_SCHEDULE_H
#include <stdbool.h>
#include <tracknet/config.h>
#include <tracknet/run.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Begin with TN_SCHEDULE_OPTIONS_INIT. Texts are borrowed for the call. */
typedef struct tn_schedule_options {
    unsigned version;
    const char *machine; /**< a YAML file that describes hosts and devices (docs/scaling.md), planned for instead of what is here;
                              NULL: none */
    const char
        *stages;  /**< a division by hand, "0:embeddings-layer.5,1:layer.6-head", judged instead of searched for; NULL: none */
    bool measure; /**< the plan is also run, on random frames: its step is timed, its passes are drawn below the plan's, and the
                     memory that was taken is set beside what was planned */
} tn_schedule_options;
#define TN_SCHEDULE_OPTIONS_VERSION 1
#define TN_SCHEDULE_OPTIONS_INIT    TN_INIT(TN_SCHEDULE_OPTIONS_VERSION)

/** The plan in three forms, made by the library; free with tn_schedule_free. */
typedef struct tn_schedule_report {
    double step_seconds, images_per_second; /**< predicted */
    double measured_seconds;                /**< of a step; NAN: it was not measured */
    char *table;                            /**< for people: a line for each device, and why others are left out */
    char *json;                             /**< everything; sizes in bytes, times in seconds */
    char *svg;                              /**< the timeline of a step */
} tn_schedule_report;

/**
 * Plans a training run of this configuration on the devices that o->device lists (tn_device_select_list; "all"). Devices are timed
 * once with two of the model's blocks, which takes seconds each and is kept in the cache; a described machine is planned without
 * timing. Where one device is best, that is the plan. TN_ERR_MEMORY: no division fits; the sentence says what is needed at least.
 */
TN_API int tn_schedule(const tn_config *c, const tn_run_options *o, const tn_schedule_options *s, tn_schedule_report **out,
                       tn_error *err);
/** NULL is fine. */
TN_API void tn_schedule_free(tn_schedule_report *r);

#ifdef __cplusplus
}
#endif
#endif
