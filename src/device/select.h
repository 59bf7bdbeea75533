/** Which of the devices a person means: the choice among a list that is already there. */
#ifndef TN_SELECT_H
#define TN_SELECT_H
#include "fail.h"
#include "text.h"
#include <tracknet/device.h>

/** The one device of v[n] that `sel` names, as in tn_device_select. */
int tn_device_match(int *hit, tn_device_info *const *v, int n, const char *sel, tn_error *err);
/** Are the two entries one piece of hardware, seen through two platforms? By PCI address or UUID where both drivers tell them;
 * else GPUs by name and compute units, and processors always, since a machine has one set of cores. */
bool tn_device_is_same(const tn_device_info *a, const tn_device_info *b);
/** The device of v[n] that is taken instead of device i where nobody says which: the same hardware through a better platform.
 * Better is what was measured to be faster; where a rate is missing, or they are alike, its vendor's own for a GPU, PoCL for a
 * processor, else the one listed first. -1: none. */
int tn_device_twin(tn_device_info *const *v, int n, int i);
/** Puts the devices of the list into hit[n], *count of them; what "all" leaves out into *left, a sentence each. */
int tn_device_match_list(int *hit, int *count, tn_text *left, tn_device_info *const *v, int n, const char *list, tn_error *err);
#endif
