/* What a device with such limits refuses. */
#include "layer.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_ARGS = 64, MOST_KERNELS = 8192 };

static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
static struct {
    cl_kernel k;
    size_t bytes[MOST_ARGS];
} args_of[MOST_KERNELS];

static size_t limit_of(cl_device_id d, cl_device_info what)
{
    cl_ulong v = 0;
    layer_device(d, what, sizeof v, &v, NULL);
    return (size_t)v;
}

/* A sentence, since a program may take the refusal for another variant's. */
static cl_int refuse(const char *what, const char *name, size_t got, size_t most, cl_int e)
{
    fprintf(stderr, "layer: %s: %s of %zu where the device takes %zu\n", name, what, got, most);
    return e;
}

cl_mem CL_API_CALL layer_buffer(cl_context c, cl_mem_flags flags, size_t bytes, void *host, cl_int *e)
{
    cl_device_id d = NULL;
    layer_driver->clGetContextInfo(c, CL_CONTEXT_DEVICES, sizeof d, &d, NULL);
    const size_t most = limit_of(d, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
    if (bytes <= most) return layer_driver->clCreateBuffer(c, flags, bytes, host, e);
    if (e) *e = CL_INVALID_BUFFER_SIZE;
    refuse("a buffer", "clCreateBuffer", bytes, most, 0);
    return NULL;
}

cl_int CL_API_CALL layer_argument(cl_kernel k, cl_uint i, size_t size, const void *value)
{
    pthread_mutex_lock(&one);
    size_t at = (size_t)k / 64 % MOST_KERNELS;
    for (int n = 0; n < MOST_KERNELS && args_of[at].k && args_of[at].k != k; n++) at = (at + 1) % MOST_KERNELS;
    args_of[at].k = k;
    if (i < MOST_ARGS && value) args_of[at].bytes[i] = size; /* without a value it is local memory */
    pthread_mutex_unlock(&one);
    return layer_driver->clSetKernelArg(k, i, size, value);
}

static size_t bytes_of(cl_kernel k)
{
    cl_uint n = 0;
    size_t sum = 0, at = (size_t)k / 64 % MOST_KERNELS;
    layer_driver->clGetKernelInfo(k, CL_KERNEL_NUM_ARGS, sizeof n, &n, NULL);
    pthread_mutex_lock(&one);
    for (int i = 0; i < MOST_KERNELS && args_of[at].k != k; i++) at = (at + 1) % MOST_KERNELS;
    for (cl_uint i = 0; args_of[at].k == k && i < n && i < MOST_ARGS; i++) sum += args_of[at].bytes[i];
    pthread_mutex_unlock(&one);
    return sum;
}

/* One group of the launch, and the memory that it would take. */
static cl_int check_group(cl_device_id d, cl_kernel k, const char *name, cl_uint dims, const size_t *local)
{
    size_t items = 1, most = 0;
    cl_ulong memory = 0;
    layer_kernel(k, d, CL_KERNEL_WORK_GROUP_SIZE, sizeof most, &most, NULL);
    for (cl_uint i = 0; local && i < dims; i++) items *= local[i];
    if (items > most) return refuse("a group", name, items, most, CL_INVALID_WORK_GROUP_SIZE);
    layer_driver->clGetKernelWorkGroupInfo(k, d, CL_KERNEL_LOCAL_MEM_SIZE, sizeof memory, &memory, NULL);
    most = limit_of(d, CL_DEVICE_LOCAL_MEM_SIZE);
    if (memory > most) return refuse("local memory", name, memory, most, CL_OUT_OF_RESOURCES);
    most = limit_of(d, CL_DEVICE_MAX_PARAMETER_SIZE);
    const size_t bytes = bytes_of(k);
    return bytes > most ? refuse("arguments", name, bytes, most, CL_OUT_OF_RESOURCES) : CL_SUCCESS;
}

cl_int CL_API_CALL layer_launch(cl_command_queue q, cl_kernel k, cl_uint dims, const size_t *offset, const size_t *global,
                                const size_t *local, cl_uint n, const cl_event *wait, cl_event *event)
{
    cl_device_id d = NULL;
    char name[128] = "";
    layer_driver->clGetCommandQueueInfo(q, CL_QUEUE_DEVICE, sizeof d, &d, NULL);
    layer_driver->clGetKernelInfo(k, CL_KERNEL_FUNCTION_NAME, sizeof name, name, NULL);
    const cl_int e = check_group(d, k, name, dims, local);
    if (e) return e;
    if (layer_names("crash", name)) abort();
    if (layer_names("slow", layer_is_twins(d) ? "twin" : "first")) nanosleep(&(struct timespec){0, 50000000}, NULL);
    if (layer_names("skip", name)) return layer_driver->clEnqueueMarkerWithWaitList(q, n, wait, event);
    return layer_driver->clEnqueueNDRangeKernel(q, k, dims, offset, global, local, n, wait, event);
}
