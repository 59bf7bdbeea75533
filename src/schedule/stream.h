/**
 * Weights that pass through the device: the frozen matrices of the backbone's layers stay in the host's memory, and a window of two
 * or more layers is on the device. A layer's matrices are a block, brought by one copy. Block l lies in slot l % window, in every
 * pass: forward, a layer takes the place of the one that was read longest ago, backward likewise, and where a pass turns, or the
 * next one begins, the last blocks are there already.
 *
 * Which block a slot holds is known as commands are enqueued. A recorded pass has a turn before the first node of each block: it
 * enqueues the copy of what the slot just read will be read for next, on the copy queue and behind that reading, and lets the main
 * queue wait for the block that is read now. The host waits for nothing.
 */
#ifndef TN_STREAM_H
#define TN_STREAM_H
#include "store.h"

typedef struct tn_block {
    size_t bytes;      /* 0: the layer has no frozen matrix */
    char *host;        /* NULL: nothing streams */
    tn_staging pinned; /* what `host` is of; buffer NULL: plain memory */
} tn_block;

typedef struct tn_window_slot {
    tn_buffer *mem;
    int holds;       /* a block, or -1 */
    tn_event *there; /* of its copy, while nothing waits for that yet */
} tn_window_slot;

/** The blocks that an execution reads, one after the other. */
typedef struct tn_stream_pass {
    struct tn_stream *s;
    int n, *block, *first;              /* [n]: block, and the node that it is read from on */
    struct tn_stream_pass *next, *list; /* next: the pass that last followed; NULL: none yet. list: all of a stream */
} tn_stream_pass;

typedef struct tn_stream {
    tn_dev *dev;
    int n_blocks, window; /* window 0: nothing streams, every matrix has a buffer of its own */
    tn_block *block;
    size_t largest, total; /* bytes of a block, of all */
    size_t stored;         /* of all matrices without the gaps between them */
    tn_window_slot *slot;
    tn_stream_pass *passes, *last; /* last: that began */
    bool pinned;
    bool poison;      /* for tests: a slot is NaN from the last reading to the copy */
    long long copies; /* enqueued so far */
} tn_stream;

/** Lays out the blocks of a store whose places and dense offsets are known; no memory is taken. */
int tn_stream_new(tn_stream **out, tn_store *s, tn_error *err);
/** Takes the window's memory, and the host's: pinned where the device has memory of its own and the driver grants it. */
int tn_stream_open(tn_stream *s, int window, tn_error *err);
/** Waits. After the tensors in the window were freed. NULL is allowed. */
void tn_stream_free(tn_stream *s);
/** Is there anything to gain? */
bool tn_stream_can(const tn_stream *s);
/** Does the slot's matrix pass through the window? */
bool tn_stream_has(const tn_store *s, int slot);
/** The part of the window that it passes through; NULL: it does not. Borrowed. */
tn_buffer *tn_stream_window(const tn_store *s, int slot);
/** Before a slot's tensors are read or written by the host: its block is in the window, and nothing else runs. Waits. */
int tn_stream_hold(tn_store *s, int slot, tn_error *err);
/** After they were written: the host's block holds them. Waits. */
int tn_stream_take(tn_store *s, int slot, tn_error *err);
/** Fills the window; *rate: bytes a second that it took. Waits. */
int tn_stream_measure(tn_stream *s, double *rate, tn_error *err);

/* ---- stream_pass.c ---- */

/** *out is NULL where the graph reads nothing that streams. */
int tn_stream_pass_new(tn_stream_pass **out, const tn_store *s, const tn_graph *g, tn_error *err);
/** NULL is allowed; the tape that it was recorded on goes first. */
void tn_stream_pass_free(tn_stream_pass *p);
/** Records the turn before node `node`, where there is one; node g->n_n: what ends the pass. p may be NULL. */
int tn_stream_record(tn_stream_pass *p, tn_tape *t, const tn_graph *g, int node, tn_error *err);

/** Enqueues the copy of a block into its slot, behind everything that the main queue holds. */
int tn_stream_bring(tn_stream *s, int block, tn_error *err);
/** Everything enqueued on the main queue from now on finds the block in its slot. */
int tn_stream_arrive(tn_stream *s, int block, tn_error *err);
#endif
