/** A device as JSON, the same wherever it is written. */
#ifndef TN_DESCRIBE_H
#define TN_DESCRIBE_H
#include <jansson.h>
#include <tracknet/device.h>

/** "CPU", "GPU" or "other". */
const char *tn_device_type_name(tn_device_type t);
/** Everything that tn_device_info has. New reference; NULL when memory ran out. */
json_t *tn_describe_device(const tn_device_info *d);
#endif
