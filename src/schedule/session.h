/**
 * A model on a device, ready to run passes. Layers are placed on devices as contiguous runs (tn_placement); with one
 * device there is one run, and it is the plain case of the same loop.
 */
#ifndef TN_SESSION_H
#define TN_SESSION_H
#include "plan.h"
#include "store.h"

/** Layers [first, last] of the graph on device `device`. */
typedef struct tn_run {
    int device, first, last;
} tn_run;
typedef struct tn_placement {
    tn_run runs[16];
    int n;
} tn_placement;
/** Splits the layers by speed (flops a second of each device); with one device, one run. */
int tn_place_layers(tn_placement *p, const tn_graph *g, const double *speed, int n_devices, tn_error *err);

/** A pass with its graph, plan and bound buffers. */
typedef struct tn_exec {
    tn_pass pass;
    tn_graph g;
    tn_plan plan;
    tn_placement where;
    size_t workspace;
    tn_buffer **mem;  /* one a tensor: sub-buffers of the arena, or constants */
    int bound_to;     /* the arena's generation */
    tn_tape *tape;    /* the pass as recorded; NULL until it first runs after its buffers were bound */
    int recorded_for; /* the store's generation: a slot that is quantised anew changes a kernel's argument */
} tn_exec;

typedef struct tn_session {
    tn_dev *dev;
    const tn_model *m;
    tn_store *store;
    tn_ctx ctx;
    tn_buffer *chunk[TN_MAX_CHUNKS];
    size_t chunk_bytes[TN_MAX_CHUNKS];
    int generation;
    tn_exec **execs;
    int n_execs;
    tn_loss_spec loss;
} tn_session;

/** Takes the store over. */
int tn_session_new(tn_session **out, tn_dev *d, const tn_model *m, tn_store *store, tn_error *err);
void tn_session_free(tn_session *s);
/** Graph, plan and workspace size of a pass; nothing is allocated on the device. Free with tn_exec_free. */
int tn_exec_new(tn_exec **out, tn_dev *d, const tn_model *m, tn_store *store, const tn_pass *pass, tn_error *err);
void tn_exec_free(tn_session *s, tn_exec *e);
/** Finds or makes the pass's execution and gives it memory. TN_ERR_MEMORY when the device refuses. Borrowed. */
int tn_session_get(tn_exec **out, tn_session *s, const tn_pass *pass, tn_error *err);
/** Uploads a graph input (float32) and runs the nodes [forward and backward as the pass says]. */
int tn_session_upload(tn_session *s, tn_exec *e, int tensor, const float *values, tn_error *err);
/** Records the pass when it runs for the first time, and plays it. Waits for nothing. */
int tn_session_run(tn_session *s, tn_exec *e, tn_error *err);
/** Plays it once with every entry of e->tape timed: *seconds (tn_tape_count of them) is the caller's to free(). Waits. */
int tn_session_profile(tn_session *s, tn_exec *e, double **seconds, tn_error *err);
int tn_session_download(tn_session *s, tn_exec *e, int tensor, float *values, tn_error *err);
/** Sum of the loss node's partials of the last run. */
int tn_session_loss(tn_session *s, tn_exec *e, double *loss, tn_error *err);

/** exec_nodes.c: runs one node (or, with ctx->dry, counts its workspace). */
int tn_node_run(tn_session *s, tn_exec *e, const tn_gnode *n, tn_error *err);
#endif
