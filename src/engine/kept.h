/** What training changes of a store, on the host: the parameters' and both moments' arenas, then the running statistics in the
 * slots' order, floats. */
#ifndef TN_KEPT_H
#define TN_KEPT_H
#include "store.h"

/** Bytes of what a store's steps leave: parameters, both moments, running statistics. */
size_t tn_kept_bytes(const tn_store *st);
/** Enqueues the reading of it on the copy queue. */
int tn_kept_read(float *host, const tn_store *st, tn_error *err);
/** Is the slot a running statistic of this store? */
bool tn_kept_statistic(const tn_store *st, int slot);

#endif
