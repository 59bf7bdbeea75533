/* What the device's memory does, by size of what is touched: caches show. */
#include "parts.h"
#include "text.h"
#include "traffic.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    tn_bench *b;
    tn_buffer *from, *to;
    uint8_t *host; /* what is in `from` */
    size_t bytes, all;
} memory;

enum { MOST_DIGIT = 7 }; /* whole numbers so small that sums of them are exact in any order */

static int by_kernel(void *self, tn_error *err)
{
    const memory *m = self;
    return tn_copy_by_kernel(&m->b->c, m->from, m->to, m->bytes, err);
}

static int by_driver(void *self, tn_error *err)
{
    const memory *m = self;
    return tn_buffer_copy(m->from, 0, m->to, 0, m->bytes, err);
}

static int by_reading(void *self, tn_error *err)
{
    const memory *m = self;
    return tn_read_by_kernel(&m->b->c, m->from, m->to, m->bytes, err);
}

static int by_writing(void *self, tn_error *err)
{
    const memory *m = self;
    return tn_write_by_kernel(&m->b->c, m->to, 3, m->bytes, err);
}

static int poison(void *self, tn_error *err)
{
    const memory *m = self;
    return tn_buffer_fill(m->to, 0, m->bytes, 0x7fc07fc0u, err);
}

/* What is in `to`, as floats; the caller's to free(). */
static int result_of(const memory *m, size_t bytes, float **v, tn_error *err)
{
    *v = malloc(bytes + 1);
    if (!*v) return tn_oom(err);
    const int rc = tn_buffer_read(m->to, 0, *v, bytes, err);
    if (rc) free(*v);
    return rc;
}

static int copied(void *self, double *share, tn_error *err)
{
    const memory *m = self;
    float *v;
    TN_TRY(result_of(m, m->bytes, &v, err));
    for (size_t i = 0; i < m->bytes / 4; i++)
        if (v[i] != (float)m->host[i]) *share = NAN;
    free(v);
    return 0;
}

static int written(void *self, double *share, tn_error *err)
{
    const memory *m = self;
    float *v;
    TN_TRY(result_of(m, m->bytes, &v, err));
    for (size_t i = 0; i < m->bytes / 4; i++)
        if (v[i] != 3) *share = NAN;
    free(v);
    return 0;
}

static int summed(void *self, double *share, tn_error *err)
{
    const memory *m = self;
    const size_t n = tn_read_sums(&m->b->c, m->bytes);
    double sum = 0, want = 0;
    float *v;
    TN_TRY(result_of(m, 4 * n, &v, err));
    for (size_t i = 0; i < n; i++) sum += v[i];
    for (size_t i = 0; i < m->bytes / 4; i++) want += m->host[i];
    if (!(sum == want)) *share = NAN;
    free(v);
    return 0;
}

static const struct {
    const char *id, *name;
    int (*run)(void *, tn_error *);
    int (*compare)(void *, double *, tn_error *);
    int moved; /* times the bytes */
    bool every_size;
} ways[] = {{"copy-kernel", "copy by a kernel", by_kernel, copied, 2, true},
            {"copy-driver", "copy by clEnqueueCopyBuffer", by_driver, copied, 2, false},
            {"read", "read by a kernel", by_reading, summed, 1, false},
            {"write", "write by a kernel", by_writing, written, 1, false}};

void tn_bench_known_copies(tn_bench *b)
{
    size_t i, kib;
    json_t *m;
    b->n_curve = 0;
    json_array_foreach(b->list, i, m)
    {
        const char *id = tn_json_str(m, "id", ""), *size = strrchr(id, '.');
        if (b->n_curve == TN_CURVE || !tn_starts(id, "memory.copy-") || !size || sscanf(size, ".%zuKiB", &kib) != 1) continue;
        b->curve[b->n_curve].set = 2.0 * 1024 * (double)kib;
        b->curve[b->n_curve++].rate = tn_json_num(m, "high", 0); /* what it can do where others disturb it */
    }
}

static int measure_way(memory *m, int way, tn_error *err)
{
    char id[64], name[96];
    tn_bench *b = m->b;
    const double moved = ways[way].moved * (double)m->bytes;
    if (m->bytes < m->all && !ways[way].every_size) return 0;
    snprintf(id, sizeof id, "memory.%s.%zuKiB", ways[way].id, m->bytes >> 10);
    snprintf(name, sizeof name, "%s, %.4g MiB", ways[way].name, (double)m->bytes / 1048576);
    const tn_bench_job j = {.id = id,
                            .group = "memory",
                            .name = name,
                            .unit = "B/s",
                            .work = moved,
                            .by_context = true, /* but for the driver's copies, which nothing records */
                            .run = ways[way].run,
                            .runs = m,
                            .poison = poison,
                            .compare = ways[way].compare,
                            .self = m};
    TN_TRY(tn_bench_measure(b, &j, err));
    tn_bench_known_copies(b);
    return 0;
}

static int fill(memory *m, tn_error *err)
{
    const size_t n = m->all / 4;
    tn_rng r = tn_rng_named(1, "memory");
    float *v = malloc(m->all);
    m->host = malloc(n);
    if (!v || !m->host) {
        free(v);
        return tn_oom(err);
    }
    for (size_t i = 0; i < n; i++) v[i] = m->host[i] = (uint8_t)tn_rng_below(&r, MOST_DIGIT + 1);
    const int rc = tn_buffer_write(m->from, 0, v, m->all, err);
    free(v);
    return rc;
}

/* Beyond the caches, but no more than an eighth of what the device has for one buffer. */
static size_t largest(const tn_bench *b)
{
    const size_t want = (size_t)((b->dev->info.type == TN_DEVICE_CPU ? 128 : 512) * b->level->largest) << 20;
    size_t most = TN_MIN(b->dev->info.largest_allocation, b->dev->info.global_memory) / 8, bytes = want;
    if (b->dev->memory_limit) most = TN_MIN(most, b->dev->memory_limit / 8);
    while (bytes > most && bytes > 1 << 16) bytes /= 2;
    return bytes;
}

int tn_bench_memory(tn_bench *b, tn_error *err)
{
    memory m = {.b = b, .all = largest(b)};
    int rc = tn_buffer_new(&m.from, b->dev, m.all, "a measurement", err);
    if (!rc) rc = tn_buffer_new(&m.to, b->dev, m.all, "a measurement", err);
    if (!rc) rc = fill(&m, err);
    for (m.bytes = TN_MAX(m.all >> 9, (size_t)1 << 16); !rc && m.bytes <= m.all; m.bytes *= 8)
        for (int i = 0; !rc && i < (int)TN_COUNT(ways); i++) rc = measure_way(&m, i, err);
    tn_buffer_free(m.to);
    tn_buffer_free(m.from);
    free(m.host);
    return rc;
}
