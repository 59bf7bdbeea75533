/* What goes between host and device, counted. */
#include "layer.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { WRITES, READS, COPIES, MAPS, BUFFERS, LAUNCHES, FINISHES, KINDS } kind;

static const char *const names[KINDS] = {"writes", "reads", "copies", "maps", "buffers", "launches", "finishes"};
static atomic_llong calls[KINDS], bytes_of[KINDS];
static cl_icd_dispatch next; /* what stood in the table before */

static void count(kind k, size_t bytes)
{
    atomic_fetch_add(&calls[k], 1);
    atomic_fetch_add(&bytes_of[k], (long long)bytes);
}

static cl_int CL_API_CALL count_write(cl_command_queue q, cl_mem m, cl_bool wait, size_t at, size_t n, const void *from, cl_uint ne,
                                      const cl_event *e, cl_event *done)
{
    count(WRITES, n);
    return next.clEnqueueWriteBuffer(q, m, wait, at, n, from, ne, e, done);
}

static cl_int CL_API_CALL count_read(cl_command_queue q, cl_mem m, cl_bool wait, size_t at, size_t n, void *to, cl_uint ne,
                                     const cl_event *e, cl_event *done)
{
    count(READS, n);
    return next.clEnqueueReadBuffer(q, m, wait, at, n, to, ne, e, done);
}

static cl_int CL_API_CALL count_copy(cl_command_queue q, cl_mem from, cl_mem to, size_t at, size_t into, size_t n, cl_uint ne,
                                     const cl_event *e, cl_event *done)
{
    count(COPIES, n);
    return next.clEnqueueCopyBuffer(q, from, to, at, into, n, ne, e, done);
}

static void *CL_API_CALL count_map(cl_command_queue q, cl_mem m, cl_bool wait, cl_map_flags flags, size_t at, size_t n, cl_uint ne,
                                   const cl_event *e, cl_event *done, cl_int *rc)
{
    count(MAPS, n);
    return next.clEnqueueMapBuffer(q, m, wait, flags, at, n, ne, e, done, rc);
}

static cl_mem CL_API_CALL count_buffer(cl_context c, cl_mem_flags flags, size_t n, void *host, cl_int *e)
{
    count(BUFFERS, n);
    return next.clCreateBuffer(c, flags, n, host, e);
}

static cl_int CL_API_CALL count_launch(cl_command_queue q, cl_kernel k, cl_uint dims, const size_t *offset, const size_t *global,
                                       const size_t *local, cl_uint n, const cl_event *wait, cl_event *event)
{
    count(LAUNCHES, 0);
    return next.clEnqueueNDRangeKernel(q, k, dims, offset, global, local, n, wait, event);
}

static cl_int CL_API_CALL count_finish(cl_command_queue q)
{
    count(FINISHES, 0);
    return next.clFinish(q);
}

static void report(void)
{
    const char *s = strstr(getenv("TRACKNET_LAYER"), "count=");
    char path[1024];
    snprintf(path, sizeof path, "%.*s", (int)strcspn(s + 6, ","), s + 6);
    FILE *f = fopen(path, "w");
    for (int k = 0; f && k < KINDS; k++) fprintf(f, "%s %lld %lld\n", names[k], atomic_load(&calls[k]), atomic_load(&bytes_of[k]));
    if (f) fclose(f);
}

void layer_count_into(cl_icd_dispatch *table)
{
    if (!layer_has("count")) return;
    next = *table;
    table->clEnqueueWriteBuffer = count_write;
    table->clEnqueueReadBuffer = count_read;
    table->clEnqueueCopyBuffer = count_copy;
    table->clEnqueueMapBuffer = count_map;
    table->clCreateBuffer = count_buffer;
    table->clEnqueueNDRangeKernel = count_launch;
    table->clFinish = count_finish;
    atexit(report);
}
