/** What is known of particular drivers: the only place that looks at vendor names. */
#ifndef TN_QUIRKS_H
#define TN_QUIRKS_H
#include "dev_cl.h"
#include "text.h"

/** Fills bf16_units, matrix_units and quirks of *o. */
void tn_quirk_describe(tn_device_info *o, cl_device_id d, const char *extensions);
/** TN_QUIRK_* flags of a described device. */
unsigned tn_quirk_flags(const tn_device_info *o);
/** Looks a device up by its index in tn_device_list. */
int tn_find_device(cl_platform_id *p, cl_device_id *d, int index, tn_error *err);
#endif
