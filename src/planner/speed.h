/**
 * How fast a device is at a run's own layers: training steps of the same model with two blocks, through the same kernels, timed at
 * two numbers of images so that what a launch costs and what an image costs are told apart; and copies through pinned memory for
 * its link. Kept in the cache folder for the device, its driver, the kernels' sources, the shape of the model and the storage type.
 */
#ifndef TN_SPEED_H
#define TN_SPEED_H
#include "layers.h"

typedef struct tn_speed {
    tn_layer_time *time;       /* [layers], owned */
    tn_line update;            /* seconds by bytes of parameters */
    double bandwidth, latency; /* bytes a second and seconds of a copy to or from the device, the mean of both */
    double memory;             /* bytes that a run may take */
} tn_speed;

/** Of device `index` for the run of e, whose store may be dry. Measures where nothing is kept, which takes seconds. */
int tn_speed_of(tn_speed *out, const tn_engine *e, const tn_layers *l, int index, const tn_run_options *o, tn_error *err);
void tn_speed_free(tn_speed *s);
/** [fixed, image]. */
json_t *tn_line_json(tn_line l);
#endif
