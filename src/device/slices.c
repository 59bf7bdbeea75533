#include "slices.h"
#include "clock.h"

#include <math.h>
#include <time.h>

/* What may wait in the queue where nobody asked for pauses, seconds. */
static const double most_queued = 2;

/* A launch along its slowest dimension. */
typedef struct {
    cl_kernel k;
    const char *name;
    const tn_range *r;
    size_t item, groups; /* items of a group; groups */
} line;

static int wait_for_all(tn_dev *d, tn_error *err)
{
    const cl_int e = clFinish(d->cl->queue[TN_QUEUE_MAIN]);
    d->queued = 0;
    d->blocking++;
    return e ? tn_dev_failed(d, "waiting for a slice of a kernel", 0, e, true, err) : 0;
}

static void pause_for(double seconds)
{
    const struct timespec t = {(time_t)seconds, (long)(1e9 * fmod(seconds, 1))};
    if (seconds > 0) nanosleep(&t, NULL);
}

/* Lets the device come to rest where as much waits as may. */
static int pace(tn_dev *d, double seconds, tn_error *err)
{
    d->queued += seconds;
    if (d->queued < (d->nice > 0 ? d->slice_seconds : most_queued)) return 0;
    TN_TRY(wait_for_all(d, err));
    pause_for(d->nice);
    return 0;
}

static int enqueue(tn_dev *d, const line *l, size_t first, size_t groups, tn_error *err)
{
    const size_t from = first * l->item;
    return tn_enqueue_part(d, d->cl->queue[TN_QUEUE_MAIN], l->k, l->name, l->r, from, from + groups * l->item, err);
}

static int enqueue_timed(tn_dev *d, const line *l, size_t first, size_t groups, double *seconds, tn_error *err)
{
    const double begin = tn_now();
    int rc = enqueue(d, l, first, groups, err);
    if (!rc) rc = wait_for_all(d, err);
    *seconds = tn_now() - begin;
    pause_for(d->nice > 0 && *seconds >= d->slice_seconds ? d->nice : 0);
    return rc;
}

/* The first group alone, since drivers finish compiling at a first launch; a few more with the clock; then the rest as the clock
 * says. */
static int measure(tn_dev *d, const line *l, tn_slices *s, tn_error *err)
{
    double first = 0, sample = 0, t = 0, rest = 0;
    const size_t few = TN_MAX(l->groups / 32, (size_t)1);
    TN_TRY(wait_for_all(d, err));
    TN_TRY(enqueue_timed(d, l, 0, 1, &first, err));
    size_t done = 1;
    if (l->groups > 1) {
        const size_t n = TN_MIN(few, l->groups - 1);
        TN_TRY(enqueue_timed(d, l, done, n, &sample, err));
        done += n;
        sample /= (double)n;
    } else {
        sample = first;
    }
    const double fit = TN_MAX(d->slice_seconds / TN_MAX(sample, 1e-9), 1.0);
    const size_t most = fit < (double)l->groups ? (size_t)fit : l->groups;
    for (; done < l->groups; done += TN_MIN(most, l->groups - done), rest += t)
        TN_TRY(enqueue_timed(d, l, done, TN_MIN(most, l->groups - done), &t, err));
    *s = (tn_slices){true, l->groups > 1 ? (double)l->groups * sample : first, most < l->groups ? most * l->item : 0};
    s->seconds = TN_MIN(s->seconds, first + sample * (double)few + rest);
    return 0;
}

/* Nothing draws a desktop on a CPU device, which compiles a kernel once more for launches that begin elsewhere than at 0; and what
 * has few items is over soon. */
static bool stays_whole(const tn_dev *d, const line *l)
{
    enum { FEW_ITEMS = 1 << 16 };
    size_t items = 1;
    for (int i = 0; i < l->r->dims; i++) items *= l->r->global[i];
    return d->info.type == TN_DEVICE_CPU || items < FEW_ITEMS;
}

static int measure_whole(tn_dev *d, const line *l, tn_slices *s, tn_error *err)
{
    *s = (tn_slices){.known = true};
    TN_TRY(wait_for_all(d, err));
    return enqueue_timed(d, l, 0, l->groups, &s->seconds, err);
}

int tn_slices_launch(tn_dev *d, cl_kernel k, const char *name, const tn_range *r, tn_slices *s, tn_error *err)
{
    const int last = r->dims - 1;
    if (!r->local[0]) return tn_enqueue(d, d->cl->queue[TN_QUEUE_MAIN], k, name, r, NULL, err);
    const line l = {k, name, r, r->local[last], TN_CEIL_DIV(r->global[last], r->local[last])};
    if (!l.groups) return 0;
    if (!s->known) return stays_whole(d, &l) ? measure_whole(d, &l, s, err) : measure(d, &l, s, err);
    const size_t step = s->items ? s->items / l.item : l.groups;
    for (size_t at = 0; at < l.groups; at += step) {
        const size_t n = TN_MIN(step, l.groups - at);
        TN_TRY(enqueue(d, &l, at, n, err));
        TN_TRY(pace(d, s->seconds * (double)n / (double)l.groups, err));
    }
    return 0;
}
