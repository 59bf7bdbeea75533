#include "tape.h"
#include "clock.h"
#include "slices.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { TAPE_LAUNCH, TAPE_FILL, TAPE_COPY, TAPE_CALL } tape_kind;

typedef struct {
    tape_kind kind;
    tn_note note;
    char *name; /* owned */
    cl_kernel k;
    tn_range range;
    tn_buffer *src, *dst;
    size_t src_off, dst_off, bytes;
    uint32_t pattern;
    tn_tape_fn fn;
    void *args;
    tn_slices slices;
} tape_entry;

struct tn_tape {
    tn_dev *dev;
    tn_note note;
    tape_entry *e;
    int n, cap;
    tn_buffer **regions; /* the workspace's */
    int n_regions;
    cl_command_queue timed; /* made when first profiled */
};

int tn_tape_new(tn_tape **out, tn_dev *d, tn_error *err)
{
    tn_tape *t = *out = calloc(1, sizeof *t);
    if (!t) return tn_oom(err);
    t->dev = d;
    return 0;
}

void tn_tape_free(tn_tape *t)
{
    if (!t) return;
    for (int i = 0; i < t->n; i++) {
        if (t->e[i].k) clReleaseKernel(t->e[i].k);
        free(t->e[i].args);
        free(t->e[i].name);
    }
    for (int i = t->n_regions - 1; i >= 0; i--) tn_buffer_free(t->regions[i]);
    if (t->timed) clReleaseCommandQueue(t->timed);
    free(t->regions);
    free(t->e);
    free(t);
}

void tn_tape_note(tn_tape *t, const tn_note *n)
{
    t->note = *n;
}

/* Takes the entry's kernel and args over, also when it fails. */
static int tape_append(tn_tape *t, tape_entry e, const char *name, tn_error *err)
{
    e.note = t->note;
    e.name = strdup(name);
    if (t->n == t->cap) {
        const int cap = t->cap ? 2 * t->cap : 256;
        tape_entry *v = realloc(t->e, sizeof *v * (size_t)cap);
        if (v) t->e = v, t->cap = cap;
    }
    if (!e.name || t->n == t->cap) {
        if (e.k) clReleaseKernel(e.k);
        free(e.name);
        free(e.args);
        return tn_oom(err);
    }
    t->e[t->n++] = e;
    t->note.flops = t->note.bytes = 0; /* of the node: counted once */
    return 0;
}

int tn_tape_launch(tn_tape *t, tn_kernel *k, const tn_arg *args, int n_args, const tn_range *r, tn_error *err)
{
    for (int i = 0; i < r->dims; i++)
        if (!r->global[i]) return 0;
    TN_TRY(tn_launch_fits(t->dev, k, r, err));
    cl_int code = 0;
    tape_entry e = {.kind = TAPE_LAUNCH, .range = *r, .k = clCreateKernel(k->program, k->entry, &code)};
    if (code)
        return tn_fail_cl(err, TN_ERR_DEVICE, code, "device '%s': kernel %s cannot be created (%s)", t->dev->info.name, k->entry,
                          tn_cl_error(code));
    const int rc = tn_set_args(k, e.k, args, n_args, err);
    if (!rc) return tape_append(t, e, k->entry, err);
    clReleaseKernel(e.k);
    return rc;
}

int tn_tape_fill(tn_tape *t, tn_buffer *b, size_t offset, size_t bytes, uint32_t pattern, tn_error *err)
{
    const tape_entry e = {.kind = TAPE_FILL, .dst = b, .dst_off = offset, .bytes = bytes, .pattern = pattern};
    return bytes ? tape_append(t, e, "a fill", err) : 0;
}

int tn_tape_copy(tn_tape *t, tn_buffer *src, size_t src_off, tn_buffer *dst, size_t dst_off, size_t bytes, tn_error *err)
{
    const tape_entry e = {.kind = TAPE_COPY, .src = src, .src_off = src_off, .dst = dst, .dst_off = dst_off, .bytes = bytes};
    return bytes ? tape_append(t, e, "a copy", err) : 0;
}

int tn_tape_call(tn_tape *t, const char *name, tn_tape_fn fn, const void *args, size_t bytes, tn_error *err)
{
    tape_entry e = {.kind = TAPE_CALL, .fn = fn, .args = malloc(bytes + 1)};
    if (!e.args) return tn_oom(err);
    memcpy(e.args, args, bytes);
    return tape_append(t, e, name, err);
}

int tn_tape_region(tn_buffer **out, tn_tape *t, tn_buffer *parent, size_t offset, size_t bytes, tn_error *err)
{
    for (int i = 0; i < t->n_regions; i++)
        if (t->regions[i]->parent == parent && t->regions[i]->offset == offset && t->regions[i]->bytes == bytes) {
            *out = t->regions[i];
            return 0;
        }
    tn_buffer **v = realloc(t->regions, sizeof *v * (size_t)(t->n_regions + 1));
    if (!v) return tn_oom(err);
    t->regions = v;
    TN_TRY(tn_buffer_sub(out, parent, offset, bytes, err));
    v[t->n_regions++] = *out;
    return 0;
}

/* On the main queue launches are timed and cut, elsewhere (a profile's) they are whole. */
static int play_launch(tn_tape *t, tape_entry *e, cl_command_queue q, cl_event *event, tn_error *err)
{
    tn_dev *d = t->dev;
    const bool cut = d->slice_seconds > 0 && q == d->cl->queue[TN_QUEUE_MAIN];
    return cut ? tn_slices_launch(d, e->k, e->name, &e->range, &e->slices, err)
               : tn_enqueue(d, q, e->k, e->name, &e->range, event, err);
}

static int play(tn_tape *t, tape_entry *e, cl_command_queue q, cl_event *event, tn_error *err)
{
    tn_dev *d = t->dev;
    cl_int code = 0;
    switch (e->kind) {
    case TAPE_LAUNCH: return play_launch(t, e, q, event, err);
    case TAPE_CALL: return e->fn(d, e->args, err);
    case TAPE_FILL:
        if (d->quirk_flags & TN_QUIRK_NO_FILL) return tn_buffer_fill(e->dst, e->dst_off, e->bytes, e->pattern, err);
        code = clEnqueueFillBuffer(q, e->dst->mem, &e->pattern, 4, e->dst_off, e->bytes / 4 * 4, 0, NULL, event);
        break;
    case TAPE_COPY:
        code = clEnqueueCopyBuffer(q, e->src->mem, e->dst->mem, e->src_off, e->dst_off, e->bytes, 0, NULL, event);
        break;
    }
    return code ? tn_dev_failed(d, e->name, e->bytes, code, false, err) : 0;
}

static int failed_at(const tape_entry *e, tn_error *err)
{
    char where[160];
    if (!e->note.layer) return err ? err->status : TN_ERR_DEVICE;
    snprintf(where, sizeof where, "layer %s, %s", e->note.layer, e->note.op);
    return tn_fail_in(err, where);
}

int tn_tape_play(tn_tape *t, tn_error *err)
{
    return tn_tape_play_part(t, 0, t->n, err);
}

int tn_tape_play_part(tn_tape *t, int first, int end, tn_error *err)
{
    TN_TRY(tn_dev_usable(t->dev, err));
    for (int i = first; i < end; i++)
        if (play(t, &t->e[i], t->dev->cl->queue[TN_QUEUE_MAIN], NULL, err)) return failed_at(&t->e[i], err);
    return 0;
}

static int timed_queue(tn_tape *t, tn_error *err)
{
    cl_int code = 0;
    if (t->timed) return 0;
    t->timed = clCreateCommandQueue(t->dev->cl->ctx, t->dev->cl->id, CL_QUEUE_PROFILING_ENABLE, &code);
    return code ? tn_dev_failed(t->dev, "a queue that takes times", 0, code, false, err) : 0;
}

/* What runs on the main queue: timed from outside, alone. */
static int time_outside(tn_tape *t, tape_entry *e, double *seconds, tn_error *err)
{
    cl_int code = clFinish(t->timed);
    const double begin = tn_now();
    int rc = code ? tn_dev_failed(t->dev, e->name, 0, code, true, err) : play(t, e, t->timed, NULL, err);
    if (!rc) rc = tn_dev_finish(t->dev, err);
    *seconds = tn_now() - begin;
    return rc;
}

static int read_times(tn_tape *t, cl_event *events, double *seconds, tn_error *err)
{
    const cl_int code = clFinish(t->timed);
    if (code) return tn_dev_failed(t->dev, "a profiled pass", 0, code, true, err);
    for (int i = 0; i < t->n; i++) {
        cl_ulong from = 0, to = 0;
        if (!events[i]) continue;
        clGetEventProfilingInfo(events[i], CL_PROFILING_COMMAND_START, sizeof from, &from, NULL);
        clGetEventProfilingInfo(events[i], CL_PROFILING_COMMAND_END, sizeof to, &to, NULL);
        seconds[i] = 1e-9 * (double)(to - from);
    }
    return 0;
}

/* A library's call, or a fill that is a kernel. */
static bool is_outside(const tn_tape *t, const tape_entry *e)
{
    return e->kind == TAPE_CALL || (e->kind == TAPE_FILL && (t->dev->quirk_flags & TN_QUIRK_NO_FILL));
}

bool tn_tape_has_events(const tn_tape *t)
{
    for (int i = 0; i < t->n; i++)
        if (is_outside(t, &t->e[i])) return false;
    return true;
}

int tn_tape_profile(tn_tape *t, double *seconds, tn_error *err)
{
    TN_TRY(tn_dev_finish(t->dev, err));
    TN_TRY(timed_queue(t, err));
    cl_event *events = calloc((size_t)t->n + 1, sizeof *events);
    int rc = events ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < t->n; i++) {
        tape_entry *e = &t->e[i];
        seconds[i] = 0;
        rc = is_outside(t, e) ? time_outside(t, e, &seconds[i], err) : play(t, e, t->timed, &events[i], err);
        if (rc) failed_at(e, err);
    }
    if (!rc) rc = read_times(t, events, seconds, err);
    for (int i = 0; events && i < t->n; i++)
        if (events[i]) clReleaseEvent(events[i]);
    free(events);
    return rc;
}

int tn_tape_queued(tn_tape *t, double *seconds, tn_error *err)
{
    cl_event event = NULL;
    cl_ulong from = 0, to = 0;
    TN_TRY(timed_queue(t, err));
    TN_TRY(play(t, &t->e[0], t->timed, &event, err));
    const cl_int code = clFinish(t->timed);
    if (!code) {
        clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_QUEUED, sizeof from, &from, NULL);
        clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_START, sizeof to, &to, NULL);
    }
    clReleaseEvent(event);
    *seconds = to > from ? 1e-9 * (double)(to - from) : 0;
    return code ? tn_dev_failed(t->dev, t->e[0].name, 0, code, true, err) : 0;
}

int tn_tape_count(const tn_tape *t)
{
    return t->n;
}

const char *tn_tape_entry(const tn_tape *t, int i, const tn_note **note)
{
    *note = &t->e[i].note;
    return t->e[i].name;
}
