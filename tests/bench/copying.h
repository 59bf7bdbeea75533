/** What a device copies, for benchmarks to hold kernels against: by the driver, which PoCL gives one core, and by a kernel. */
#ifndef TN_COPYING_H
#define TN_COPYING_H
#include "dev_cl.h"

typedef struct copying {
    tn_dev *dev;
    tn_buffer *from, *to;
    size_t bytes; /* of each; a multiple of 16 */
    cl_program program;
    cl_kernel kernel;
} copying;

/* A copy by all compute units: each item copies `per` float4. */
static const char copy_source[] = "__kernel void copy(const __global float4 *from, __global float4 *to, uint n, uint per)\n"
                                  "{\n"
                                  "    const uint begin = get_global_id(0) * per, end = min(n, begin + per);\n"
                                  "    for (uint i = begin; i < end; i++) to[i] = from[i];\n"
                                  "}\n";

static inline cl_uint copied_by_one(const tn_dev *d)
{
    return d->info.type == TN_DEVICE_CPU ? 1024 : 1;
}

static inline void copying_free(copying *k)
{
    if (k->kernel) clReleaseKernel(k->kernel);
    if (k->program) clReleaseProgram(k->program);
    tn_buffer_free(k->to);
    tn_buffer_free(k->from);
    *k = (copying){0};
}

/** Two buffers of about so many bytes. */
static inline int copying_new(copying *k, tn_dev *d, size_t bytes, tn_error *err)
{
    const char *text = copy_source;
    const cl_uint count = (cl_uint)(bytes / 16), per = copied_by_one(d);
    cl_int rc;
    *k = (copying){.dev = d, .bytes = bytes / 16 * 16};
    TN_TRY(tn_buffer_new(&k->from, d, k->bytes, "bench", err));
    TN_TRY(tn_buffer_new(&k->to, d, k->bytes, "bench", err));
    TN_TRY(tn_buffer_fill(k->from, 0, k->bytes, 0x3f812345u, err));
    k->program = clCreateProgramWithSource(d->cl->ctx, 1, &text, NULL, &rc);
    if (!rc) rc = clBuildProgram(k->program, 1, &d->cl->id, "", NULL, NULL);
    if (!rc) k->kernel = clCreateKernel(k->program, "copy", &rc);
    if (!rc) rc = clSetKernelArg(k->kernel, 0, sizeof(cl_mem), &k->from->mem);
    if (!rc) rc = clSetKernelArg(k->kernel, 1, sizeof(cl_mem), &k->to->mem);
    if (!rc) rc = clSetKernelArg(k->kernel, 2, sizeof count, &count);
    if (!rc) rc = clSetKernelArg(k->kernel, 3, sizeof per, &per);
    return rc ? tn_fail(err, TN_ERR_DEVICE, "the copy kernel: %s", tn_cl_error(rc)) : 0;
}

/** These two do not wait. */
static inline int copying_by_driver(const copying *k, tn_error *err)
{
    return tn_buffer_copy(k->from, 0, k->to, 0, k->bytes, err);
}

static inline int copying_by_kernel(const copying *k, tn_error *err)
{
    const tn_dev *d = k->dev;
    const size_t local = d->info.type == TN_DEVICE_CPU ? 1 : 256;
    const size_t global = TN_ROUND_UP(TN_CEIL_DIV(k->bytes / 16, (size_t)copied_by_one(d)), local);
    const cl_int rc = clEnqueueNDRangeKernel(d->cl->queue[TN_QUEUE_MAIN], k->kernel, 1, NULL, &global, &local, 0, NULL, NULL);
    return rc ? tn_fail(err, TN_ERR_DEVICE, "the copy kernel: %s", tn_cl_error(rc)) : 0;
}
#endif
