/* From a node of the graph to a call of an operation: the table. */
#include "exec.h"

int tn_node_run(tn_session *s, tn_exec *e, const tn_gnode *n, tn_error *err)
{
#define TN_OPERATION_CALL(ID, name, ...) [TN_OP_##ID] = tn_exec_##name,
    static int (*const table[TN_OP_COUNT])(const tn_call *) = {TN_OPERATIONS(TN_OPERATION_CALL)};
    tn_call k = {s, e, n, &s->ctx, err};
    return table[n->op](&k);
}
