/* Preloaded, takes a device away in mid-run: from its N-th kernel on, LOSE_DEVICE=INDEX:N, the driver answers that the device is
 * not there any more. INDEX counts the first platform's devices. Several are separated by commas. */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MOST = 8 };
static atomic_long launched[MOST];

/* The queue's device among the first platform's, or -1. */
static int index_of(cl_command_queue q)
{
    cl_platform_id platform;
    cl_device_id own, all[MOST];
    cl_uint n = 0;
    if (clGetCommandQueueInfo(q, CL_QUEUE_DEVICE, sizeof own, &own, NULL) || clGetPlatformIDs(1, &platform, NULL) ||
        clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, MOST, all, &n))
        return -1;
    for (cl_uint i = 0; i < n && i < MOST; i++)
        if (all[i] == own) return (int)i;
    return -1;
}

/* From which kernel on the device is lost; 0: it is not. */
static long lost_from(int index)
{
    const char *s = getenv("LOSE_DEVICE");
    while (s && *s) {
        char *end;
        const long device = strtol(s, &end, 10), from = *end == ':' ? strtol(end + 1, &end, 10) : 0;
        if (device == index) return from;
        s = *end == ',' ? end + 1 : NULL;
    }
    return 0;
}

cl_int clEnqueueNDRangeKernel(cl_command_queue q, cl_kernel k, cl_uint dims, const size_t *offset, const size_t *global,
                              const size_t *local, cl_uint n, const cl_event *wait, cl_event *event)
{
    static cl_int (*real)(cl_command_queue, cl_kernel, cl_uint, const size_t *, const size_t *, const size_t *, cl_uint,
                          const cl_event *, cl_event *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clEnqueueNDRangeKernel");
    const int i = index_of(q);
    const long from = i < 0 ? 0 : lost_from(i);
    if (from && ++launched[i] >= from) return CL_DEVICE_NOT_AVAILABLE;
    return real(q, k, dims, offset, global, local, n, wait, event);
}
