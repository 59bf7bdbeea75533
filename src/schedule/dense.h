/** Where dense matrices of linear layers stand: those of one operation behind each other in one buffer, so that one product takes
 * them all. Two kinds: a slot's own matrix (t), and the copy that has the adapters in it (merged). */
#ifndef TN_DENSE_H
#define TN_DENSE_H
#include "store.h"

/** Offsets of both kinds, which slots have copies, and what those take; the slots' places are known. */
void tn_dense_lay_out(tn_store *s);
/** Buffers of one kind. */
int tn_dense_new(tn_store *s, bool merged, tn_error *err);
void tn_dense_free(tn_store *s, bool merged);
#endif
