/* Between the host's memory and the device's. */
#include "parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    tn_bench *b;
    tn_buffer *on;     /* the device's */
    uint8_t *pageable; /* random */
    uint8_t *other;    /* where downloads go */
    tn_staging pinned;
    size_t bytes;
    bool back;
    uint8_t *landed; /* a download's target */
} transfer;

static int pageable_run(void *self, tn_error *err)
{
    transfer *t = self;
    t->landed = t->other;
    if (t->back) return tn_buffer_read(t->on, 0, t->other, t->bytes, err);
    return tn_buffer_write(t->on, 0, t->pageable, t->bytes, err);
}

static int pinned_run(void *self, tn_error *err)
{
    transfer *t = self;
    t->landed = t->pinned.host;
    if (t->back) return tn_buffer_read_async(t->on, TN_QUEUE_MAIN, 0, t->pinned.host, t->bytes, NULL, NULL, err);
    return tn_buffer_write_async(t->on, TN_QUEUE_MAIN, 0, t->pinned.host, t->bytes, NULL, NULL, err);
}

static int mapped_run(void *self, tn_error *err)
{
    transfer *t = self;
    void *host;
    t->landed = t->other;
    TN_TRY(tn_buffer_map(t->on, 0, t->bytes, !t->back, &host, err));
    if (t->back) memcpy(t->other, host, t->bytes);
    else memcpy(host, t->pageable, t->bytes);
    return tn_buffer_unmap(t->on, host, err);
}

static const struct {
    const char *name;
    int (*run)(void *, tn_error *);
} ways[] = {{"pageable", pageable_run}, {"pinned", pinned_run}, {"mapped", mapped_run}};

static int poison_target(void *self, tn_error *err)
{
    transfer *t = self;
    memset(t->other, 0xff, t->bytes);
    if (t->back) {
        memset(t->pinned.host, 0xff, t->bytes);
        return tn_buffer_write(t->on, 0, t->pageable, t->bytes, err);
    }
    memcpy(t->pinned.host, t->pageable, t->bytes);
    return tn_buffer_fill(t->on, 0, t->bytes, 0xffffffffu, err);
}

static int arrived(void *self, double *share, tn_error *err)
{
    transfer *t = self;
    if (!t->back) {
        TN_TRY(tn_buffer_read(t->on, 0, t->other, t->bytes, err));
        t->landed = t->other;
    }
    if (memcmp(t->landed, t->pageable, t->bytes) != 0) *share = NAN;
    return 0;
}

static int measure_way(transfer *t, int way, tn_error *err)
{
    char id[80], name[96];
    const char *where = t->back ? "from-device" : "to-device", *words = t->back ? "to the host" : "to the device";
    snprintf(id, sizeof id, "transfer.%s.%s.%zuKiB", where, ways[way].name, t->bytes >> 10);
    snprintf(name, sizeof name, "%s, %s, %.4g MiB", words, ways[way].name, (double)t->bytes / 1048576);
    const tn_bench_job j = {.id = id,
                            .group = "transfers",
                            .name = name,
                            .unit = "B/s",
                            .work = (double)t->bytes,
                            .run = ways[way].run,
                            .runs = t,
                            .poison = poison_target,
                            .compare = arrived,
                            .self = t};
    return tn_bench_measure(t->b, &j, err);
}

static int prepare(transfer *t, tn_error *err)
{
    tn_rng r = tn_rng_named(1, "transfers");
    t->pageable = malloc(t->bytes);
    t->other = malloc(t->bytes);
    if (!t->pageable || !t->other) return tn_oom(err);
    for (size_t i = 0; i < t->bytes; i++) t->pageable[i] = (uint8_t)tn_rng_below(&r, 256);
    TN_TRY(tn_buffer_new(&t->on, t->b->dev, t->bytes, "a measurement", err));
    return tn_staging_new(&t->pinned, t->b->dev, t->bytes, err);
}

int tn_bench_transfers(tn_bench *b, tn_error *err)
{
    const size_t most = TN_MIN(b->dev->info.largest_allocation, b->dev->info.global_memory) / 16;
    transfer t = {.b = b, .bytes = (size_t)(b->dev->info.type == TN_DEVICE_CPU ? 16 : 64) << 20};
    while (t.bytes > most && t.bytes > 1 << 16) t.bytes /= 2;
    int rc = prepare(&t, err);
    for (int back = 0; !rc && back < 2; back++) {
        t.back = back;
        for (int i = 0; !rc && i < (int)TN_COUNT(ways); i++) rc = measure_way(&t, i, err);
    }
    tn_staging_free(&t.pinned);
    tn_buffer_free(t.on);
    free(t.other);
    free(t.pageable);
    return rc;
}
