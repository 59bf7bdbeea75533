/** What crosses between stages that run one after the other, each waiting for the one before: through host memory. */
#ifndef TN_RELAY_H
#define TN_RELAY_H
#include "session.h"

typedef struct tn_relay_item {
    int tag;
    void *host;
} tn_relay_item;

/** Zeros begin one. */
typedef struct tn_relay {
    tn_relay_item *item;
    int n;
} tn_relay;

/** Enqueues the copy of what x gets from earlier stages to where it reads it. */
int tn_relay_bring(tn_relay *r, const tn_exec *x, tn_error *err);
/** Keeps what x leaves for later stages. Waits where it leaves anything. */
int tn_relay_take(tn_relay *r, const tn_exec *x, tn_error *err);
/** After everything that was enqueued is done. */
void tn_relay_free(tn_relay *r);
#endif
