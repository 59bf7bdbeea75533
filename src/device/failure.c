/* What a failed call makes of a device. */
#include "dev_cl.h"

#include <stdio.h>
#include <string.h>

int tn_dev_usable(const tn_dev *d, tn_error *err)
{
    return d->lost ? tn_fail_cl(err, d->cause.status, d->cause.opencl, "device '%s' was lost before: %s", d->info.name,
                                d->cause.message)
                   : 0;
}

/* A crashed kernel surfaces at the next call that waits, as CL_OUT_OF_RESOURCES on NVIDIA; nothing on that context works after. */
static bool means_lost(int code, bool waiting)
{
    return code == CL_DEVICE_NOT_AVAILABLE || code == CL_INVALID_COMMAND_QUEUE || code == CL_INVALID_CONTEXT ||
           code == CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST || (waiting && code == CL_OUT_OF_RESOURCES);
}

int tn_dev_failed(tn_dev *d, const char *what, size_t bytes, int code, bool waiting, tn_error *err)
{
    const bool memory = code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_HOST_MEMORY;
    char size[48] = "";
    if (bytes) snprintf(size, sizeof size, " of %zu bytes", bytes);
    char text[sizeof d->failure];
    snprintf(text, sizeof text, "device '%s': %s%s failed with %s (%d)", d->info.name, what, size, tn_cl_error(code), code);
    if (!means_lost(code, waiting)) return tn_fail_cl(err, memory ? TN_ERR_MEMORY : TN_ERR_DEVICE, code, "%s", text);
    d->lost = true;
    memcpy(d->failure, text, sizeof text);
    tn_fail_cl(
        &d->cause, TN_ERR_DEVICE, code,
        "%s: the driver or a kernel gave up; run again, with --resume where a checkpoint was saved, and try another driver or "
        "--device cpu if it comes back",
        text);
    return tn_fail_cl(err, d->cause.status, code, "%s", d->cause.message);
}
