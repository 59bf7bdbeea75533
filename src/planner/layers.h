/** What the layers of a run's model cost, from its graph, its plan of memory and its store: nothing is run. */
#ifndef TN_LAYERS_H
#define TN_LAYERS_H
#include "engine.h"
#include "planner.h"

/** Kinds of work, which devices do at rates of their own. */
typedef enum tn_work { TN_WORK_PRODUCT, TN_WORK_ATTENTION, TN_WORK_OTHER, TN_WORKS } tn_work;
typedef enum tn_direction { TN_FORWARD, TN_BACKWARD, TN_AGAIN, TN_DIRECTIONS } tn_direction;

/** Of a layer in one direction, by images: arithmetic, bytes moved, and launches of kernels (the same for any n). */
typedef struct tn_layer_work {
    tn_line flops[TN_WORKS], bytes[TN_WORKS];
    int launches;
} tn_layer_work;

typedef struct tn_layers {
    int n;
    tn_planner_layer *layer;              /* [n] */
    tn_layer_work (*work)[TN_DIRECTIONS]; /* [n] */
    char (*name)[32];                     /* [n] */
    const char **names;                   /* [n], into name */
} tn_layers;

/** Of a training step of e, which may be dry, in micro-batches. Free with tn_layers_free. */
int tn_layers_new(tn_layers *out, const tn_engine *e, tn_error *err);
void tn_layers_free(tn_layers *l);
/** N of "layer.N", else -1. */
int tn_layer_block(const char *name);
#endif
