/** What the executors of the operations share: a call's tensors, slots and gradients. One tn_exec_<name> a row of operations.h. */
#ifndef TN_EXEC_H
#define TN_EXEC_H
#include "session.h"

/** One node being run. */
typedef struct tn_call {
    tn_session *s;
    tn_exec *e;
    const tn_gnode *n;
    tn_ctx *c;
    tn_error *err;
} tn_call;

#define TN_OPERATION_EXECUTOR(ID, name, ...) int tn_exec_##name(const tn_call *k);
TN_OPERATIONS(TN_OPERATION_EXECUTOR)

/** The node's i-th input or output; an empty tensor where it has none. */
tn_tensor tn_call_in(const tn_call *k, int i);
tn_tensor tn_call_out(const tn_call *k, int i);
/** Is the slot trained in this pass? False for -1. */
bool tn_call_trained(const tn_call *k, int slot);
/** A slot that is used as it lies (vectors, convolution kernels, LoRA matrices). */
tn_tensor tn_call_weight(const tn_call *k, int slot);
/** Where the slot's gradient accumulates; an empty tensor when it is not trained. */
tn_tensor tn_call_grad(const tn_call *k, int slot);
/** Does a linear layer's matrix lie dense? Then *w is it. */
bool tn_call_dense(const tn_call *k, int slot, tn_tensor *w);
/** A linear layer's matrix, unpacked into the workspace as `to` when it is quantised. */
int tn_call_matrix(const tn_call *k, int slot, tn_dtype to, tn_tensor *w);
#endif
