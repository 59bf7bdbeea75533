/* Events, and transfers that do not stop the host. */
#include "dev_cl.h"

#include <stdlib.h>

static int keep_event(tn_event **out, tn_dev *d, cl_event e, tn_error *err)
{
    tn_event *v = *out = malloc(sizeof *v);
    if (!v) {
        clReleaseEvent(e);
        return tn_oom(err);
    }
    *v = (tn_event){d, e};
    return 0;
}

int tn_buffer_write_async(tn_buffer *b, tn_queue q, size_t offset, const void *src, size_t bytes, const tn_event *after,
                          tn_event **done, tn_error *err)
{
    tn_dev *d = b->dev;
    cl_event e = NULL;
    TN_TRY(tn_dev_usable(d, err));
    const cl_int rc = clEnqueueWriteBuffer(d->cl->queue[q], b->mem, CL_FALSE, offset, bytes, src, after ? 1 : 0,
                                           after ? &after->e : NULL, done ? &e : NULL);
    if (rc) return tn_dev_failed(d, "an upload", bytes, rc, false, err);
    return done ? keep_event(done, d, e, err) : 0;
}

int tn_buffer_read_async(tn_buffer *b, tn_queue q, size_t offset, void *dst, size_t bytes, const tn_event *after, tn_event **done,
                         tn_error *err)
{
    tn_dev *d = b->dev;
    cl_event e = NULL;
    TN_TRY(tn_dev_usable(d, err));
    const cl_int rc = clEnqueueReadBuffer(d->cl->queue[q], b->mem, CL_FALSE, offset, bytes, dst, after ? 1 : 0,
                                          after ? &after->e : NULL, done ? &e : NULL);
    if (rc) return tn_dev_failed(d, "a download", bytes, rc, false, err);
    return done ? keep_event(done, d, e, err) : 0;
}

int tn_buffer_copy_async(tn_buffer *src, tn_buffer *dst, tn_queue q, size_t bytes, const tn_event *after, tn_event **done,
                         tn_error *err)
{
    tn_dev *d = src->dev;
    cl_event e = NULL;
    TN_TRY(tn_dev_usable(d, err));
    const cl_int rc = clEnqueueCopyBuffer(d->cl->queue[q], src->mem, dst->mem, 0, 0, bytes, after ? 1 : 0, after ? &after->e : NULL,
                                          done ? &e : NULL);
    if (rc) return tn_dev_failed(d, "a copy", bytes, rc, false, err);
    return done ? keep_event(done, d, e, err) : 0;
}

int tn_queue_wait(tn_dev *d, tn_queue q, const tn_event *e, tn_error *err)
{
    if (!e) return 0;
    TN_TRY(tn_dev_usable(d, err));
    const cl_int rc = clEnqueueBarrierWithWaitList(d->cl->queue[q], 1, &e->e, NULL);
    return rc ? tn_dev_failed(d, "a barrier", 0, rc, false, err) : 0;
}

int tn_queue_mark(tn_dev *d, tn_queue q, tn_event **done, tn_error *err)
{
    cl_event e = NULL;
    TN_TRY(tn_dev_usable(d, err));
    const cl_int rc = clEnqueueMarkerWithWaitList(d->cl->queue[q], 0, NULL, &e);
    if (rc) return tn_dev_failed(d, "a marker", 0, rc, false, err);
    return keep_event(done, d, e, err);
}

int tn_event_wait(const tn_event *e, tn_error *err)
{
    if (!e) return 0;
    TN_TRY(tn_dev_usable(e->dev, err));
    e->dev->blocking++;
    const cl_int rc = clWaitForEvents(1, &e->e);
    return rc ? tn_dev_failed(e->dev, "waiting for a command", 0, rc, true, err) : 0;
}

int tn_event_join(const tn_event *e, tn_error *err)
{
    if (!e) return 0;
    const cl_int rc = clWaitForEvents(1, &e->e);
    if (!rc) return 0;
    return tn_fail_cl(err, TN_ERR_DEVICE, rc, "device '%s': what another device waited for failed (%s)", e->dev->info.name,
                      tn_cl_error(rc));
}

int tn_event_done(const tn_event *e, tn_error *err)
{
    if (!e) return 1;
    cl_int status = CL_QUEUED;
    TN_TRY(tn_dev_usable(e->dev, err));
    const cl_int rc = clGetEventInfo(e->e, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL);
    if (rc || status < 0) return tn_dev_failed(e->dev, "a command", 0, rc ? rc : status, true, err);
    return status == CL_COMPLETE;
}

void tn_event_free(tn_event *e)
{
    if (!e) return;
    clReleaseEvent(e->e);
    free(e);
}
