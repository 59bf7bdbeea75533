/** How fast devices are that a machine offers through two platforms: what ops/platforms.c has measured or read, for this process.
 */
#ifndef TN_RATES_H
#define TN_RATES_H
#include "fail.h"
#include <tracknet/device.h>

/** What a rate holds for: a device's kind, name, units, platform, version and driver. */
void tn_rate_key(char *out, size_t n, const tn_device_info *d);
/** From now on tn_device_list says so of devices with this key: operations and bytes a second; 0: they could not be measured. */
int tn_rate_know(const char *key, double product, double copy, tn_error *err);
/** Fills product_rate and copy_rate of *d. */
void tn_rate_fill(tn_device_info *d);
#endif
