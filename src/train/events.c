#include "events.h"

#include "event.pb-c.h"
#include "files.h"
#include "text.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct tn_events {
    FILE *f;
    char *path;
};

/* CRC-32C, masked. */
static uint32_t checksum(const void *data, size_t n)
{
    const uint8_t *p = data;
    uint32_t c = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int bit = 0; bit < 8; bit++) c = c >> 1 ^ (c & 1 ? 0x82f63b78u : 0);
    }
    c = ~c;
    return (c >> 15 | c << 17) + 0xa282ead8u;
}

static void little_endian(uint8_t *out, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) out[i] = (uint8_t)(v >> 8 * i);
}

static int cannot_write(const tn_events *e, tn_error *err)
{
    return tn_fail(err, TN_ERR_IO, "cannot write '%s': %s", e->path, strerror(errno));
}

static int put_record(tn_events *e, const Tnevent__Event *event, tn_error *err)
{
    const size_t n = tnevent__event__get_packed_size(event);
    uint8_t *record = malloc(n + 16);
    if (!record) return tn_oom(err);
    little_endian(record, n, 8);
    little_endian(record + 8, checksum(record, 8), 4);
    (void)tnevent__event__pack(event, record + 12);
    little_endian(record + 12 + n, checksum(record + 12, n), 4);
    const bool ok = fwrite(record, n + 16, 1, e->f) == 1;
    free(record);
    return ok ? 0 : cannot_write(e, err);
}

static Tnevent__Event event_now(long long step)
{
    Tnevent__Event event = TNEVENT__EVENT__INIT;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    event.has_wall_time = event.has_step = 1;
    event.wall_time = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    event.step = step;
    return event;
}

/* A name that nobody has: two runs of one process may begin in the same second. */
static int create(tn_events *e, const char *dir, tn_error *err)
{
    char host[256] = "localhost";
    if (gethostname(host, sizeof host - 1)) host[0] = 0;
    for (int i = 0; !e->f; i++) {
        free(e->path);
        e->path = i ? tn_strf("%s/events.out.tfevents.%lld.%s.%ld.%d", dir, (long long)time(NULL), host, (long)getpid(), i)
                    : tn_strf("%s/events.out.tfevents.%lld.%s.%ld", dir, (long long)time(NULL), host, (long)getpid());
        if (!e->path) return tn_oom(err);
        e->f = fopen(e->path, "wbx");
        if (!e->f && errno != EEXIST) return cannot_write(e, err);
    }
    return 0;
}

static int put_head(tn_events *e, long long step, tn_error *err)
{
    Tnevent__Event version = event_now(0), restart = event_now(step + 1);
    Tnevent__SessionLog start = TNEVENT__SESSION_LOG__INIT;
    char text[] = "brain.Event:2";
    version.file_version = text;
    TN_TRY(put_record(e, &version, err));
    start.has_status = 1, start.status = 1;
    restart.session_log = &start;
    return step ? put_record(e, &restart, err) : 0;
}

int tn_events_open(tn_events **out, const char *dir, long long step, tn_error *err)
{
    tn_events *e = calloc(1, sizeof *e);
    *out = NULL;
    int rc = e ? tn_mkdirs(dir, err) : tn_oom(err);
    if (!rc) rc = create(e, dir, err);
    if (!rc) rc = put_head(e, step, err);
    if (!rc) *out = e;
    else tn_events_close(e);
    return rc;
}

int tn_events_write(tn_events *e, long long step, const tn_scalar *v, int n, tn_error *err)
{
    Tnevent__Value value[TN_SCALARS], *list[TN_SCALARS];
    Tnevent__Summary summary = TNEVENT__SUMMARY__INIT;
    Tnevent__Event event = event_now(step);
    for (int i = 0; i < n; i++) {
        tnevent__value__init(&value[i]);
        value[i].tag = (char *)v[i].tag; /* packing only reads it */
        value[i].has_simple_value = 1;
        value[i].simple_value = (float)v[i].value;
        list[i] = &value[i];
    }
    summary.n_value = (size_t)n;
    summary.value = list;
    event.summary = &summary;
    return put_record(e, &event, err);
}

int tn_events_flush(tn_events *e, tn_error *err)
{
    return fflush(e->f) ? cannot_write(e, err) : 0;
}

void tn_events_close(tn_events *e)
{
    if (!e) return;
    if (e->f) (void)fclose(e->f); /* flushed at the end of every epoch */
    free(e->path);
    free(e);
}
