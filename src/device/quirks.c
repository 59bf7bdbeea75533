#include "quirks.h"
#include "amx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define NV_CAPABILITY_MAJOR   0x4000 /* CL_DEVICE_COMPUTE_CAPABILITY_MAJOR_NV, cl_nv_device_attribute_query */
#define NV_PCI_BUS            0x4008 /* CL_DEVICE_PCI_BUS_ID_NV, _SLOT_ID_NV and _DOMAIN_ID_NV of the same extension */
#define NV_PCI_SLOT           0x4009
#define NV_PCI_DOMAIN         0x400A
#define AMD_TOPOLOGY          0x4037 /* CL_DEVICE_TOPOLOGY_AMD, cl_amd_device_attribute_query */
#define KHR_PCI_BUS_INFO      0x410F /* cl_khr_pci_bus_info */
#define KHR_UUID              0x106A /* cl_khr_device_uuid */
#define INTEL_SUB_GROUP_SIZES 0x4108 /* CL_DEVICE_SUB_GROUP_SIZES_INTEL, cl_intel_required_subgroup_size */

static const struct {
    const char *vendor, *platform; /* substrings, NULL: any */
    unsigned flags;
    const char *phrase, *source;
} quirks[] = {
    {"NVIDIA", NULL, TN_QUIRK_OWN_CACHE | TN_QUIRK_NO_FILL,
     "driver caches binaries itself; large fills are uploads; sub-buffers are released last first",
     "FluidX3D opencl.hpp:495; dlprimitives docs/kernel_cache.md"},
    {NULL, "Portable Computing Language", TN_QUIRK_OBJECTS | TN_QUIRK_DECLARES,
     "binaries are kept as objects, since one of a whole program compiles each kernel once more, for any group; programs declare "
     "the functions they call, since reading the driver's declarations takes longer than they do; one work-item per row or tile "
     "is fastest",
     "pocl 3.1 lib/CL/clGetProgramInfo.c, lib/CL/pocl_llvm_build.cc; pocl#1167, OpenCL.jl#352"},
    {NULL, "rusticl", TN_QUIRK_GROUPS | TN_QUIRK_NO_VECTORS,
     "kernels take larger groups than the driver says of them (32); portable kernels alone, since its translator to SPIR-V ends "
     "the "
     "process where clang has made vectors of more than 16 elements of those for processors",
     "KhronosGroup/SPIRV-LLVM-Translator#645; Mesa 22.3 on llvmpipe: tests/runtimes.sh"},
};

/* Runtimes for processors whose compilers are known to take cl/cpu. */
static const char *const take_vectors[] = {"Portable Computing Language", "Intel(R) OpenCL"};

static bool quirks_fits(const char *text, const char *part)
{
    return !part || tn_has_nocase(text, part);
}

static bool is_untried(const tn_device_info *o)
{
    for (size_t i = 0; i < TN_COUNT(take_vectors); i++)
        if (tn_has_nocase(o->platform, take_vectors[i])) return false;
    return o->type == TN_DEVICE_CPU;
}

unsigned tn_quirk_flags(const tn_device_info *o)
{
    unsigned f = is_untried(o) ? TN_QUIRK_UNTRIED : 0;
    for (size_t i = 0; i < TN_COUNT(quirks); i++)
        if (quirks_fits(o->vendor, quirks[i].vendor) && quirks_fits(o->platform, quirks[i].platform)) f |= quirks[i].flags;
    return f;
}

/* ---- capabilities ---- */

static const struct {
    unsigned cap;
    const char *name;
} names[] = {
    {TN_CAP_CPU, "cpu"},          {TN_CAP_AVX2, "avx2"},
    {TN_CAP_AVX512, "avx512"},    {TN_CAP_AMX_BF16, "amx-bf16"},
    {TN_CAP_NV_PTX, "ptx"},       {TN_CAP_NV_MMA80, "mma80"},
    {TN_CAP_NV_WGMMA, "wgmma"},   {TN_CAP_DPAS8, "dpas8"},
    {TN_CAP_DPAS16, "dpas16"},    {TN_CAP_WMMA11, "wmma11"},
    {TN_CAP_WMMA12, "wmma12"},    {TN_CAP_MFMA90A, "mfma90a"},
    {TN_CAP_MFMA942, "mfma942"},  {TN_CAP_AVX512_BF16, "avx512-bf16"},
    {TN_CAP_BLOCK_2D, "block2d"}, {TN_CAP_VECTORS, "vectors"},
};

/* AMD's names say the instruction set: gfx1100 is RDNA 3, gfx1201 RDNA 4, gfx90a MI200, gfx942 MI300. */
static const struct {
    const char *prefix;
    unsigned cap;
} amd[] = {{"gfx11", TN_CAP_WMMA11},
           {"gfx12", TN_CAP_WMMA12},
           {"gfx90a", TN_CAP_MFMA90A},
           {"gfx942", TN_CAP_MFMA942},
           {"gfx950", TN_CAP_MFMA942}};

/* What Debian's PoCL makes code for is in a device's name, and may be less than the processor has (POCL_KERNELLIB_NAME). */
static const struct {
    const char *target;
    unsigned without;
} targets[] = {{"-haswell", TN_CAP_AVX512},
               {"-sandybridge", TN_CAP_AVX512 | TN_CAP_AVX2},
               {"-ivybridge", TN_CAP_AVX512 | TN_CAP_AVX2},
               {"-bdver1", TN_CAP_AVX512 | TN_CAP_AVX2},
               {"-penryn", TN_CAP_AVX512 | TN_CAP_AVX2},
               {"-core2", TN_CAP_AVX512 | TN_CAP_AVX2},
               {"-athlon64", TN_CAP_AVX512 | TN_CAP_AVX2}};

static unsigned target_lacks(const tn_device_info *o)
{
    unsigned lacks = 0;
    if (!tn_has_nocase(o->platform, "Portable Computing Language")) return 0;
    for (size_t i = 0; i < TN_COUNT(targets); i++)
        if (strstr(o->name, targets[i].target)) lacks |= targets[i].without;
    return lacks;
}

/* PoCL 4 to 6 take inline assembly for a function of their own and end the process (handleLocalMemAllocas in
 * lib/llvmopencl/WorkitemLoops.cc compares a call without a name with one that is not there; 7.0 looks). */
static bool takes_assembly(const tn_device_info *o)
{
    const long major = strtol(o->driver, NULL, 10);
    return !tn_has_nocase(o->platform, "Portable Computing Language") || major < 4 || major > 6;
}

/* The host's own instructions that the compiler of a CPU device makes code for. Oclgrind interprets: nothing of it holds. */
static unsigned host_caps(const tn_device_info *o)
{
    unsigned caps = 0;
    if (tn_has_nocase(o->platform, "Oclgrind")) return 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) caps |= TN_CAP_AVX2;
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) caps |= TN_CAP_AVX512;
    caps &= ~target_lacks(o);
    if (!(caps & TN_CAP_AVX512) || !takes_assembly(o)) return caps;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1)) caps |= TN_CAP_AVX512_BF16;
    if (tn_amx_bf16()) caps |= TN_CAP_AMX_BF16;
#endif
    return caps;
}

static unsigned nvidia_caps(cl_device_id d)
{
    cl_uint major = 0;
    clGetDeviceInfo(d, NV_CAPABILITY_MAJOR, sizeof major, &major, NULL);
    return TN_CAP_NV_PTX | (major >= 8 ? TN_CAP_NV_MMA80 : 0) | (major == 9 ? TN_CAP_NV_WGMMA : 0);
}

/* dpas is as wide as the smallest sub-group that the device has. */
static unsigned intel_caps(cl_device_id d, const char *extensions)
{
    size_t sizes[16] = {0}, bytes = 0;
    if (clGetDeviceInfo(d, INTEL_SUB_GROUP_SIZES, sizeof sizes, sizes, &bytes) || !bytes) return 0;
    size_t least = sizes[0];
    for (size_t i = 1; i < bytes / sizeof *sizes; i++) least = TN_MIN(least, sizes[i]);
    const unsigned reads = strstr(extensions, "cl_intel_subgroup_2d_block_io") ? TN_CAP_BLOCK_2D : 0;
    return least == 8 ? TN_CAP_DPAS8 : least == 16 ? TN_CAP_DPAS16 | reads : 0;
}

unsigned tn_device_caps(const tn_device_info *o, cl_device_id d)
{
    unsigned caps = o->type == TN_DEVICE_CPU ? TN_CAP_CPU | host_caps(o) : 0;
    if (caps && !(tn_quirk_flags(o) & TN_QUIRK_NO_VECTORS)) caps |= TN_CAP_VECTORS;
    char ext[8192] = "";
    clGetDeviceInfo(d, CL_DEVICE_EXTENSIONS, sizeof ext - 1, ext, NULL);
    if (strstr(ext, "cl_nv_device_attribute_query")) caps |= nvidia_caps(d);
    if (strstr(ext, "cl_intel_subgroup_matrix_multiply_accumulate")) caps |= intel_caps(d, ext);
    for (size_t i = 0; i < TN_COUNT(amd); i++)
        if (tn_starts(o->name, amd[i].prefix)) caps |= amd[i].cap;
    return caps;
}

static void name_caps(char *out, size_t n, unsigned caps)
{
    size_t at = 0;
    out[0] = 0;
    for (size_t i = 0; i < TN_COUNT(names) && at < n; i++)
        if (caps & names[i].cap) at += (size_t)snprintf(out + at, n - at, "%s%s", at ? " " : "", names[i].name);
}

void tn_quirk_describe(tn_device_info *o, cl_device_id d)
{
    const unsigned caps = tn_device_caps(o, d);
    const unsigned matrix =
        TN_CAP_NV_MMA80 | TN_CAP_DPAS8 | TN_CAP_DPAS16 | TN_CAP_WMMA11 | TN_CAP_WMMA12 | TN_CAP_MFMA90A | TN_CAP_MFMA942;
    cl_uint major = 0;
    o->quirks = "";
    for (size_t i = 0; i < TN_COUNT(quirks); i++)
        if (quirks_fits(o->vendor, quirks[i].vendor) && quirks_fits(o->platform, quirks[i].platform)) o->quirks = quirks[i].phrase;
    if (caps & TN_CAP_NV_PTX) clGetDeviceInfo(d, NV_CAPABILITY_MAJOR, sizeof major, &major, NULL);
    const unsigned of_cpus = caps & TN_CAP_VECTORS ? caps & (TN_CAP_AMX_BF16 | TN_CAP_AVX512_BF16) : 0;
    o->bf16_units = (caps & matrix) || of_cpus;
    o->matrix_units = (caps & matrix) || (of_cpus & TN_CAP_AMX_BF16) || major >= 7; /* Volta multiplies half only */
    name_caps(o->capabilities, sizeof o->capabilities, caps);
}

/* ---- which piece of hardware ---- */

typedef struct {
    cl_uint domain, bus, device, function;
} pci_place;

static bool nvidia_place(pci_place *p, cl_device_id d)
{
    cl_uint slot = 0; /* device and function in one */
    if (clGetDeviceInfo(d, NV_PCI_BUS, sizeof p->bus, &p->bus, NULL)) return false;
    if (clGetDeviceInfo(d, NV_PCI_SLOT, sizeof slot, &slot, NULL)) return false;
    if (clGetDeviceInfo(d, NV_PCI_DOMAIN, sizeof p->domain, &p->domain, NULL)) p->domain = 0;
    p->device = slot >> 3;
    p->function = slot & 7;
    return true;
}

static bool amd_place(pci_place *p, cl_device_id d)
{
    struct {
        cl_uint type; /* 1: PCI Express */
        cl_char unused[17], bus, device, function;
    } t = {0};
    if (clGetDeviceInfo(d, AMD_TOPOLOGY, sizeof t, &t, NULL) || t.type != 1) return false;
    *p = (pci_place){0, (cl_uchar)t.bus, (cl_uchar)t.device, (cl_uchar)t.function};
    return true;
}

static bool place_of(pci_place *p, cl_device_id d, const char *extensions)
{
    if (strstr(extensions, "cl_khr_pci_bus_info") && !clGetDeviceInfo(d, KHR_PCI_BUS_INFO, sizeof *p, p, NULL)) return true;
    if (strstr(extensions, "cl_nv_device_attribute_query") && nvidia_place(p, d)) return true;
    return strstr(extensions, "cl_amd_device_attribute_query") && amd_place(p, d);
}

void tn_quirk_hardware(tn_device_info *o, cl_device_id d)
{
    char ext[8192] = "";
    unsigned char uuid[16] = {0};
    pci_place p = {0};
    size_t at = 0;
    clGetDeviceInfo(d, CL_DEVICE_EXTENSIONS, sizeof ext - 1, ext, NULL);
    if (place_of(&p, d, ext))
        at = (size_t)snprintf(o->hardware, sizeof o->hardware, "pci %04x:%02x:%02x.%x", p.domain & 0xffff, p.bus & 0xff,
                              p.device & 0xff, p.function & 0xf);
    if (!strstr(ext, "cl_khr_device_uuid") || clGetDeviceInfo(d, KHR_UUID, sizeof uuid, uuid, NULL)) return;
    at += (size_t)snprintf(o->hardware + at, sizeof o->hardware - at, "%suuid ", at ? " " : "");
    for (size_t i = 0; i < sizeof uuid; i++) at += (size_t)snprintf(o->hardware + at, sizeof o->hardware - at, "%02x", uuid[i]);
}
