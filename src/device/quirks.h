/** What is known of particular drivers: the only place that looks at vendor names. */
#ifndef TN_QUIRKS_H
#define TN_QUIRKS_H
#include "dev_cl.h"
#include "text.h"

/** Fills quirks, capabilities, bf16_units and matrix_units of *o, whose name, vendor, platform and type are known. */
void tn_quirk_describe(tn_device_info *o, cl_device_id d);
/** TN_CAP_* of a device whose name, platform and type are known. */
unsigned tn_device_caps(const tn_device_info *o, cl_device_id d);
/** Fills hardware of *o: its place on the PCI bus and its UUID, by whichever extension the driver has for them. */
void tn_quirk_hardware(tn_device_info *o, cl_device_id d);
/** TN_QUIRK_* flags of a described device. */
unsigned tn_quirk_flags(const tn_device_info *o);
/** Looks a device up by its index in tn_device_list. */
int tn_find_device(cl_platform_id *p, cl_device_id *d, int index, tn_error *err);
#endif
