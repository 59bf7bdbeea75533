#include "quirks.h"

#include <string.h>

#define NV_CAPABILITY_MAJOR 0x4000 /* CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV, cl_nv_device_attribute_query */

static const struct {
    const char *vendor, *platform; /* substrings, NULL: any */
    unsigned flags;
    const char *phrase, *source;
} quirks[] = {
    {"NVIDIA", NULL, TN_QUIRK_OWN_CACHE | TN_QUIRK_NO_FILL,
     "driver caches binaries itself; large fills are uploads; sub-buffers are released last first",
     "FluidX3D opencl.hpp:495; dlprimitives docs/kernel_cache.md"},
    {NULL, "Portable Computing Language", 0, "one work-item per row or tile is fastest", "pocl#1167, OpenCL.jl#352"},
};

static bool fits(const char *text, const char *part)
{
    return !part || tn_has_nocase(text, part);
}

unsigned tn_quirk_flags(const tn_device_info *o)
{
    unsigned f = 0;
    for (size_t i = 0; i < TN_COUNT(quirks); i++)
        if (fits(o->vendor, quirks[i].vendor) && fits(o->platform, quirks[i].platform)) f |= quirks[i].flags;
    return f;
}

void tn_quirk_describe(tn_device_info *o, cl_device_id d, const char *ext)
{
    o->quirks = "";
    for (size_t i = 0; i < TN_COUNT(quirks); i++)
        if (fits(o->vendor, quirks[i].vendor) && fits(o->platform, quirks[i].platform)) o->quirks = quirks[i].phrase;
    if (strstr(ext, "cl_nv_device_attribute_query")) {
        cl_uint major = 0;
        clGetDeviceInfo(d, NV_CAPABILITY_MAJOR, sizeof major, &major, NULL);
        o->matrix_units = major >= 7;
        o->bf16_units = major >= 8;
    }
    if (strstr(ext, "cl_intel_subgroup_matrix_multiply_accumulate")) o->matrix_units = o->bf16_units = true;
    if (tn_starts(o->name, "gfx11") || tn_starts(o->name, "gfx12") || tn_starts(o->name, "gfx90a") || tn_starts(o->name, "gfx94"))
        o->matrix_units = o->bf16_units = true;
}
