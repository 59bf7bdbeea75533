/** What an adapter's start took out of its base, made again. */
#ifndef TN_START_H
#define TN_START_H
#include "adapter.h"
#include "loftq.h"

/** Did the adapter begin by taking s B0 A0 out of the base (PiSSA, OLoRA)? */
bool tn_start_is_low_rank(const tn_adapter *a);
/** B0 [out, r], A0 [r, in] and their factor from the base's weight w [out, in]: the adapter trained against w - scale B0 A0. */
int tn_start_factors(float *B0, float *A0, float *scale, const tn_adapter *a, const tn_adapter_module *m, const float *w,
                     tn_error *err);
/** "It was made for another base", with the tensor's name and sizes there. */
int tn_wrong_base(const tn_adapter *a, const char *name, int rows, int cols, tn_error *err);
#endif
