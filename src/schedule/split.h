/**
 * Which device runs which layers: what the planner answers and what a person says by hand. One device is one replica of one
 * stage.
 *
 * Layers are those of a training pass's graph (tn_graph.layers), by index: embeddings, layer.0 ..., norm, grid, the decoder's,
 * head. A stage is a contiguous run of them on one device; a replica is stages that follow each other from the first layer to the
 * last, and takes its share of every batch. Replicas have the same weights; their gradients are added.
 */
#ifndef TN_SPLIT_H
#define TN_SPLIT_H
#include <stdint.h>

enum { TN_MAX_STAGES = 64 };

typedef struct tn_split_stage {
    int device;      /* of tn_device_list */
    int first, last; /* layers, both included */
    uint64_t kept;   /* bit l: layer.l of the backbone keeps its activations, where the run recomputes */
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
#endif
