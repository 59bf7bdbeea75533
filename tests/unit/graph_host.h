/** The forward pass of a graph on the host in double, over src/ref: the oracle of test_graph.c. */
#ifndef GRAPH_HOST_H
#define GRAPH_HOST_H
#include "model.h"

typedef struct host_pass {
    const tn_graph *g;
    const tn_model *m;
    double **t;    /* value of each tensor; inputs and constants are set by the caller */
    double **slot; /* value of each slot */
    uint32_t step_seed;
    bool hold_norms; /* DoRA's 1/n stay as the run before left them: they get no gradient */
    double inv_mask; /* of the loss */
} host_pass;

/** Room for every tensor, constants filled in, and random values of the inputs and slots from the seed. */
void host_new(host_pass *h, const tn_graph *g, const tn_model *m, uint64_t seed);
void host_free(host_pass *h, const tn_model *m);
/** Runs the forward nodes and returns the loss. */
double host_run(host_pass *h);
size_t host_count(const tn_graph *g, int tensor);
size_t host_slot_count(const tn_model *m, int slot);
#endif
