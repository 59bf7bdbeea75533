#include "facts.h"
#include "dev_cl.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <tracknet/api.h>

#define SUB_GROUP_SIZES_INTEL 0x4108 /* cl_intel_required_subgroup_size */
#define WARP_SIZE_NV          0x4003 /* cl_nv_device_attribute_query */
#define WAVEFRONT_WIDTH_AMD   0x4043 /* cl_amd_device_attribute_query */
#define BOARD_NAME_AMD        0x4038
#define MAX_SUB_GROUPS        0x105C /* OpenCL 2.1 */

/* A number of 4 or 8 bytes, as the driver has it; no line where it has none. */
static void add_number(tn_text *out, const tn_dev *d, cl_device_info what, const char *name)
{
    cl_ulong v = 0;
    size_t n = 0;
    if (!clGetDeviceInfo(d->cl->id, what, sizeof v, &v, &n) && n <= sizeof v && n)
        tn_text_addf(out, "%-24s %llu\n", name, (unsigned long long)v);
}

static void add_text(tn_text *out, const tn_dev *d, cl_device_info what, const char *name)
{
    char v[8192] = "";
    if (!clGetDeviceInfo(d->cl->id, what, sizeof v - 1, v, NULL) && v[0]) tn_text_addf(out, "%-24s %s\n", name, v);
}

static void add_sizes(tn_text *out, const tn_dev *d, cl_device_info what, const char *name)
{
    size_t v[16] = {0}, bytes = 0;
    if (clGetDeviceInfo(d->cl->id, what, sizeof v, v, &bytes) || !bytes) return;
    tn_text_addf(out, "%-24s", name);
    for (size_t i = 0; i < bytes / sizeof *v; i++) tn_text_addf(out, " %zu", v[i]);
    tn_text_addf(out, "\n");
}

static void add_limits(tn_text *out, const tn_dev *d)
{
    static const struct {
        cl_device_info what;
        const char *name;
    } numbers[] = {{CL_DEVICE_MAX_CLOCK_FREQUENCY, "clock, MHz"},
                   {CL_DEVICE_GLOBAL_MEM_SIZE, "memory, bytes"},
                   {CL_DEVICE_MAX_MEM_ALLOC_SIZE, "largest allocation"},
                   {CL_DEVICE_LOCAL_MEM_SIZE, "local memory"},
                   {CL_DEVICE_LOCAL_MEM_TYPE, "local memory's kind"},
                   {CL_DEVICE_GLOBAL_MEM_CACHE_SIZE, "cache"},
                   {CL_DEVICE_GLOBAL_MEM_CACHELINE_SIZE, "cache line"},
                   {CL_DEVICE_MAX_CONSTANT_BUFFER_SIZE, "constant buffer"},
                   {CL_DEVICE_MAX_PARAMETER_SIZE, "arguments, bytes"},
                   {CL_DEVICE_MEM_BASE_ADDR_ALIGN, "alignment, bits"},
                   {CL_DEVICE_HOST_UNIFIED_MEMORY, "memory is the host's"},
                   {CL_DEVICE_SINGLE_FP_CONFIG, "float32 (bits)"},
                   {CL_DEVICE_DOUBLE_FP_CONFIG, "float64 (bits)"},
                   {CL_DEVICE_PROFILING_TIMER_RESOLUTION, "timer, ns"},
                   {MAX_SUB_GROUPS, "sub-groups of a group"},
                   {WARP_SIZE_NV, "warp"},
                   {WAVEFRONT_WIDTH_AMD, "wavefront"}};
    for (size_t i = 0; i < TN_COUNT(numbers); i++) add_number(out, d, numbers[i].what, numbers[i].name);
    add_sizes(out, d, CL_DEVICE_MAX_WORK_ITEM_SIZES, "work-items");
    add_sizes(out, d, SUB_GROUP_SIZES_INTEL, "sub-group sizes");
}

/* The PCI address without what follows it: a UUID is as good as a serial number. */
static void add_place(tn_text *out, const tn_dev *d)
{
    const char *place = strstr(d->info.hardware, "pci ");
    if (place) tn_text_addf(out, "%-24s %.*s\n", "place", (int)(4 + strcspn(place + 4, " ")), place);
}

void tn_device_facts(tn_text *out, const tn_dev *d)
{
    const tn_device_info *o = &d->info;
    tn_text_addf(out, "%-24s %s\n%-24s %d\n", "tracknet", TN_VERSION_STRING, "device", o->index);
    tn_text_addf(out, "%-24s %s\n%-24s %s\n%-24s %s\n", "name", o->name, "vendor", o->vendor, "platform", o->platform);
    add_text(out, d, BOARD_NAME_AMD, "board");
    tn_text_addf(out, "%-24s %s\n%-24s %s\n", "driver", o->driver, "version", o->version);
    add_text(out, d, CL_DEVICE_OPENCL_C_VERSION, "OpenCL C");
    tn_text_addf(out, "%-24s %s\n", "kind", o->type == TN_DEVICE_GPU ? "GPU" : o->type == TN_DEVICE_CPU ? "CPU" : "other");
    tn_text_addf(out, "%-24s %u\n%-24s %u\n", "compute units used", o->compute_units, "work-group", o->max_work_group);
    add_limits(out, d);
    add_place(out, d);
    tn_text_addf(out, "%-24s %s\n", "quirks applied", o->quirks[0] ? o->quirks : "none");
    tn_text_addf(out, "%-24s %s\n", "variants may use", o->capabilities[0] ? o->capabilities : "nothing special");
    add_text(out, d, CL_DEVICE_EXTENSIONS, "extensions");
}
