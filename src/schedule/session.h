/**
 * A model on a device, ready to run passes.
 */
#ifndef TN_SESSION_H
#define TN_SESSION_H
#include "plan.h"
#include "store.h"

/** A pass with its graph, plan and bound buffers. */
typedef struct tn_exec {
    tn_pass pass;
    tn_graph g;
    tn_plan plan;
    size_t workspace;
    cl_mem *mem;  /* one a tensor: sub-buffers of the arena, or constants; the same one for tensors of a storage */
    int bound_to; /* the arena's generation */
} tn_exec;

typedef struct tn_session {
    tn_dev *dev;
    const tn_model *m;
    tn_store *store;
    tn_ctx ctx;
    cl_mem chunk[TN_MAX_CHUNKS];
    size_t chunk_bytes[TN_MAX_CHUNKS];
    int generation;
    tn_exec **execs;
    int n_execs;
    tn_loss_spec loss;
    double op_seconds[TN_OP_COUNT]; /* filled when profile is set */
    long long op_calls[TN_OP_COUNT];
    bool profile;
} tn_session;

/** Takes the store over. */
int tn_session_new(tn_session **out, tn_dev *d, const tn_model *m, tn_store *store, tn_error *err);
void tn_session_free(tn_session *s);
/** Graph, plan and workspace size of a pass; nothing is allocated on the device. Free with tn_exec_free. */
int tn_exec_new(tn_exec **out, tn_dev *d, const tn_model *m, tn_store *store, const tn_pass *pass, tn_error *err);
/** The same for a graph made elsewhere, merged, which is taken over (freed when this fails). */
int tn_exec_of_graph(tn_exec **out, tn_dev *d, const tn_model *m, tn_store *store, const tn_pass *pass, tn_graph *g, tn_error *err);
void tn_exec_free(tn_session *s, tn_exec *e);
/** Takes an execution over, whatever comes of it, and gives it memory. */
int tn_session_adopt(tn_session *s, tn_exec *e, tn_error *err);
/** Finds or makes the pass's execution and gives it memory. TN_ERR_MEMORY when the device refuses. Borrowed. */
int tn_session_get(tn_exec **out, tn_session *s, const tn_pass *pass, tn_error *err);
/** Uploads a graph input (float32) and runs the nodes [forward and backward as the pass says]. */
int tn_session_upload(tn_session *s, tn_exec *e, int tensor, const float *values, tn_error *err);
int tn_session_run(tn_session *s, tn_exec *e, tn_error *err);
int tn_session_download(tn_session *s, tn_exec *e, int tensor, float *values, tn_error *err);
/** Sum of the loss node's partials of the last run. */
int tn_session_loss(tn_session *s, tn_exec *e, double *loss, tn_error *err);

/** exec.c: runs one node (or, with ctx->dry, counts its workspace). */
int tn_node_run(tn_session *s, tn_exec *e, const tn_gnode *n, tn_error *err);
#endif
