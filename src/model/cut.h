/**
 * A stage's part of a graph: the nodes of its layers, forward and backward, and as edges the tensors that other stages make for
 * it or read of it. The parts of all stages, run in the order of the whole graph, do what the whole does.
 */
#ifndef TN_CUT_H
#define TN_CUT_H
#include "model.h"

typedef struct tn_cut {
    const int *stage_of; /* one a layer of the graph; never falls */
    int n_layers, stage;
} tn_cut;

/** Cuts a merged graph; `whole` stays. Layers keep their numbers. An error where a stage would need something before it can be
 * there. Free with tn_graph_free. */
int tn_graph_cut(tn_graph *part, const tn_graph *whole, const tn_cut *cut, tn_error *err);

/** owner[m->n_slots]: the layer whose nodes use the slot in a training pass; 0 for one that none uses. An error where layers of
 * two stages use one. */
int tn_slot_layers(int *owner, const tn_model *m, const int *stage_of, int n_layers, tn_error *err);
/** The layers of a training pass, as graphs name them: n names of at most 31 bytes, (*names)[i]; the caller frees *names. */
int tn_model_layers(char (**names)[32], int *n, const tn_model *m, tn_error *err);
#endif
