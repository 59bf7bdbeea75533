/* Which device it is, by the numbers of extensions that headers of OpenCL 1.2 do not have. */
#include "dev_cl.h"

#include <stdio.h>
#include <string.h>

enum { DEVICE_UUID = 0x106a, DEVICE_PCI = 0x410f, NV_BUS = 0x4008, NV_SLOT = 0x4009 };

/* cl_khr_device_uuid. */
static bool by_uuid(cl_device_id id, char *out, size_t size)
{
    unsigned char uuid[16];
    char text[2 * sizeof uuid + 1];
    if (clGetDeviceInfo(id, DEVICE_UUID, sizeof uuid, uuid, NULL)) return false;
    for (size_t i = 0; i < sizeof uuid; i++) snprintf(text + 2 * i, 3, "%02x", uuid[i]);
    snprintf(out, size, "uuid %s", text);
    return true;
}

/* cl_khr_pci_bus_info, or what NVIDIA's driver had before. */
static bool by_bus(cl_device_id id, char *out, size_t size)
{
    cl_uint at[4] = {0};
    const bool khr = !clGetDeviceInfo(id, DEVICE_PCI, sizeof at, at, NULL);
    if (!khr &&
        (clGetDeviceInfo(id, NV_BUS, sizeof at[1], &at[1], NULL) || clGetDeviceInfo(id, NV_SLOT, sizeof at[2], &at[2], NULL)))
        return false;
    snprintf(out, size, "pci %x:%x:%x.%x", at[0], at[1], at[2], at[3]);
    return true;
}

void tn_dev_identity(const tn_dev *d, char *out, size_t size)
{
    if (by_uuid(d->cl->id, out, size) || by_bus(d->cl->id, out, size)) return;
    snprintf(out, size, "%.40s %.40s %d", d->info.platform, d->info.name, d->index);
}
