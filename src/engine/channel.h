/** What crosses from one stage to another in one direction: a ring of pinned host buffers, a bundle of tensors each. */
#ifndef TN_CHANNEL_H
#define TN_CHANNEL_H
#include "session.h"
#include <pthread.h>

enum { TN_RING = 2 };

/** A lock for all channels of a crew, and whether one of its lanes has failed, so that the others must not wait for it. */
typedef struct tn_meeting {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool failed;
} tn_meeting;

typedef struct tn_channel {
    int replica, from, to; /* from, to: its stages */
    bool backward;
    tn_meeting *at;
    tn_staging ring[TN_RING]; /* pinned for the sender */
    tn_event *read[TN_RING];  /* the sender's: the bundle is there */
    tn_event *taken[TN_RING]; /* the receiver's: it was copied on */
    long long sent, received; /* bundles */
} tn_channel;

/** Bytes of the bundle that a stage's graph sends to (leaves) or gets from stage `other`. */
size_t tn_bundle_bytes(const tn_graph *part, int other, bool leaves, bool backward);
/** Host memory of the channels that a stage sends by: device memory where the device shares the host's. */
size_t tn_channel_bytes(const tn_graph *part);
int tn_channel_new(tn_channel *c, tn_dev *from, size_t bytes, tn_error *err);
/** Nothing may be under way. */
void tn_channel_free(tn_channel *c);
/** Enqueues the reading of what execution x leaves, behind what the main queue holds, and hands it over. Waits while the ring is
 * full. *left (may be NULL) is an event for the end of the reading. */
int tn_channel_send(tn_channel *c, tn_session *s, const tn_exec *x, tn_event **left, tn_error *err);
/** Waits for a bundle and enqueues its copy to where x reads it; the main queue goes on behind that. after (may be NULL): what
 * must have ended before x's memory is written. */
int tn_channel_receive(tn_channel *c, tn_session *s, const tn_exec *x, const tn_event *after, tn_error *err);
/** Wakes all who wait. */
void tn_meeting_fail(tn_meeting *m);
#endif
