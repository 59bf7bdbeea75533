/**
 * What training has changed, on the host: of a run on several devices every step leaves it there, so that a device may fail and
 * the others go on from the last step that was complete, with the model divided anew.
 */
#ifndef TN_RESCUE_H
#define TN_RESCUE_H
#include "lane.h"

/** Zeros begin one. */
typedef struct tn_rescue {
    long long steps; /* that are in it; 0: nothing is */
    tn_optim_state state;
    int n_slots;
    float **value, **moment1, **moment2; /* by slot of the model; NULL: not trained, or no statistic */
} tn_rescue;

/** Copies what the first replica's lanes kept in slot s: the state after `steps` steps. */
int tn_rescue_take(tn_rescue *r, const tn_lane *lanes, int n, int s, long long steps, const tn_optim_state *state, tn_error *err);
/** Gives it to an engine of the same model, however that is divided. */
int tn_rescue_give(const tn_rescue *r, tn_engine *e, tn_error *err);
void tn_rescue_free(tn_rescue *r);
#endif
