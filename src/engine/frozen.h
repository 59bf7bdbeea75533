/**
 * What a frozen backbone makes of the training frames, computed once and kept: epochs that follow run the decoder alone.
 *
 * A frame's features are the maps that the backbone hands to the decoder, one behind the other, in the storage type. They are
 * computed in the data set's order and in whole micro-batches, whatever the order of training, so that a run that goes on from a
 * checkpoint finds the same bits.
 */
#ifndef TN_FROZEN_H
#define TN_FROZEN_H
#include "engine.h"

/** Where a run's features go. */
typedef struct tn_features_plan {
    int frames;        /* of the training split */
    size_t bytes;      /* of all of them */
    bool device, host; /* there is room on the device; in host memory of another kind. The device goes first */
    char why_not[160]; /* neither: the reason */
} tn_features_plan;

typedef struct tn_features tn_features;

/** Whether the features of `frames` training frames can be kept, and where. *m is what tn_engine_fit found; it grows by what they
 * take of the device. */
void tn_features_fit(tn_features_plan *p, const tn_engine *e, int frames, tn_memory *m);
/** Of one frame. */
size_t tn_features_frame_bytes(const tn_engine *e);
/** Memory for them. TN_ERR_MEMORY: it was refused in every place of the plan. */
int tn_features_new(tn_features **out, tn_engine *e, const tn_features_plan *p, tn_error *err);
/** NULL is allowed. Nothing that reads them may be under way. */
void tn_features_free(tn_features *f);
/** Runs the backbone over all frames of the loader's data set, `micro` at once. Nothing else may use the session meanwhile. */
int tn_features_fill(tn_features *f, tn_loader *l, int micro, tn_error *err);
bool tn_features_on_device(const tn_features *f);
/** Frame i's features on the host; only where they are not on the device. */
const void *tn_features_host(const tn_features *f, int i);
/** Enqueues the copy of frame i's features to place k of a pass's maps; only where they are on the device. */
int tn_features_bring(const tn_features *f, int i, const tn_exec *x, int k, tn_error *err);
#endif
