/* Where streamed weights lie, on the host and in the window, and how they come there. */
#include "stream.h"
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- layout ---- */

static bool belongs(const tn_store *st, int i)
{
    const tn_slot *s = &st->m->slots[i];
    return s->layer > 0 && s->linear && st->s[i].place != TN_PLACE_PARAM && !st->s[i].elsewhere;
}

/* What stands in the block from the matrix on: the quantised one's parts, the dense one's own elements. */
static size_t extent(const tn_store *st, int i)
{
    const tn_stored *e = &st->s[i];
    return e->place == TN_PLACE_QUANT ? tn_qregion_bytes(&e->q.s, st->dev->align) : tn_tensor_bytes(&e->t);
}

/* A dense matrix that stands behind another in one buffer (dense.h) does so in the block too: `begin` is that buffer's place. */
static void lay_out(tn_stream *s, tn_store *st, int i, size_t *begin)
{
    tn_stored *e = &st->s[i];
    tn_block *b = &s->block[st->m->slots[i].layer - 1];
    s->stored += e->bytes;
    if (e->place == TN_PLACE_DENSE && e->t.off) {
        e->at = *begin;
        b->bytes = *begin + e->t.off * tn_dtype_size(e->t.dtype) + extent(st, i);
        return;
    }
    e->at = TN_ROUND_UP(b->bytes, st->dev->align);
    b->bytes = e->at + extent(st, i);
    if (e->place == TN_PLACE_DENSE) *begin = e->at;
}

int tn_stream_new(tn_stream **out, tn_store *st, tn_error *err)
{
    tn_stream *s = *out = calloc(1, sizeof *s);
    size_t begin = 0;
    if (!s) return tn_oom(err);
    s->dev = st->dev;
    for (int i = 0; i < st->m->n_slots; i++) s->n_blocks = TN_MAX(s->n_blocks, st->m->slots[i].layer);
    s->block = calloc((size_t)s->n_blocks + 1, sizeof *s->block);
    if (!s->block) return tn_oom(err);
    for (int i = 0; i < st->m->n_slots; i++)
        if (belongs(st, i)) lay_out(s, st, i, &begin);
    for (int i = 0; i < s->n_blocks; i++) {
        s->block[i].bytes = TN_ROUND_UP(s->block[i].bytes, st->dev->align);
        s->largest = TN_MAX(s->largest, s->block[i].bytes);
        s->total += s->block[i].bytes;
    }
    return 0;
}

bool tn_stream_can(const tn_stream *s)
{
    return s->n_blocks > 2 && s->largest <= s->dev->info.largest_allocation && s->total > 2 * s->largest;
}

/* ---- memory ---- */

/* Memory that the host shares with the device is no place to have pinned: it would count as the device's. */
static int take_host(tn_stream *s, tn_block *b, tn_error *err)
{
    tn_error refused;
    if (!b->bytes) return 0;
    if (s->pinned && !tn_staging_new(&b->pinned, s->dev, b->bytes, &refused)) return b->host = b->pinned.host, 0;
    if (s->pinned)
        tn_logf(s->dev->log, TN_LOG_WARN, "%s; weights stream from memory that is not pinned, which is slower", refused.message);
    s->pinned = false;
    b->host = calloc(1, b->bytes);
    return b->host ? 0 : tn_oom(err);
}

int tn_stream_open(tn_stream *s, int window, tn_error *err)
{
    s->slot = calloc((size_t)window, sizeof *s->slot);
    if (!s->slot) return tn_oom(err);
    s->window = window;
    s->pinned = !s->dev->info.unified_memory;
    for (int i = 0; i < window; i++) {
        s->slot[i].holds = -1;
        TN_TRY(tn_buffer_new(&s->slot[i].mem, s->dev, s->largest, "a window of streamed weights", err));
    }
    for (int i = 0; i < s->n_blocks; i++) TN_TRY(take_host(s, &s->block[i], err));
    return 0;
}

/* Copies that nothing waits for yet may still run. */
static int settle(tn_stream *s, tn_error *err)
{
    const int rc = tn_dev_finish(s->dev, err);
    for (int i = 0; i < s->window; i++) {
        tn_event_free(s->slot[i].there);
        s->slot[i].there = NULL;
    }
    return rc;
}

void tn_stream_free(tn_stream *s)
{
    tn_error unread;
    if (!s) return;
    if (s->slot) (void)settle(s, &unread);
    for (int i = 0; s->slot && i < s->window; i++) tn_buffer_free(s->slot[i].mem);
    for (int i = 0; s->block && i < s->n_blocks; i++) {
        if (s->block[i].pinned.buffer) tn_staging_free(&s->block[i].pinned);
        else free(s->block[i].host);
    }
    free(s->slot);
    free(s->block);
    free(s);
}

/* ---- a slot of the model ---- */

bool tn_stream_has(const tn_store *st, int i)
{
    return st->stream->window && belongs(st, i);
}

static tn_window_slot *slot_of(const tn_stream *s, int block)
{
    return &s->slot[block % s->window];
}

static int block_of(const tn_store *st, int i)
{
    return st->m->slots[i].layer - 1;
}

tn_buffer *tn_stream_window(const tn_store *st, int i)
{
    return tn_stream_has(st, i) ? slot_of(st->stream, block_of(st, i))->mem : NULL;
}

int tn_stream_hold(tn_store *st, int i, tn_error *err)
{
    tn_stream *s = st->stream;
    if (!tn_stream_has(st, i)) return 0;
    const int b = block_of(st, i);
    int rc = settle(s, err);
    if (!rc && slot_of(s, b)->holds != b) rc = tn_stream_bring(s, b, err);
    if (!rc) rc = settle(s, err);
    return rc ? tn_fail_in(err, st->m->slots[i].name) : 0;
}

int tn_stream_take(tn_store *st, int i, tn_error *err)
{
    tn_stream *s = st->stream;
    if (!tn_stream_has(st, i)) return 0;
    const tn_stored *e = &st->s[i];
    const size_t at = e->at + (e->place == TN_PLACE_DENSE ? e->t.off * tn_dtype_size(e->t.dtype) : 0);
    const int b = block_of(st, i);
    return tn_buffer_read(slot_of(s, b)->mem, at, s->block[b].host + at, extent(st, i), err);
}

/* ---- copies ---- */

static int fail_at(const tn_stream *s, int b, tn_error *err)
{
    char where[80];
    snprintf(where, sizeof where, "block %d of %d (%.1f MiB of weights)", b + 1, s->n_blocks, (double)s->block[b].bytes / 1048576);
    return tn_fail_in(err, where);
}

static int enqueue_copy(tn_stream *s, int b, tn_event **done, tn_error *err)
{
    tn_window_slot *w = slot_of(s, b);
    tn_event *read = NULL;
    if (s->poison) TN_TRY(tn_buffer_fill(w->mem, 0, s->largest, 0x7fc07fc0u, err));
    TN_TRY(tn_queue_mark(s->dev, TN_QUEUE_MAIN, &read, err));
    int rc = tn_buffer_write_async(w->mem, TN_QUEUE_COPY, 0, s->block[b].host, s->block[b].bytes, read, done, err);
    tn_event_free(read);
    s->copies++;
    return rc ? rc : tn_dev_flush(s->dev, err); /* each queue waits for the other's */
}

int tn_stream_bring(tn_stream *s, int b, tn_error *err)
{
    tn_window_slot *w = slot_of(s, b);
    tn_event_free(w->there); /* the copy queue has its commands in order */
    w->there = NULL;
    w->holds = -1;
    if (enqueue_copy(s, b, &w->there, err)) return fail_at(s, b, err);
    w->holds = b;
    return 0;
}

int tn_stream_arrive(tn_stream *s, int b, tn_error *err)
{
    tn_window_slot *w = slot_of(s, b);
    if (w->holds != b) TN_TRY(tn_stream_bring(s, b, err));
    const int rc = tn_queue_wait(s->dev, TN_QUEUE_MAIN, w->there, err);
    tn_event_free(w->there);
    w->there = NULL;
    return rc ? fail_at(s, b, err) : 0;
}

int tn_stream_measure(tn_stream *s, double *rate, tn_error *err)
{
    double bytes = 0;
    TN_TRY(settle(s, err));
    const double begin = tn_now();
    for (int b = 0; b < s->window; b++) {
        TN_TRY(tn_stream_bring(s, b, err));
        bytes += (double)s->block[b].bytes;
    }
    TN_TRY(settle(s, err));
    *rate = bytes / TN_MAX(tn_now() - begin, 1e-9);
    return 0;
}
