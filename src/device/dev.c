#include "dev.h"
#include "quirks.h"

#include <stdlib.h>
#include <string.h>

static int open_context(tn_dev *d, tn_error *err)
{
    cl_int e = 0;
    cl_context_properties props[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)d->platform, 0};
    d->ctx = clCreateContext(props, 1, &d->id, NULL, NULL, &e);
    if (e) return tn_fail(err, TN_ERR_DEVICE, "device '%s': cannot create a context (%s)", d->info.name, tn_cl_error(e));
    d->queue = clCreateCommandQueue(d->ctx, d->id, 0, &e);
    if (e) return tn_fail(err, TN_ERR_DEVICE, "device '%s': cannot create a queue (%s)", d->info.name, tn_cl_error(e));
    return 0;
}

/* TRACKNET_VARIANTS, and TRACKNET_GEMM for the products alone. */
static int read_variants(tn_dev *d, tn_error *err)
{
    const char *all = getenv("TRACKNET_VARIANTS"), *gemm = getenv("TRACKNET_GEMM");
    const bool has_gemm = gemm && gemm[0];
    if (!has_gemm && !(all && all[0])) return 0;
    d->variants = d->variants_read = tn_strf("%s%s%s", all ? all : "", has_gemm ? ",gemm=" : "", has_gemm ? gemm : "");
    return d->variants ? 0 : tn_oom(err);
}

int tn_dev_open(tn_dev **out, int index, size_t memory_limit, const tn_log *log, tn_error *err)
{
    tn_device_info *v;
    int n;
    TN_TRY(tn_device_list(&v, &n, err));
    tn_dev *d = calloc(1, sizeof *d);
    int rc = d ? tn_find_device(&d->platform, &d->id, index, err) : tn_oom(err);
    if (!rc) {
        d->info = v[index];
        d->log = log;
        d->quirk_flags = tn_quirk_flags(&d->info);
        d->memory_limit = memory_limit;
        d->caps = tn_device_caps(&d->info, d->id);
        cl_uint align_bits = 0;
        clGetDeviceInfo(d->id, CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof align_bits, &align_bits, NULL);
        d->align = TN_MAX((size_t)align_bits / 8, (size_t)256);
        d->row_wg = d->info.type == TN_DEVICE_CPU ? 1 : (int)TN_MIN(d->info.max_work_group, 128u);
        rc = read_variants(d, err);
        if (!rc) rc = open_context(d, err);
    }
    free(v);
    if (rc) {
        tn_dev_close(d);
        d = NULL;
    }
    *out = d;
    return rc;
}

void tn_dev_close(tn_dev *d)
{
    if (!d) return;
    if (d->queue) clFinish(d->queue);
    if (d->on_close) d->on_close();
    if (d->tuning_free) d->tuning_free(d->tuning);
    for (int i = 0; i < d->n_kernels; i++) {
        clReleaseKernel(d->kernels[i]->k);
        free(d->kernels[i]->key);
        free(d->kernels[i]->entry);
        free(d->kernels[i]);
    }
    free(d->kernels);
    for (int i = 0; i < d->n_programs; i++) {
        clReleaseProgram(d->programs[i].p);
        free(d->programs[i].key);
    }
    free(d->programs);
    if (d->queue) clReleaseCommandQueue(d->queue);
    if (d->ctx) clReleaseContext(d->ctx);
    free(d->variants_read);
    free(d);
}

static int failed(tn_dev *d, const char *what, int e, tn_error *err)
{
    int status = e == CL_MEM_OBJECT_ALLOCATION_FAILURE || e == CL_OUT_OF_RESOURCES || e == CL_OUT_OF_HOST_MEMORY ? TN_ERR_MEMORY
                                                                                                                 : TN_ERR_DEVICE;
    return tn_fail(err, status, "device '%s': %s failed with %s (%d); if the device was lost, run again with --resume",
                   d->info.name, what, tn_cl_error(e), e);
}

int tn_dev_finish(tn_dev *d, tn_error *err)
{
    cl_int e = clFinish(d->queue);
    return e ? failed(d, "waiting for the queue", e, err) : 0;
}

int tn_buffer_new(cl_mem *out, tn_dev *d, size_t bytes, const char *what, tn_error *err)
{
    *out = NULL;
    if (!bytes) bytes = 4;
    bytes = TN_ROUND_UP(bytes, (size_t)4);
    if (d->memory_limit && d->allocated + bytes > d->memory_limit)
        return tn_fail(err, TN_ERR_MEMORY,
                       "device '%s': %s needs %.1f MiB, over the limit of %.1f MiB (%.1f in use); raise "
                       "--memory-limit or use a smaller model or micro_batch_size",
                       d->info.name, what, (double)bytes / 1048576, (double)d->memory_limit / 1048576,
                       (double)d->allocated / 1048576);
    cl_int e = 0;
    cl_mem m = clCreateBuffer(d->ctx, CL_MEM_READ_WRITE, bytes, NULL, &e);
    if (!e && !d->untouched) {
        uint32_t zero = 0;
        e = clEnqueueWriteBuffer(d->queue, m, CL_TRUE, bytes - 4, 4, &zero, 0, NULL, NULL);
        if (e) clReleaseMemObject(m);
    }
    if (e)
        return tn_fail(err, e == CL_INVALID_BUFFER_SIZE || e == -4 || e == -5 || e == -6 ? TN_ERR_MEMORY : TN_ERR_DEVICE,
                       "device '%s' refused %zu MiB for %s (%s); use a smaller batch, micro_batch_size or model", d->info.name,
                       bytes >> 20, what, tn_cl_error(e));
    *out = m;
    d->allocated += bytes;
    d->peak = TN_MAX(d->peak, d->allocated);
    return 0;
}

void tn_buffer_free(tn_dev *d, cl_mem m, size_t bytes)
{
    if (!m) return;
    if (!bytes) bytes = 4;
    clReleaseMemObject(m);
    d->allocated -= TN_ROUND_UP(bytes, (size_t)4);
}

int tn_buffer_write(tn_dev *d, cl_mem m, size_t offset, const void *src, size_t bytes, tn_error *err)
{
    if (!bytes) return 0;
    cl_int e = clEnqueueWriteBuffer(d->queue, m, CL_TRUE, offset, bytes, src, 0, NULL, NULL);
    return e ? failed(d, "an upload", e, err) : 0;
}

int tn_buffer_read(tn_dev *d, cl_mem m, size_t offset, void *dst, size_t bytes, tn_error *err)
{
    if (!bytes) return 0;
    cl_int e = clEnqueueReadBuffer(d->queue, m, CL_TRUE, offset, bytes, dst, 0, NULL, NULL);
    return e ? failed(d, "a download", e, err) : 0;
}

static int fill_by_upload(tn_dev *d, cl_mem m, size_t offset, size_t bytes, uint32_t pattern, tn_error *err)
{
    enum { CHUNK = 1 << 20 };
    uint32_t *p = malloc(CHUNK);
    if (!p) return tn_oom(err);
    for (size_t i = 0; i < CHUNK / 4; i++) p[i] = pattern;
    int rc = 0;
    for (size_t o = 0; !rc && o < bytes; o += CHUNK)
        rc = tn_buffer_write(d, m, offset + o, p, TN_MIN((size_t)CHUNK, bytes - o), err);
    free(p);
    return rc;
}

int tn_buffer_fill(tn_dev *d, cl_mem m, size_t offset, size_t bytes, uint32_t pattern, tn_error *err)
{
    if (!bytes) return 0;
    if ((d->quirk_flags & TN_QUIRK_NO_FILL) && bytes > (256u << 20)) return fill_by_upload(d, m, offset, bytes, pattern, err);
    cl_int e = clEnqueueFillBuffer(d->queue, m, &pattern, 4, offset, bytes / 4 * 4, 0, NULL, NULL);
    return e ? failed(d, "a fill", e, err) : 0;
}

int tn_buffer_copy(tn_dev *d, cl_mem src, size_t so, cl_mem dst, size_t dof, size_t bytes, tn_error *err)
{
    if (!bytes) return 0;
    cl_int e = clEnqueueCopyBuffer(d->queue, src, dst, so, dof, bytes, 0, NULL, NULL);
    return e ? failed(d, "a copy", e, err) : 0;
}

int tn_buffer_sub(cl_mem *out, tn_dev *d, cl_mem parent, size_t offset, size_t bytes, tn_error *err)
{
    cl_buffer_region r = {offset, bytes ? bytes : 4};
    cl_int e = 0;
    *out = clCreateSubBuffer(parent, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &r, &e);
    return e ? failed(d, "a sub-buffer", e, err) : 0;
}

int tn_launch(tn_dev *d, tn_kernel *k, const tn_arg *args, int n_args, int dims, const size_t *global, const size_t *local,
              tn_error *err)
{
    cl_int e = 0;
    for (int i = 0; i < n_args; i++) {
        e = clSetKernelArg(k->k, (cl_uint)i, args[i].size, &args[i].v);
        if (e)
            return tn_fail(err, TN_ERR_DEVICE, "device '%s', kernel %s: argument %d refused (%s)", d->info.name, k->entry, i,
                           tn_cl_error(e));
    }
    size_t g[3] = {1, 1, 1};
    for (int i = 0; i < dims; i++) {
        g[i] = local ? TN_ROUND_UP(global[i], local[i]) : global[i];
        if (!g[i]) return 0;
    }
    e = clEnqueueNDRangeKernel(d->queue, k->k, (cl_uint)dims, NULL, g, local, 0, NULL, NULL);
    d->launches++;
    if (e)
        return tn_fail(err, e == -4 || e == -6 ? TN_ERR_MEMORY : TN_ERR_DEVICE,
                       "device '%s', kernel %s over %zu x %zu x %zu: %s (%d)", d->info.name, k->entry, g[0], g[1], g[2],
                       tn_cl_error(e), e);
    return 0;
}
