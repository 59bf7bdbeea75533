/* The layer's way in, and what it is told. */
#include "layer.h"

#include <stdlib.h>
#include <string.h>

const cl_icd_dispatch *layer_driver;

/* What stands behind the word, "" for the bare word, NULL where it is not. */
static const char *told(const char *word)
{
    const size_t n = strlen(word);
    for (const char *s = getenv("TRACKNET_LAYER"); s && *s; s += strcspn(s, ","), s += *s == ',')
        if (!strncmp(s, word, n) && (!s[n] || strchr(",=", s[n]))) return s + n + (s[n] == '=');
    return NULL;
}

bool layer_has(const char *word)
{
    return told(word) != NULL;
}

size_t layer_number(const char *word)
{
    const char *s = told(word);
    return s ? strtoul(s, NULL, 10) : 0;
}

bool layer_names(const char *word, const char *name)
{
    const size_t n = strlen(name);
    for (const char *s = told(word); s && *s && *s != ','; s += strcspn(s, ":,"), s += *s == ':')
        if (strcspn(s, ":,") == n && !strncmp(s, name, n)) return true;
    return false;
}

CL_API_ENTRY cl_int CL_API_CALL clGetLayerInfo(cl_layer_info what, size_t size, void *out, size_t *need)
{
    static const cl_layer_api_version version = CL_LAYER_API_VERSION_100;
    static const char name[] = "tracknet-limits";
    const void *from = what == CL_LAYER_API_VERSION ? (const void *)&version : name;
    const size_t bytes = what == CL_LAYER_API_VERSION ? sizeof version : sizeof name;
    if (what != CL_LAYER_API_VERSION && what != CL_LAYER_NAME) return CL_INVALID_VALUE;
    if (out && size < bytes) return CL_INVALID_VALUE;
    if (out) memcpy(out, from, bytes);
    if (need) *need = bytes;
    return CL_SUCCESS;
}

CL_API_ENTRY cl_int CL_API_CALL clInitLayer(cl_uint n, const cl_icd_dispatch *driver, cl_uint *n_out, const cl_icd_dispatch **out)
{
    static cl_icd_dispatch own;
    if (n < sizeof own / sizeof(void *)) return CL_INVALID_VALUE;
    layer_driver = driver;
    own = *driver;
    own.clGetPlatformIDs = layer_platforms;
    own.clGetPlatformInfo = layer_platform;
    own.clGetDeviceIDs = layer_devices;
    own.clGetDeviceInfo = layer_device;
    own.clCreateContext = layer_context;
    own.clGetKernelWorkGroupInfo = layer_kernel;
    own.clCreateBuffer = layer_buffer;
    own.clSetKernelArg = layer_argument;
    own.clEnqueueNDRangeKernel = layer_launch;
    layer_count_into(&own);
    *n_out = sizeof own / sizeof(void *);
    *out = &own;
    return CL_SUCCESS;
}
