/** What the backward rules of the operations work with (backward.c); the rules' names are those of operations.h. */
#ifndef TN_AUTODIFF_H
#define TN_AUTODIFF_H
#include "graph.h"

typedef struct tn_autodiff {
    tn_graph *g;
    tn_trainable_fn trained;
    const void *user;
    const tn_operation *rows; /* tn_operations */
    bool *done;               /* of each forward node: its rule has run */
} tn_autodiff;

/** Runs the rule of forward node i, in its layer. */
int tn_autodiff_rule(tn_autodiff *p, int i, tn_error *err);

#define TN_DECLARE_BACKWARD(name)                                                     int tn_back_##name(tn_autodiff *p, int i, tn_error *err)
#define TN_OPERATION_BACKWARD(ID, name, attributes, n_in, n_out, cost, backward, ...) TN_DECLARE_BACKWARD(backward);
TN_OPERATIONS(TN_OPERATION_BACKWARD)
#endif
