/**
 * The gradient of a step as the sum over the ranks, which leaves while the rest of it is being computed.
 *
 * The arena's trained slots are dealt out to parts in the order in which the backward pass finishes them: the head, then the
 * layers' adapters or weights from the last one down. The step's last pass is played up to where a part is finished; the copy
 * queue reads it from there on, and it travels while the device goes on. The parts follow from the model and the groups alone, so
 * that they are every rank's.
 */
#ifndef TN_GRADSUM_H
#define TN_GRADSUM_H
#include "exchange.h"
#include "stepper.h"

typedef struct tn_gradsum tn_gradsum;

/** For e's ranks. *stop, borrowed, is this rank's wish to stop, and becomes everyone's with each step. */
int tn_gradsum_new(tn_gradsum **out, tn_engine *e, bool *stop, tn_error *err);
/** Nothing of a step may be under way. NULL is allowed. */
void tn_gradsum_free(tn_gradsum *g);
/** For tn_stepper_join. */
tn_step_others tn_gradsum_others(tn_gradsum *g);
#endif
