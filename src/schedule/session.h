/**
 * A model on a device, ready to run passes.
 */
#ifndef TN_SESSION_H
#define TN_SESSION_H
#include "grads.h"
#include "cut.h"
#include "plan.h"
#include "store.h"

/** A pass with its graph (of a stage: its part), plan and bound buffers. */
typedef struct tn_exec {
    tn_pass pass;
    tn_graph g;
    tn_plan plan;
    size_t workspace;
    tn_buffer **mem; /* one a tensor: sub-buffers of the arena, or constants; the same one for tensors of a storage */
    int bound_to;    /* the arena's generation */
    struct tn_stream_pass *streamed; /* what it reads of weights that pass through; NULL: nothing */
    tn_tape *tape;                   /* the pass as recorded; NULL until it first runs after its buffers were bound */
    int n_forward;                   /* the tape's entries before the backward pass */
    int recorded_for;                /* the store's generation: a slot that is quantised anew changes a kernel's argument */
    tn_loss_spec recorded_loss;
} tn_exec;

/** Memory for the activations of one pass at a time. */
typedef struct tn_arena {
    tn_buffer *chunk[TN_MAX_CHUNKS];
    size_t chunk_bytes[TN_MAX_CHUNKS];
} tn_arena;

typedef struct tn_session {
    tn_dev *dev;
    const tn_model *m;
    tn_store *store;
    tn_cut cut; /* of a stage; n_layers 0: the whole model */
    tn_ctx ctx;
    tn_arena *arena[TN_MAX_FLIGHTS]; /* by tn_pass.flight; NULL: not needed so far */
    int generation;
    tn_exec **execs;
    int n_execs;
    tn_loss_spec loss;
    tn_grads grads; /* that wait while a pass is recorded (ctx.grads) */
} tn_session;

/** Takes the store over. */
int tn_session_new(tn_session **out, tn_dev *d, const tn_model *m, tn_store *store, tn_error *err);
void tn_session_free(tn_session *s);
/** What a pass's activations take, by its plan alone: nothing is measured or allocated. cut NULL: all of it, else a stage's part.
 */
int tn_pass_bytes(size_t *bytes, const tn_dev *d, const tn_model *m, const tn_pass *pass, const tn_cut *cut, tn_error *err);
/** Graph, plan and workspace size of a pass; nothing is allocated on the device. Free with tn_exec_free. */
int tn_exec_new(tn_exec **out, tn_dev *d, const tn_model *m, tn_store *store, const tn_pass *pass, const tn_cut *cut,
                tn_error *err);
/** The same for a graph made elsewhere, merged, which is taken over (freed when this fails). */
int tn_exec_of_graph(tn_exec **out, tn_dev *d, const tn_model *m, tn_store *store, const tn_pass *pass, tn_graph *g, tn_error *err);
void tn_exec_free(tn_session *s, tn_exec *e);
/** Takes an execution over, whatever comes of it, and gives it memory. */
int tn_session_adopt(tn_session *s, tn_exec *e, tn_error *err);
/** Finds or makes the pass's execution and gives it memory. TN_ERR_MEMORY when the device refuses. Borrowed. */
int tn_session_get(tn_exec **out, tn_session *s, const tn_pass *pass, tn_error *err);
/** The pass's execution when it has memory and is recorded, so that running it only enqueues; else NULL. Borrowed. */
tn_exec *tn_session_ready(tn_session *s, const tn_pass *pass);
/** Uploads a graph input: values in its own dtype. Waits. */
int tn_session_upload(tn_session *s, tn_exec *e, int tensor, const void *values, tn_error *err);
/** The same without waiting: the values stay as they are until something later on the main queue is done. */
int tn_session_send(tn_session *s, tn_exec *e, int tensor, const void *values, tn_error *err);
/** Records the pass unless it is recorded as it now has to run (s->loss, the weights' generation). */
int tn_session_record(tn_session *s, tn_exec *e, tn_error *err);
/** Records the pass when it runs for the first time, and plays it. Waits for nothing. */
int tn_session_run(tn_session *s, tn_exec *e, tn_error *err);
/** The same of its forward or its backward half. */
int tn_session_run_half(tn_session *s, tn_exec *e, bool backward, tn_error *err);
/** Waits. */
int tn_session_download(tn_session *s, tn_exec *e, int tensor, float *values, tn_error *err);
/** Sum of a loss node's partials [TN_PARTIALS]. */
double tn_loss_sum(const float *partials);
/** The same of those of the last run. Waits. */
int tn_session_loss(tn_session *s, tn_exec *e, double *loss, tn_error *err);

/** exec.c: runs one node (or, with ctx->dry, counts its workspace). */
int tn_node_run(tn_session *s, tn_exec *e, const tn_gnode *n, tn_error *err);
#endif
