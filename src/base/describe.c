#include "describe.h"
#include "jsonio.h"

const char *tn_device_type_name(tn_device_type t)
{
    return t == TN_DEVICE_GPU ? "GPU" : t == TN_DEVICE_CPU ? "CPU" : "other";
}

json_t *tn_describe_device(const tn_device_info *d)
{
    return json_pack(
        "{s:i, s:o, s:s, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:i, s:i, s:i, s:b, s:b, s:b, s:b, s:o, s:o, s:s, s:o, s:o, s:o}",
        "index", d->index, "name", tn_json_text(d->name), "type", tn_device_type_name(d->type), "vendor", tn_json_text(d->vendor),
        "platform", tn_json_text(d->platform), "version", tn_json_text(d->version), "driver", tn_json_text(d->driver),
        "global_memory", (json_int_t)d->global_memory, "largest_allocation", (json_int_t)d->largest_allocation, "local_memory",
        (json_int_t)d->local_memory, "compute_units", (int)d->compute_units, "clock_mhz", (int)d->clock_mhz, "max_work_group",
        (int)d->max_work_group, "unified_memory", d->unified_memory, "half", d->half_arithmetic, "bf16_units", d->bf16_units,
        "matrix_units", d->matrix_units, "capabilities", tn_json_text(d->capabilities), "quirks", tn_json_text(d->quirks),
        "hardware", d->hardware, "duplicate_of", d->duplicate_of < 0 ? json_null() : json_integer(d->duplicate_of), "product_rate",
        d->product_rate > 0 ? tn_json_real(d->product_rate) : json_null(), "copy_rate",
        d->copy_rate > 0 ? tn_json_real(d->copy_rate) : json_null());
}
