/* What devices and platforms say of themselves. */
#include "layer.h"

#include <stdio.h>
#include <string.h>

#define PCI_BUS_INFO 0x410F /* cl_khr_pci_bus_info */

static cl_icd_dispatch twin_dispatch;
static struct {
    const cl_icd_dispatch *dispatch; /* which loaders look at first */
} twin = {&twin_dispatch};
cl_platform_id layer_twin = (cl_platform_id)(void *)&twin;

static cl_platform_id real_platform(cl_platform_id p)
{
    cl_platform_id first = p;
    if (p == layer_twin) layer_driver->clGetPlatformIDs(1, &first, NULL);
    return first;
}

cl_int CL_API_CALL layer_platforms(cl_uint n, cl_platform_id *out, cl_uint *count)
{
    cl_uint have = 0;
    const cl_int e = layer_driver->clGetPlatformIDs(n, out, &have);
    if (e || !layer_has("twin")) {
        if (count) *count = have;
        return e;
    }
    if (out && have < n) out[have] = layer_twin;
    if (count) *count = have + 1;
    return CL_SUCCESS;
}

static cl_int give(const void *from, size_t bytes, size_t size, void *out, size_t *need)
{
    if (out && size < bytes) return CL_INVALID_VALUE;
    if (out) memcpy(out, from, bytes);
    if (need) *need = bytes;
    return CL_SUCCESS;
}

cl_int CL_API_CALL layer_platform(cl_platform_id p, cl_platform_info what, size_t size, void *out, size_t *need)
{
    static const char name[] = "Twin of Portable Computing Language"; /* whose quirks it has */
    if (p == layer_twin && what == CL_PLATFORM_NAME) return give(name, sizeof name, size, out, need);
    return layer_driver->clGetPlatformInfo(real_platform(p), what, size, out, need);
}

/* The first platform gives its last device to the twin. */
cl_int CL_API_CALL layer_devices(cl_platform_id p, cl_device_type t, cl_uint n, cl_device_id *out, cl_uint *count)
{
    enum { MOST = 16 };
    cl_platform_id first = NULL;
    cl_device_id all[MOST];
    cl_uint have = 0;
    if (layer_has("gpu") && t == CL_DEVICE_TYPE_GPU) t = CL_DEVICE_TYPE_ALL;
    if (!layer_has("twin")) return layer_driver->clGetDeviceIDs(p, t, n, out, count);
    layer_driver->clGetPlatformIDs(1, &first, NULL);
    const cl_int e = layer_driver->clGetDeviceIDs(real_platform(p), t, MOST, all, &have);
    if (e) return e;
    cl_device_id *from = all;
    if (p == layer_twin) from += have - 1, have = 1;
    else if (p == first) have -= 1;
    if (count) *count = have;
    for (cl_uint i = 0; out && i < n && i < have; i++) out[i] = from[i];
    return have ? CL_SUCCESS : CL_DEVICE_NOT_FOUND;
}

bool layer_is_twins(cl_device_id d)
{
    cl_device_id last = NULL;
    cl_uint n = 0;
    return layer_has("twin") && !layer_devices(layer_twin, CL_DEVICE_TYPE_ALL, 1, &last, &n) && d == last;
}

cl_context CL_API_CALL layer_context(const cl_context_properties *props, cl_uint n, const cl_device_id *d,
                                     void(CL_CALLBACK *note)(const char *, const void *, size_t, void *), void *user, cl_int *e)
{
    enum { MOST = 16 };
    cl_context_properties own[MOST] = {0};
    for (int i = 0; props && props[i] && i < MOST - 2; i += 2) {
        own[i] = props[i];
        own[i + 1] = props[i + 1];
        if (own[i] == CL_CONTEXT_PLATFORM) own[i + 1] = (cl_context_properties)real_platform((cl_platform_id)props[i + 1]);
    }
    return layer_driver->clCreateContext(props ? own : NULL, n, d, note, user, e);
}

static void blank(char *list, const char *word)
{
    for (char *s = list; (s = strstr(s, word)) != NULL;) memset(s, ' ', strcspn(s, " "));
}

static cl_int extensions(cl_device_id d, size_t size, void *out, size_t *need)
{
    char list[8192] = "";
    const cl_int e = layer_driver->clGetDeviceInfo(d, CL_DEVICE_EXTENSIONS, sizeof list - 64, list, NULL);
    if (e) return e;
    if (layer_has("nohalf")) blank(list, "cl_khr_fp16");
    if (layer_has("nosubgroups"))
        blank(list, "cl_khr_subgroup"), blank(list, "cl_intel_subgroup"), blank(list, "cl_intel_required_sub");
    if (layer_has("pci")) strcat(list, " cl_khr_pci_bus_info");
    return give(list, strlen(list) + 1, size, out, need);
}

static size_t least(size_t a, size_t limit)
{
    return limit && limit < a ? limit : a;
}

/* The driver's number, cut to what the variable says. */
static void cut(cl_device_id d, cl_device_info what, void *out)
{
    cl_ulong memory = 0, *wide = out;
    const size_t group = layer_number("group");
    switch (what) {
    case CL_DEVICE_TYPE:
        if (layer_has("gpu")) *(cl_device_type *)out = CL_DEVICE_TYPE_GPU;
        break;
    case CL_DEVICE_HOST_UNIFIED_MEMORY:
        if (layer_has("unified")) *(cl_bool *)out = CL_TRUE;
        if (layer_has("apart")) *(cl_bool *)out = CL_FALSE;
        break;
    case CL_DEVICE_LOCAL_MEM_SIZE: *wide = least(*wide, layer_number("local") << 10); break;
    case CL_DEVICE_MAX_CONSTANT_BUFFER_SIZE: *wide = least(*wide, layer_number("constant") << 10); break;
    case CL_DEVICE_MAX_PARAMETER_SIZE: *(size_t *)out = least(*(size_t *)out, layer_number("args")); break;
    case CL_DEVICE_MAX_WORK_GROUP_SIZE: *(size_t *)out = least(*(size_t *)out, group); break;
    case CL_DEVICE_MAX_WORK_ITEM_SIZES:
        for (int i = 0; i < 3; i++) ((size_t *)out)[i] = least(((size_t *)out)[i], group);
        break;
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE:
        layer_driver->clGetDeviceInfo(d, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory, &memory, NULL);
        if (layer_number("alloc")) *wide = least(*wide, memory / layer_number("alloc"));
        break;
    case CL_DEVICE_MAX_NUM_SUB_GROUPS:
        if (layer_has("nosubgroups")) *(cl_uint *)out = 0;
        break;
    default: break;
    }
}

cl_int CL_API_CALL layer_device(cl_device_id d, cl_device_info what, size_t size, void *out, size_t *need)
{
    static const cl_uint place[4] = {0, 3, 0, 0};
    if (what == CL_DEVICE_EXTENSIONS) return extensions(d, size, out, need);
    if (what == PCI_BUS_INFO && layer_has("pci")) return give(place, sizeof place, size, out, need);
    const cl_int e = layer_driver->clGetDeviceInfo(d, what, size, out, need);
    if (!e && out) cut(d, what, out);
    return e;
}

cl_int CL_API_CALL layer_kernel(cl_kernel k, cl_device_id d, cl_kernel_work_group_info what, size_t size, void *out, size_t *need)
{
    const cl_int e = layer_driver->clGetKernelWorkGroupInfo(k, d, what, size, out, need);
    if (e || !out || what != CL_KERNEL_WORK_GROUP_SIZE) return e;
    *(size_t *)out = least(least(*(size_t *)out, layer_number("group")), layer_number("kernel"));
    return e;
}
