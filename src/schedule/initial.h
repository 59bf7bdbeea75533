/** Values that a model begins with. */
#ifndef TN_INITIAL_H
#define TN_INITIAL_H
#include "model.h"

/** v[rows * cols] of a slot, from the seed and the slot's name. Large ones are made by as many threads as there are processors: the
 * same values as one makes. */
int tn_initial(float *v, const tn_slot *s, uint64_t seed, tn_error *err);
/** Of a slot of several frames (tn_slot.frames): v begins with the values of one frame's channels, and all frames get them, divided
 * by how many they are. So frames that are all the same give what one of them gave (Carreira and Zisserman 2017). */
void tn_inflate(float *v, const tn_slot *s);
#endif
