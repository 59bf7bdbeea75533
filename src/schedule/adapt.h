/** What an adapter's start takes from the base weight: PiSSA, OLoRA and LoftQ change both, DoRA's magnitude is a norm of it. */
#ifndef TN_ADAPT_H
#define TN_ADAPT_H
#include "store.h"

/** Is the adapter's slot set together with its base weight (PiSSA, OLoRA; LoftQ where the weight is stored quantised)? */
bool tn_adapt_sets(const tn_store *s, int adapter_slot);
/** Weights of a base slot about to be stored: PiSSA, OLoRA and LoftQ take their part out of w and set the adapter. */
int tn_adapt_base(tn_store *s, int slot, float *w, uint64_t seed, tn_error *err);
/** DoRA's magnitudes from the stored base and adapters. */
int tn_adapt_magnitudes(tn_store *s, tn_error *err);
#endif
