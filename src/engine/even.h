/** Keeping the ranks' models one model. */
#ifndef TN_EVEN_H
#define TN_EVEN_H
#include "engine.h"

/**
 * Running statistics become their mean over the ranks, each of which has seen batches of its own. Trained weights and the
 * optimiser's moments are looked at: ranks that compute with the same driver have the same bits; where they have not, everyone
 * takes rank 0's. Nothing may be under way. Alone: nothing.
 */
int tn_engine_even(tn_engine *e, tn_error *err);
/**
 * Whether ranks share their device, which is told apart by what its driver says of it. They then share its memory, too: without a
 * limit of the user's, e->dev gets one. Rank 0's log says who computes where.
 */
int tn_engine_settle(tn_engine *e, tn_error *err);
#endif
