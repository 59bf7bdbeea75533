/* From a node of the graph to a call of an operation: the table. */
#include "exec.h"
#include "grads.h"

/* Gradients of adapters that follow each other wait for the last of them: they read what none of them writes. */
static bool gradients_follow(const tn_graph *g, const tn_gnode *n)
{
    const tn_gnode *next = n + 1;
    return next < g->n + g->n_n && next->layer == n->layer && (next->op == TN_OP_LINEAR_GRAD || next->op == TN_OP_LINEAR_T_GRAD);
}

int tn_node_run(tn_session *s, tn_exec *e, const tn_gnode *n, tn_error *err)
{
#define TN_OPERATION_CALL(ID, name, ...) [TN_OP_##ID] = tn_exec_##name,
    static int (*const table[TN_OP_COUNT])(const tn_call *) = {TN_OPERATIONS(TN_OPERATION_CALL)};
    tn_call k = {s, e, n, &s->ctx, err};
    TN_TRY(table[n->op](&k));
    if (gradients_follow(&e->g, n)) return 0;
    tn_ws_reset(&s->ctx);
    return tn_grads_flush(&s->ctx, err);
}
