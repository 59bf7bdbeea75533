/* Preloaded, takes a device away in mid-run: from its N-th kernel on, LOSE_DEVICE=INDEX:N, the driver answers that the device is
 * not there any more. INDEX counts the devices of all platforms. Several are separated by commas. */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST = 8 };
static atomic_long launched[MOST];

/* The queue's device among those of all platforms, or -1. */
static int index_of(cl_command_queue q)
{
    cl_platform_id platforms[MOST];
    cl_device_id own, all[MOST];
    cl_uint n_platforms = 0, n;
    int before = 0;
    if (clGetCommandQueueInfo(q, CL_QUEUE_DEVICE, sizeof own, &own, NULL) || clGetPlatformIDs(MOST, platforms, &n_platforms))
        return -1;
    for (cl_uint p = 0; p < n_platforms && p < MOST; p++) {
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, MOST, all, &n)) continue;
        for (cl_uint i = 0; i < n && i < MOST; i++)
            if (all[i] == own) return before + (int)i;
        before += (int)n;
    }
    return -1;
}

/* From which kernel on the variable means the device; 0: it does not. */
static long from_kernel(const char *variable, int index)
{
    const char *s = getenv(variable);
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
    const long lost = i < 0 ? 0 : from_kernel("LOSE_DEVICE", i), slow = i < 0 ? 0 : from_kernel("SLOW_DEVICE", i);
    const long number = i < 0 || i >= MOST ? 0 : ++launched[i];
    if (lost && number >= lost) return CL_DEVICE_NOT_AVAILABLE;
    if (slow && number >= slow) usleep(100);
    return real(q, k, dims, offset, global, local, n, wait, event);
}
