/**
 * A recorded program: launches with a kernel object each and their arguments already set, fills, copies, and calls of a
 * library that launches by itself. Recorded once, played every step: nothing is looked up, built or set any more.
 *
 * What a tape refers to must outlive it: buffers in its arguments, and the device. A tape belongs to one host thread.
 */
#ifndef TN_TAPE_H
#define TN_TAPE_H
#include "dev.h"

/** Where an entry comes from and what it costs: for profiles, and for the sentence when it fails. Strings are static or live
 * as long as the tape's owner. */
typedef struct tn_note {
    const char *layer, *op, *variant; /* variant NULL: the operation has one way to run */
    int node;                         /* of the graph; several entries may share one; -1: of none, it costs nothing */
    double flops, bytes;              /* of the node; on its first entry only */
} tn_note;

/** A call: runs args on the device's main queue. */
typedef int (*tn_tape_fn)(tn_dev *d, const void *args, tn_error *err);

int tn_tape_new(tn_tape **out, tn_dev *d, tn_error *err);
/** NULL is allowed. */
void tn_tape_free(tn_tape *t);
/** What is recorded from now on belongs to this. */
void tn_tape_note(tn_tape *t, const tn_note *n);

int tn_tape_launch(tn_tape *t, tn_kernel *k, const tn_arg *args, int n_args, const tn_range *r, tn_error *err);
int tn_tape_fill(tn_tape *t, tn_buffer *b, size_t offset, size_t bytes, uint32_t pattern, tn_error *err);
int tn_tape_copy(tn_tape *t, tn_buffer *src, size_t src_off, tn_buffer *dst, size_t dst_off, size_t bytes, tn_error *err);
/** Copies `bytes` of args. */
int tn_tape_call(tn_tape *t, const char *name, tn_tape_fn fn, const void *args, size_t bytes, tn_error *err);
/** A scratch region [offset, offset + bytes) of `parent`, made once and freed with the tape. Borrowed. */
int tn_tape_region(tn_buffer **out, tn_tape *t, tn_buffer *parent, size_t offset, size_t bytes, tn_error *err);

/** Enqueues everything in order; waits for nothing. Errors name the entry's layer and operation. */
int tn_tape_play(tn_tape *t, tn_error *err);
/** The same of entries first to end - 1. */
int tn_tape_play_part(tn_tape *t, int first, int end, tn_error *err);
/** The same with every entry timed on a profiling queue of its own: seconds[tn_tape_count]. Waits. */
int tn_tape_profile(tn_tape *t, double *seconds, tn_error *err);
/** Plays the first entry, a launch, alone and gives the seconds from when it was enqueued to when the device began, by its clock.
 */
int tn_tape_queued(tn_tape *t, double *seconds, tn_error *err);
/** Whether tn_tape_profile times every entry by events; a library's call, and a fill where that is a kernel, by the host's clock.
 */
bool tn_tape_has_events(const tn_tape *t);
int tn_tape_count(const tn_tape *t);
/** Name of the kernel ("a fill", "a copy" else) and where it comes from. Borrowed. */
const char *tn_tape_entry(const tn_tape *t, int i, const tn_note **note);
#endif
