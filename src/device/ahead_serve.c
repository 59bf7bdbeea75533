/* A helper's side of ahead.h. */
#include "ahead_list.h"
#include "dev_cl.h"
#include "entry.h"
#include "files.h"
#include "helper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static void stamp_of(char *out, size_t n)
{
    snprintf(out, n, "tracknet-ahead-2 %zu %016llx", sizeof(tn_ahead_job), tn_cl_sources_hash());
}

void tn_ahead_stamp(tn_ahead_order *o, const tn_dev *d)
{
    stamp_of(o->stamp, sizeof o->stamp);
    snprintf(o->cache_dir, sizeof o->cache_dir, "%s", d->cache_dir);
    o->device = d->index;
}

/* Memory of zeros that takes room only where it is touched. */
typedef struct {
    void *at;
    size_t bytes;
    cl_mem mem;
} zeros;

static int zeros_new(zeros *z, tn_dev *d, size_t bytes, tn_error *err)
{
    cl_int e = 0;
    *z = (zeros){.bytes = bytes};
    z->at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (z->at == MAP_FAILED) return tn_oom(err);
    z->mem = clCreateBuffer(d->cl->ctx, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, bytes, z->at, &e);
    return e ? tn_dev_failed(d, "a buffer of zeros", bytes, e, false, err) : 0;
}

static void zeros_free(zeros *z)
{
    if (z->mem) clReleaseMemObject(z->mem);
    if (z->at && z->at != MAP_FAILED) munmap(z->at, z->bytes);
}

/* One group, which is when PoCL compiles the kernel for groups of that size. Each buffer is one of its own. */
static int run_group(tn_dev *d, const tn_ahead_job *j, size_t bytes, tn_error *err)
{
    zeros z[TN_AHEAD_ARGS] = {{0}};
    tn_kernel *k;
    tn_range r = j->range;
    int rc = tn_kernel_get(&k, d, j->file, j->entry, j->options, err);
    for (int i = 0; !rc && i < j->n_args; i++) {
        const tn_arg *a = &j->args[i];
        if (!a->size) rc = zeros_new(&z[i], d, bytes, err);
        if (rc) break;
        const cl_int e =
            clSetKernelArg(k->k, (cl_uint)i, a->size ? a->size : sizeof z[i].mem, a->size ? (const void *)&a->v : &z[i].mem);
        if (e) rc = tn_dev_failed(d, j->entry, 0, e, false, err);
    }
    for (int i = 0; i < r.dims; i++) r.global[i] = r.local[i];
    if (!rc) rc = tn_enqueue(d, d->cl->queue[TN_QUEUE_MAIN], k->k, j->entry, &r, NULL, err);
    if (!rc) rc = tn_dev_finish(d, err);
    for (int i = 0; i < j->n_args; i++) zeros_free(&z[i]);
    return rc;
}

static int prepare(tn_dev *d, const tn_ahead_job *j, size_t bytes, tn_error *err)
{
    tn_kernel *k;
    if (d->quirk_flags & TN_QUIRK_OBJECTS) return run_group(d, j, bytes, err);
    return tn_kernel_get(&k, d, j->file, j->entry, j->options, err);
}

/* An order whole and of this very library. */
static bool read_order(tn_ahead_order *o, int fd)
{
    char stamp[sizeof o->stamp] = "";
    stamp_of(stamp, sizeof stamp);
    if (!tn_helper_read(fd, o, sizeof *o) || memcmp(stamp, o->stamp, sizeof stamp) != 0 || o->n < 1) return false;
    o->cache_dir[sizeof o->cache_dir - 1] = 0;
    return true;
}

/* The device that the order is for, which stays open as long as orders are for it. */
static int device_of(tn_dev **d, const tn_ahead_order *o, tn_error *err)
{
    const tn_dev_options options = {.cache = o->cache_dir};
    if (*d && (*d)->index == o->device && !strcmp((*d)->cache_dir, o->cache_dir)) return 0;
    tn_dev_close(*d);
    *d = NULL;
    return tn_dev_open(d, o->device, &options, err);
}

/* One that does not build says so where it is used. */
static bool serve(tn_dev *d, const tn_ahead_order *o, int fd)
{
    tn_ahead_job *v = malloc(sizeof *v * (size_t)o->n);
    const bool whole = v && tn_helper_read(fd, v, sizeof *v * (size_t)o->n);
    for (int i = 0; whole && i < o->n; i++) (void)prepare(d, &v[i], o->buffer_bytes, NULL);
    free(v);
    return whole && send(fd, "", 1, MSG_NOSIGNAL) == 1;
}

int tn_device_build_ahead(int fd, tn_error *err)
{
    TN_ENTRY(err);
    tn_ahead_order o;
    tn_dev *d = NULL;
    int rc = 0;
    setenv("POCL_AFFINITY", "0", 1);          /* helpers share the cores as they come, */
    setenv("POCL_MAX_PTHREAD_COUNT", "1", 1); /* and compile in one thread each */
    if (!read_order(&o, fd))
        return tn_fail(err, TN_ERR_ARGUMENT, "build-kernels is for tracknet itself: its input is no list of kernels");
    do rc = device_of(&d, &o, err);
    while (!rc && serve(d, &o, fd) && read_order(&o, fd));
    tn_dev_close(d);
    return rc;
}
