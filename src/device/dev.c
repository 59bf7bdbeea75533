#include "address.h"
#include "files.h"
#include "folder.h"
#include "machine.h"
#include "quirks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLICE_SECONDS 0.1 /* Windows resets a GPU after 2 s, a desktop stutters after much less */

static int open_context(tn_dev *d, tn_error *err)
{
    cl_int e = 0;
    tn_dev_cl *cl = d->cl;
    cl_context_properties props[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)cl->platform, 0};
    cl->ctx = clCreateContext(props, 1, &cl->id, NULL, NULL, &e);
    if (e) return tn_fail_cl(err, TN_ERR_DEVICE, e, "device '%s': cannot create a context (%s)", d->info.name, tn_cl_error(e));
    for (int q = TN_QUEUE_MAIN; q <= TN_QUEUE_COPY; q++) {
        cl->queue[q] = clCreateCommandQueue(cl->ctx, cl->id, 0, &e);
        if (e) return tn_fail_cl(err, TN_ERR_DEVICE, e, "device '%s': cannot create a queue (%s)", d->info.name, tn_cl_error(e));
    }
    return 0;
}

void tn_dev_narrow(tn_dev *d, size_t items)
{
    size_t group = 1;
    while (2 * group <= items) group *= 2;
    d->info.max_work_group = (unsigned)TN_MIN(group, (size_t)d->info.max_work_group);
    d->row_wg = TN_MIN(d->row_wg, (int)d->info.max_work_group);
}

static int dev_describe(tn_dev *d, int index, tn_error *err)
{
    tn_device_info **v;
    int n;
    cl_uint align_bits = 0;
    cl_device_fp_config fp = 0;
    TN_TRY(tn_device_list(&v, &n, err));
    int rc = tn_find_device(&d->cl->platform, &d->cl->id, index, err);
    if (!rc) d->info = *v[index];
    d->index = index;
    tn_device_list_free(v);
    TN_TRY(rc);
    d->quirk_flags = tn_quirk_flags(&d->info);
    d->caps = tn_device_caps(&d->info, d->cl->id);
    clGetDeviceInfo(d->cl->id, CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof align_bits, &align_bits, NULL);
    clGetDeviceInfo(d->cl->id, CL_DEVICE_SINGLE_FP_CONFIG, sizeof fp, &fp, NULL);
    d->flushes_denormals = !(fp & CL_FP_DENORM);
    d->host_free = tn_memory_free();
    d->align = TN_MAX((size_t)align_bits / 8, (size_t)256);
    if (d->info.type != TN_DEVICE_CPU || d->nice > 0) d->slice_seconds = SLICE_SECONDS;
    d->row_wg = d->info.type == TN_DEVICE_CPU ? 1 : (int)TN_MIN(d->info.max_work_group, 128u);
    return 0;
}

enum { TRIAL_SECONDS = 60 }; /* a few programs built, and a driver that resets a GPU that hangs */

/* Options that the device keeps. */
static int take_options(tn_dev *d, const tn_dev_options *o, tn_error *err)
{
    d->log = o->log;
    d->watch = o->watch;
    d->memory_limit = o->memory_limit;
    d->trial_seconds = TRIAL_SECONDS;
    d->nice = 1e-3 * o->nice;
    if (o->variants && o->variants[0] && !(d->variants = strdup(o->variants))) return tn_oom(err);
    if (o->helper && !(d->helper = strdup(o->helper))) return tn_oom(err);
    if (o->cache && !strcmp(o->cache, "off")) return 0;
    /* a folder that cannot be written is no reason to stop: kernels are built anew then */
    d->cache_dir = tn_cache_folder(o->cache);
    if (!d->cache_dir) return tn_oom(err);
    tn_sweep(d->cache_dir, NULL);
    return 0;
}

int tn_dev_open(tn_dev **out, int index, const tn_dev_options *o, tn_error *err)
{
    static const tn_dev_options defaults = {0};
    tn_dev *d = *out = calloc(1, sizeof *d);
    if (!d || !(d->cl = calloc(1, sizeof *d->cl))) {
        free(d);
        *out = NULL;
        return tn_oom(err);
    }
    int rc = take_options(d, o ? o : &defaults, err);
    if (!rc) rc = dev_describe(d, index, err);
    if (!rc) rc = open_context(d, err);
    if (!rc) tn_try_addresses(d);
    if (!rc) return 0;
    tn_dev_close(d);
    *out = NULL;
    return rc;
}

void tn_dev_close(tn_dev *d)
{
    if (!d) return;
    tn_dev_cl *cl = d->cl;
    for (int q = TN_QUEUE_MAIN; q <= TN_QUEUE_COPY; q++)
        if (cl->queue[q]) clFinish(cl->queue[q]);
    if (d->on_close) d->on_close();
    if (d->tuning_free) d->tuning_free(d->tuning);
    if (cl->maps) cl->maps_free(cl->maps);
    tn_programs_free(d);
    if (cl->answer) clReleaseMemObject(cl->answer);
    for (int q = TN_QUEUE_COPY; q >= TN_QUEUE_MAIN; q--)
        if (cl->queue[q]) clReleaseCommandQueue(cl->queue[q]);
    if (cl->ctx) clReleaseContext(cl->ctx);
    free(cl);
    free(d->variants);
    free(d->helper);
    free(d->cache_dir);
    free(d);
}

void tn_dev_identity(const tn_dev *d, char *out, size_t size)
{
    if (d->info.hardware[0]) snprintf(out, size, "%s", d->info.hardware);
    else snprintf(out, size, "%.40s %.40s %d", d->info.platform, d->info.name, d->index);
}

int tn_dev_finish(tn_dev *d, tn_error *err)
{
    TN_TRY(tn_dev_usable(d, err));
    d->blocking++;
    for (int q = TN_QUEUE_MAIN; q <= TN_QUEUE_COPY; q++) {
        const cl_int e = clFinish(d->cl->queue[q]);
        if (e) return tn_dev_failed(d, "waiting for the queue", 0, e, true, err);
    }
    return 0;
}

void tn_dev_rest(tn_dev *d)
{
    for (int q = TN_QUEUE_MAIN; q <= TN_QUEUE_COPY; q++) clFinish(d->cl->queue[q]);
}

int tn_dev_flush(tn_dev *d, tn_error *err)
{
    TN_TRY(tn_dev_usable(d, err));
    for (int q = TN_QUEUE_MAIN; q <= TN_QUEUE_COPY; q++) {
        const cl_int e = clFlush(d->cl->queue[q]);
        if (e) return tn_dev_failed(d, "flushing the queue", 0, e, false, err);
    }
    return 0;
}
