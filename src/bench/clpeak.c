/* Reading bandwidth and launch latency by clpeak's definitions (github.com/krrishnarraj/clpeak 1.1), for figures that stand beside
 * its: the size of its buffer, its two ways to share that among items, its five widths, as many launches in a row and one wait; and
 * from queued to start by events, launch by launch, a mean. */
#include "clock.h"
#include "parts.h"
#include "text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { WIDTHS = 5, WAYS = 2, FETCHES = 16, LARGEST_GROUP = 256, MOST_DIGIT = 7, PERIOD = 1 << 20, LAUNCHES = 20000 };
#define LONGEST 10 /* seconds for them: not so many where each takes long */

typedef struct {
    tn_bench *b;
    tn_buffer *from, *sums;
    const float *digits; /* [PERIOD], which `from` has over and over */
    size_t n, group;     /* floats; items of a group */
    int wide, far;
    double seconds; /* a launch, looked at once */
} fetching;

static const char *const entries[WAYS] = {"fetch_near", "fetch_far"}, *const words[WAYS] = {"near", "far"};

static size_t group_of(const tn_bench *b)
{
    return TN_MIN(b->info.max_work_group, (unsigned)LARGEST_GROUP);
}

/* As clpeak rounds. */
static size_t floats_of(const tn_device_info *d, size_t group)
{
    const size_t most = (size_t)1 << (d->type == TN_DEVICE_CPU ? 27 : 29), all = d->largest_allocation / sizeof(float) / 2;
    const size_t whole = group * FETCHES * 16;
    return TN_MIN(most, all) / whole * whole;
}

static void name_of(char out[16], int wide)
{
    if (wide > 1) snprintf(out, 16, "float%d", wide);
    else snprintf(out, 16, "float");
}

static int fetch(const fetching *f, size_t items, tn_error *err)
{
    char options[64], vector[16];
    name_of(vector, f->wide);
    snprintf(options, sizeof options, "-DVEC=%s -DWIDE=%d -DWG=%zu", vector, f->wide, f->group);
    const tn_arg args[] = {TN_BUF(f->from), TN_BUF(f->sums), TN_UINT(items)};
    const tn_range r = {1, {items}, {f->group}};
    return tn_op_run(&f->b->c, "portable/fetch.cl", entries[f->far], options, args, TN_COUNT(args), &r, err);
}

static size_t items_of(const fetching *f)
{
    return f->n / (size_t)f->wide / FETCHES;
}

static int launch_and_flush(void *self, tn_error *err)
{
    const fetching *f = self;
    TN_TRY(fetch(f, items_of(f), err));
    return tn_dev_flush(f->b->dev, err);
}

static int poison(void *self, tn_error *err)
{
    const fetching *f = self;
    return tn_buffer_fill(f->sums, 0, 4 * items_of(f), 0x7fc07fc0u, err);
}

static int summed(void *self, double *share, tn_error *err)
{
    const fetching *f = self;
    const size_t items = items_of(f);
    double sum = 0, want = 0;
    float *v = malloc(4 * items + 1);
    int rc = v ? tn_buffer_read(f->sums, 0, v, 4 * items, err) : tn_oom(err);
    for (size_t i = 0; !rc && i < items; i++) sum += v[i];
    for (size_t i = 0; i < f->n; i++) want += f->digits[i % PERIOD];
    if (!(sum == want)) *share = NAN;
    free(v);
    return rc;
}

/* Drawn once, and copied over the rest by the device. */
static int fill(fetching *f, float *digits, tn_error *err)
{
    tn_rng r = tn_rng_named(1, "clpeak");
    const size_t all = 4 * f->n;
    size_t have = TN_MIN(all, 4 * (size_t)PERIOD);
    for (size_t i = 0; i < PERIOD; i++) digits[i] = (float)tn_rng_below(&r, MOST_DIGIT + 1);
    f->digits = digits;
    TN_TRY(tn_buffer_write(f->from, 0, digits, have, err));
    for (; have < all; have += TN_MIN(have, all - have))
        TN_TRY(tn_buffer_copy(f->from, 0, f->from, have, TN_MIN(have, all - have), err));
    return tn_dev_finish(f->b->dev, err);
}

/* One launch after one that builds. */
static int look_at(fetching *f, tn_error *err)
{
    TN_TRY(launch_and_flush(f, err));
    TN_TRY(tn_dev_finish(f->b->dev, err));
    const double begin = tn_now();
    TN_TRY(launch_and_flush(f, err));
    TN_TRY(tn_dev_finish(f->b->dev, err));
    f->seconds = tn_now() - begin;
    return 0;
}

static int faster(const void *a, const void *b)
{
    const double x = ((const fetching *)a)->seconds, y = ((const fetching *)b)->seconds;
    return x > y ? 1 : x < y ? -1 : 0;
}

static int measure_width(fetching *f, tn_error *err)
{
    char id[80], name[96];
    tn_bench *b = f->b;
    char vector[16];
    name_of(vector, f->wide);
    snprintf(id, sizeof id, "clpeak.read.%s", vector);
    snprintf(name, sizeof name, "read as by clpeak, %s, %s, %.4g MiB", vector, words[f->far], (double)f->n / 262144);
    const tn_bench_job j = {.id = id,
                            .group = "as clpeak has it",
                            .name = name,
                            .unit = "B/s",
                            .work = 4 * (double)f->n,
                            .each = b->info.type == TN_DEVICE_CPU ? 20 : 50,
                            .run = launch_and_flush,
                            .runs = f,
                            .poison = poison,
                            .compare = summed,
                            .self = f};
    return tn_bench_measure(b, &j, err);
}

/* Each width by the faster of its two ways; the fastest width first. */
static int all_widths(fetching *like, tn_error *err)
{
    fetching best[WIDTHS];
    for (int i = 0; i < WIDTHS; i++) {
        fetching way[WAYS] = {*like, *like};
        for (int far = 0; far < WAYS; far++) {
            way[far].wide = 1 << i;
            way[far].far = far;
            TN_TRY(look_at(&way[far], err));
        }
        best[i] = way[way[1].seconds < way[0].seconds];
    }
    qsort(best, WIDTHS, sizeof *best, faster);
    for (int i = 0; i < WIDTHS; i++) {
        char what[16];
        name_of(what, best[i].wide);
        if (tn_bench_has_time(like->b, i, WIDTHS, what)) TN_TRY(measure_width(&best[i], err));
    }
    return 0;
}

/* A group for each unit, whose items read 16 floats; the mean, as it is whatever came between. Some drivers' events leave it out:
 * then there is no figure. */
static int latency(fetching *f, tn_error *err)
{
    const tn_bench_job j = {
        .id = "clpeak.latency", .group = "as clpeak has it", .name = "kernel launch latency as by clpeak", .unit = "s"};
    double sum = 0, seconds;
    int n = 0;
    bool known = true;
    tn_tape *t;
    TN_TRY(tn_tape_new(&t, f->b->dev, err));
    f->b->c.tape = t;
    int rc = fetch(f, items_of(f), err);
    f->b->c.tape = NULL;
    for (int i = 0; !rc && i < 2; i++) rc = tn_tape_queued(t, &seconds, err);
    for (const double begin = tn_now(); !rc && known && n < LAUNCHES && tn_now() - begin < LONGEST; n++) {
        rc = tn_tape_queued(t, &seconds, err);
        known = seconds > 1e-7; /* as launches.c has it */
        sum += seconds;
    }
    tn_tape_free(t);
    const double mean = sum / TN_MAX(n, 1);
    return rc || !known ? rc : tn_bench_add(f->b, &j, &mean, 1, NULL, err);
}

static int with_buffers(tn_bench *b, size_t floats, int (*measure)(fetching *, tn_error *), tn_error *err)
{
    fetching f = {.b = b, .n = floats, .group = group_of(b), .wide = 1};
    float *digits = malloc(PERIOD * sizeof *digits);
    int rc = digits ? tn_buffer_new(&f.from, b->dev, 4 * f.n, "a measurement", err) : tn_oom(err);
    if (!rc) rc = tn_buffer_new(&f.sums, b->dev, 4 * f.n / FETCHES, "a measurement", err);
    if (!rc) rc = fill(&f, digits, err);
    if (!rc) rc = measure(&f, err);
    tn_buffer_free(f.sums);
    tn_buffer_free(f.from);
    free(digits);
    return rc;
}

int tn_bench_clpeak_read(tn_bench *b, tn_error *err)
{
    return with_buffers(b, floats_of(&b->info, group_of(b)), all_widths, err);
}

int tn_bench_clpeak_launch(tn_bench *b, tn_error *err)
{
    return with_buffers(b, group_of(b) * b->info.compute_units * FETCHES, latency, err);
}
