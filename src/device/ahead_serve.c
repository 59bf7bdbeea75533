/* A helper's side of ahead.h. */
#include "ahead_list.h"
#include "dev_cl.h"
#include "entry.h"
#include "files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void stamp_of(char *out, size_t n)
{
    snprintf(out, n, "tracknet-ahead-1 %zu %016llx", sizeof(tn_ahead_job), tn_cl_sources_hash());
}

void tn_ahead_stamp(tn_ahead_list *list, const tn_dev *d)
{
    stamp_of(list->stamp, sizeof list->stamp);
    snprintf(list->cache_dir, sizeof list->cache_dir, "%s", d->cache_dir);
    list->device = d->index;
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

/* Programs as long as there are any and the process lives that wants them. One that does not build says so where it is used. */
static void serve(tn_dev *d, tn_ahead_list *list)
{
    const pid_t parent = getppid();
    for (int p = atomic_fetch_add(&list->next, 1); p < list->programs && getppid() == parent;
         p = atomic_fetch_add(&list->next, 1)) {
        for (int i = 0; i < list->n; i++)
            if (list->job[i].program == p) (void)prepare(d, &list->job[i], list->buffer_bytes, NULL);
        atomic_fetch_add(&list->done, 1);
    }
}

/* A list whole and of this very library, or NULL. */
static tn_ahead_list *map_list(int fd, size_t *size)
{
    struct stat st;
    char stamp[64] = "";
    if (fstat(fd, &st) || st.st_size < (off_t)sizeof(tn_ahead_list)) return NULL;
    *size = (size_t)st.st_size;
    tn_ahead_list *list = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (list == MAP_FAILED) return NULL;
    stamp_of(stamp, sizeof stamp);
    if (!memcmp(stamp, list->stamp, sizeof stamp) && list->n >= 0 && list->programs >= 0 &&
        *size == sizeof *list + sizeof *list->job * (size_t)list->n)
        return list;
    munmap(list, *size);
    return NULL;
}

int tn_device_build_ahead(int fd, tn_error *err)
{
    TN_ENTRY(err);
    size_t size = 0;
    tn_dev *d;
    setenv("POCL_AFFINITY", "0", 1);          /* helpers share the cores as they come, */
    setenv("POCL_MAX_PTHREAD_COUNT", "1", 1); /* and compile in one thread each */
    tn_ahead_list *list = map_list(fd, &size);
    if (!list) return tn_fail(err, TN_ERR_ARGUMENT, "build-kernels is for tracknet itself: its input is no list of kernels");
    list->cache_dir[sizeof list->cache_dir - 1] = 0;
    const tn_dev_options o = {.cache = list->cache_dir};
    int rc = tn_dev_open(&d, list->device, &o, err);
    if (!rc) serve(d, list);
    if (!rc) tn_dev_close(d);
    munmap(list, size);
    return rc;
}
