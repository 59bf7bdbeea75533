/**
 * Which device runs which layers: what the planner answers and what a person says by hand. One device is one replica of one
 * stage.
 *
 * Layers are those of a training pass's graph (tn_graph.layers), by index: embeddings, layer.0 ..., norm, grid, the decoder's,
 * head. A stage is a contiguous run of them on one device; a replica is stages that follow each other from the first layer to the
 * last, and takes its share of every batch. Replicas have the same weights; their gradients are added.
 *
 * As text: stages "DEVICE:FIRST-LAST" (or "DEVICE:LAYER") separated by commas, replicas by semicolons, each with "@IMAGES/MICRO"
 * behind it where it says how many images of a batch it takes and how many go through together:
 * "0:embeddings-layer.5,1:layer.6-head@6/2;2:embeddings-head@2/2". A device is an index, or what else tn_device_select takes.
 */
#ifndef TN_SPLIT_H
#define TN_SPLIT_H
#include "fail.h"
#include "text.h"
#include <stdint.h>
#include <tracknet/device.h>

enum { TN_MAX_STAGES = 64 };
#define TN_KEEPS_ALL UINT64_MAX

typedef struct tn_split_stage {
    int device;      /* of tn_device_list */
    int first, last; /* layers, both included */
    uint64_t kept;   /* bit l: layer.l of the backbone keeps its activations, where the stage recomputes; TN_KEEPS_ALL: it does
                      * not, and its other layers keep theirs too */
} tn_split_stage;

typedef struct tn_replica {
    int images; /* of a batch */
    int micro;  /* images that go through the stages together */
    int n_stages;
    tn_split_stage stage[TN_MAX_STAGES];
} tn_replica;

typedef struct tn_split {
    int n_replicas;
    tn_replica *replica; /* owned */
} tn_split;

/** What the layers are called: name[n], in their order, borrowed. */
typedef struct tn_layer_names {
    const char *const *name;
    int n;
} tn_layer_names;

/** NULL is allowed. */
void tn_split_free(tn_split *s);
/** A replica without stages at the end of the list; NULL when memory ran out. */
tn_replica *tn_split_add(tn_split *s);
/** Reads the text and checks the split that it means for `batch` images, with devices of device[n_devices] (tn_device_list). Where
 * it says no images, every replica gets alike; where it says no micro-batch, each gets a part of its images for every stage it
 * has. All activations are kept. TN_ERR_CONFIG: what tn_split_check says, a layer or a device that there is not, and what cannot be
 * read; *out is empty then. */
int tn_split_parse(tn_split *out, const char *text, const tn_layer_names *layers, tn_device_info *const *device, int n_devices,
                   int batch, tn_error *err);
/** The same with the devices of this machine. */
int tn_split_read(tn_split *out, const char *text, const tn_layer_names *layers, int batch, tn_error *err);
/** Every replica runs every layer once and in order, no device has two stages, the images are the batch's. One sentence says what
 * is wrong: a layer left out, a layer twice, stages in the wrong order, a device twice, images that do not add up. */
int tn_split_check(const tn_split *s, const tn_layer_names *layers, int batch, tn_error *err);
/** Appends the split as tn_split_parse reads it, images and micro-batches included; what is kept is not in it. */
void tn_split_text(tn_text *out, const tn_split *s, const tn_layer_names *layers);
#endif
