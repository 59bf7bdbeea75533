/** Values that a model begins with. */
#ifndef TN_INITIAL_H
#define TN_INITIAL_H
#include "model.h"

/** v[rows * cols] of a slot, from the seed and the slot's name. Large ones are made by as many threads as there are processors: the
 * same values as one makes. */
int tn_initial(float *v, const tn_slot *s, uint64_t seed, tn_error *err);
#endif
