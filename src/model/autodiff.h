/** What the backward rules of the operations work with (autodiff.c); the rules' names are those of operations.h. */
#ifndef TN_AUTODIFF_H
#define TN_AUTODIFF_H
#include "graph.h"

typedef struct tn_autodiff {
    tn_graph *g;
    tn_trainable_fn trained;
    const void *user;
    bool *done; /* of each forward node: its rule has run */
} tn_autodiff;

#define TN_DECLARE_BACKWARD(name)                                                     int tn_back_##name(tn_autodiff *p, int i, tn_error *err)
#define TN_OPERATION_BACKWARD(ID, name, attributes, n_in, n_out, cost, backward, ...) TN_DECLARE_BACKWARD(backward);
TN_OPERATIONS(TN_OPERATION_BACKWARD)
#endif
