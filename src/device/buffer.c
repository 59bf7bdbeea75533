#include "dev_cl.h"

#include <stdlib.h>
#include <string.h>

static int over_limit(const tn_dev *d, size_t bytes, const char *what, tn_error *err)
{
    return tn_fail(
        err, TN_ERR_MEMORY,
        "device '%s': %s needs %.1f MiB, over the limit of %.1f MiB (%.1f in use); raise --memory-limit or use a smaller "
        "model or micro_batch_size",
        d->info.name, what, (double)bytes / 1048576, (double)d->memory_limit / 1048576, (double)d->allocated / 1048576);
}

/* OpenCL may put the memory off to the first use: a write now brings a refusal now. */
static cl_int make_resident(tn_dev *d, cl_mem m, size_t bytes)
{
    const uint32_t zero = 0;
    if (d->untouched || d->info.unified_memory) return 0;
    return clEnqueueWriteBuffer(d->cl->queue[TN_QUEUE_MAIN], m, CL_TRUE, bytes - 4, 4, &zero, 0, NULL, NULL);
}

static int create(tn_buffer **out, tn_dev *d, size_t bytes, cl_mem_flags flags, const char *what, tn_error *err)
{
    *out = NULL;
    TN_TRY(tn_dev_usable(d, err));
    const bool counted = d->info.unified_memory || !(flags & CL_MEM_ALLOC_HOST_PTR);
    bytes = TN_ROUND_UP(TN_MAX(bytes, (size_t)4), (size_t)4);
    if (counted && d->memory_limit && d->allocated + bytes > d->memory_limit) return over_limit(d, bytes, what, err);
    tn_buffer *b = calloc(1, sizeof *b);
    if (!b) return tn_oom(err);
    cl_int e = 0;
    *b = (tn_buffer){.dev = d, .id = d->cl->buffers++, .bytes = bytes, .counted = counted};
    b->mem = clCreateBuffer(d->cl->ctx, CL_MEM_READ_WRITE | flags, bytes, NULL, &e);
    if (!e && counted) e = make_resident(d, b->mem, bytes);
    if (e) {
        if (b->mem) clReleaseMemObject(b->mem);
        free(b);
        const bool memory = e == CL_INVALID_BUFFER_SIZE || e == CL_MEM_OBJECT_ALLOCATION_FAILURE || e == CL_OUT_OF_RESOURCES ||
                            e == CL_OUT_OF_HOST_MEMORY;
        return tn_fail_cl(err, memory ? TN_ERR_MEMORY : TN_ERR_DEVICE, e,
                          "device '%s' refused %zu MiB for %s (%s); use a smaller batch, micro_batch_size or model", d->info.name,
                          bytes >> 20, what, tn_cl_error(e));
    }
    if (counted) d->allocated += bytes;
    d->peak = TN_MAX(d->peak, d->allocated);
    *out = b;
    return 0;
}

int tn_buffer_new(tn_buffer **out, tn_dev *d, size_t bytes, const char *what, tn_error *err)
{
    return create(out, d, bytes, 0, what, err);
}

static int make_room(tn_buffer *parent, tn_error *err)
{
    if (parent->n_regions < parent->room) return 0;
    const int room = parent->room ? 2 * parent->room : 16;
    tn_buffer **v = realloc(parent->regions, sizeof *v * (size_t)room);
    if (!v) return tn_oom(err);
    parent->regions = v;
    parent->room = room;
    return 0;
}

int tn_buffer_sub(tn_buffer **out, tn_buffer *parent, size_t offset, size_t bytes, tn_error *err)
{
    *out = NULL;
    tn_dev *d = parent->dev;
    TN_TRY(tn_dev_usable(d, err));
    TN_TRY(make_room(parent, err));
    tn_buffer *b = calloc(1, sizeof *b);
    if (!b) return tn_oom(err);
    cl_buffer_region r = {offset, bytes ? bytes : 4};
    cl_int e = 0;
    *b = (tn_buffer){.dev = d, .id = d->cl->buffers++, .bytes = r.size, .offset = offset, .parent = parent};
    b->mem = clCreateSubBuffer(parent->mem, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &r, &e);
    if (e) {
        free(b);
        return tn_dev_failed(d, "a sub-buffer", bytes, e, false, err);
    }
    parent->regions[parent->n_regions++] = *out = b;
    return 0;
}

/* NVIDIA's driver 580 crashes when a sub-buffer is released while one that was made after it from the same buffer is not: the
 * last made goes first, whatever the order in which they are given up. */
static void release_regions(tn_buffer *parent)
{
    while (parent->n_regions && parent->regions[parent->n_regions - 1]->freed) {
        tn_buffer *last = parent->regions[--parent->n_regions];
        clReleaseMemObject(last->mem);
        free(last);
    }
}

void tn_buffer_free(tn_buffer *b)
{
    if (!b) return;
    if (b->parent) {
        b->freed = true;
        release_regions(b->parent);
        return;
    }
    if (b->address) tn_dev_rest(b->dev); /* the driver does not know of kernels that were given the address */
    clReleaseMemObject(b->mem);
    if (b->counted) b->dev->allocated -= b->bytes;
    free(b->regions);
    free(b);
}

size_t tn_buffer_size(const tn_buffer *b)
{
    return b->bytes;
}

tn_dev *tn_buffer_device(const tn_buffer *b)
{
    return b->dev;
}

int tn_buffer_write(tn_buffer *b, size_t offset, const void *src, size_t bytes, tn_error *err)
{
    if (!bytes) return 0;
    tn_dev *d = b->dev;
    TN_TRY(tn_dev_usable(d, err));
    d->blocking++;
    cl_int e = clEnqueueWriteBuffer(d->cl->queue[TN_QUEUE_MAIN], b->mem, CL_TRUE, offset, bytes, src, 0, NULL, NULL);
    return e ? tn_dev_failed(d, "an upload", bytes, e, true, err) : 0;
}

int tn_buffer_read(tn_buffer *b, size_t offset, void *dst, size_t bytes, tn_error *err)
{
    if (!bytes) return 0;
    tn_dev *d = b->dev;
    TN_TRY(tn_dev_usable(d, err));
    d->blocking++;
    cl_int e = clEnqueueReadBuffer(d->cl->queue[TN_QUEUE_MAIN], b->mem, CL_TRUE, offset, bytes, dst, 0, NULL, NULL);
    return e ? tn_dev_failed(d, "a download", bytes, e, true, err) : 0;
}

/* For drivers whose own fill is wrong or slow on large buffers. */
static int fill_by_kernel(tn_buffer *b, size_t offset, size_t bytes, uint32_t pattern, tn_error *err)
{
    enum { EACH = 8, GROUP = 256, MOST = 1 << 20 }; /* words of an item, items */
    tn_kernel *k;
    TN_TRY(tn_kernel_get(&k, b->dev, "portable/fill.cl", "fill", "", err));
    const size_t n = bytes / 4, items = TN_ROUND_UP(TN_MIN(TN_CEIL_DIV(n, (size_t)EACH), (size_t)MOST), (size_t)GROUP);
    const tn_arg args[] = {TN_BUF(b),        TN_UINT(offset / 4), TN_UINT(offset / 4 >> 32), TN_UINT(n),
                           TN_UINT(n >> 32), TN_UINT(items),      TN_UINT(pattern)};
    const tn_range r = {1, {items}, {TN_MIN((size_t)GROUP, b->dev->info.max_work_group)}};
    return tn_launch(b->dev, k, args, TN_COUNT(args), &r, err);
}

int tn_buffer_fill(tn_buffer *b, size_t offset, size_t bytes, uint32_t pattern, tn_error *err)
{
    if (!bytes) return 0;
    tn_dev *d = b->dev;
    TN_TRY(tn_dev_usable(d, err));
    if (d->quirk_flags & TN_QUIRK_NO_FILL) return fill_by_kernel(b, offset, bytes, pattern, err);
    cl_int e = clEnqueueFillBuffer(d->cl->queue[TN_QUEUE_MAIN], b->mem, &pattern, 4, offset, bytes / 4 * 4, 0, NULL, NULL);
    return e ? tn_dev_failed(d, "a fill", bytes, e, false, err) : 0;
}

int tn_buffer_copy(tn_buffer *src, size_t so, tn_buffer *dst, size_t dof, size_t bytes, tn_error *err)
{
    if (!bytes) return 0;
    tn_dev *d = src->dev;
    TN_TRY(tn_dev_usable(d, err));
    cl_int e = clEnqueueCopyBuffer(d->cl->queue[TN_QUEUE_MAIN], src->mem, dst->mem, so, dof, bytes, 0, NULL, NULL);
    return e ? tn_dev_failed(d, "a copy", bytes, e, false, err) : 0;
}

int tn_staging_new(tn_staging *s, tn_dev *d, size_t bytes, tn_error *err)
{
    *s = (tn_staging){.bytes = bytes};
    TN_TRY(create(&s->buffer, d, bytes, CL_MEM_ALLOC_HOST_PTR, "transfers", err));
    cl_int e = 0;
    s->host = clEnqueueMapBuffer(d->cl->queue[TN_QUEUE_MAIN], s->buffer->mem, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0, bytes, 0,
                                 NULL, NULL, &e);
    if (!e) return 0;
    tn_buffer_free(s->buffer);
    *s = (tn_staging){0};
    return tn_dev_failed(d, "mapping memory for transfers", bytes, e, true, err);
}

void tn_staging_free(tn_staging *s)
{
    if (!s->buffer) return;
    tn_dev *d = s->buffer->dev;
    clEnqueueUnmapMemObject(d->cl->queue[TN_QUEUE_MAIN], s->buffer->mem, s->host, 0, NULL, NULL);
    clFinish(d->cl->queue[TN_QUEUE_MAIN]);
    tn_buffer_free(s->buffer);
    *s = (tn_staging){0};
}

int tn_buffer_map(tn_buffer *b, size_t offset, size_t bytes, bool for_writing, void **host, tn_error *err)
{
    tn_dev *d = b->dev;
    TN_TRY(tn_dev_usable(d, err));
    d->blocking++;
    cl_int e = 0;
    *host = clEnqueueMapBuffer(d->cl->queue[TN_QUEUE_MAIN], b->mem, CL_TRUE, for_writing ? CL_MAP_WRITE : CL_MAP_READ, offset,
                               bytes, 0, NULL, NULL, &e);
    return e ? tn_dev_failed(d, "mapping a buffer", bytes, e, true, err) : 0;
}

int tn_buffer_unmap(tn_buffer *b, void *host, tn_error *err)
{
    cl_int e = clEnqueueUnmapMemObject(b->dev->cl->queue[TN_QUEUE_MAIN], b->mem, host, 0, NULL, NULL);
    return e ? tn_dev_failed(b->dev, "unmapping a buffer", 0, e, false, err) : 0;
}
