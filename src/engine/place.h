/** On which device a process computes. */
#ifndef TN_PLACE_H
#define TN_PLACE_H
#include <tracknet/device.h>

/** o->device as tn_device_select takes it. Of several ranks on a host, where it is NULL, "", "gpu" or "all", each takes the next
 * GPU in turn; on a host without one, what a process alone takes. */
int tn_place_select(int *index, const tn_run_options *o, tn_error *err);
#endif
