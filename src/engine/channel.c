#include "channel.h"

static bool crosses(const tn_gedge *e, int other, bool leaves, bool backward)
{
    return e->stage == other && e->leaves == leaves && e->backward == backward;
}

size_t tn_bundle_bytes(const tn_graph *part, int other, bool leaves, bool backward)
{
    size_t bytes = 0;
    for (int i = 0; i < part->n_edges; i++)
        if (crosses(&part->edges[i], other, leaves, backward))
            bytes += TN_ROUND_UP(tn_gtensor_bytes(&part->t[part->edges[i].tensor]), (size_t)64);
    return bytes;
}

size_t tn_channel_bytes(const tn_graph *part)
{
    size_t bytes = 0;
    for (int i = 0; i < part->n_edges; i++)
        if (part->edges[i].leaves) bytes += TN_RING * TN_ROUND_UP(tn_gtensor_bytes(&part->t[part->edges[i].tensor]), (size_t)64);
    return bytes;
}

int tn_channel_new(tn_channel *c, tn_dev *from, size_t bytes, tn_error *err)
{
    for (int i = 0; i < TN_RING; i++) TN_TRY(tn_staging_new(&c->ring[i], from, bytes, err));
    return 0;
}

void tn_channel_free(tn_channel *c)
{
    for (int i = 0; i < TN_RING; i++) {
        tn_event_free(c->read[i]);
        tn_event_free(c->taken[i]);
        tn_staging_free(&c->ring[i]);
    }
}

void tn_meeting_fail(tn_meeting *m)
{
    pthread_mutex_lock(&m->lock);
    m->failed = true;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

static int other_failed(tn_error *err)
{
    return tn_fail(err, TN_ERR_CANCELLED, "another stage failed");
}

/* Waits until `*count` is above n, and takes the event that then lies in *e. */
static int await(tn_channel *c, const long long *count, long long n, tn_event **e, tn_event **taken, tn_error *err)
{
    pthread_mutex_lock(&c->at->lock);
    while (*count <= n && !c->at->failed) pthread_cond_wait(&c->at->changed, &c->at->lock);
    const bool failed = c->at->failed;
    *taken = NULL;
    if (!failed) *taken = *e, *e = NULL;
    pthread_mutex_unlock(&c->at->lock);
    return failed ? other_failed(err) : 0;
}

static void hand_over(tn_channel *c, long long *count, tn_event **place, tn_event *e)
{
    pthread_mutex_lock(&c->at->lock);
    *place = e;
    ++*count;
    pthread_cond_broadcast(&c->at->changed);
    pthread_mutex_unlock(&c->at->lock);
}

/* The host waits for another device's event, and gives it up. */
static int join(tn_event *e, tn_error *err)
{
    const int rc = tn_event_join(e, err);
    tn_event_free(e);
    return rc;
}

/* All tensors of a bundle, one behind the other, between slot `slot` and where x has them; *last is the last one's event. */
static int move_bundle(const tn_channel *c, int slot, const tn_exec *x, bool leaves, const tn_event *after, tn_event **last,
                       tn_error *err)
{
    char *at = c->ring[slot].host;
    for (int i = 0; i < x->g.n_edges; i++) {
        const tn_gedge *e = &x->g.edges[i];
        if (!crosses(e, leaves ? c->to : c->from, leaves, c->backward)) continue;
        const size_t bytes = tn_gtensor_bytes(&x->g.t[e->tensor]);
        tn_buffer *mem = x->mem[e->tensor];
        tn_event_free(*last);
        *last = NULL;
        TN_TRY(leaves ? tn_buffer_read_async(mem, TN_QUEUE_COPY, 0, at, bytes, after, last, err)
                      : tn_buffer_write_async(mem, TN_QUEUE_COPY, 0, at, bytes, after, last, err));
        at += TN_ROUND_UP(bytes, (size_t)64);
    }
    return 0;
}

int tn_channel_send(tn_channel *c, tn_session *s, const tn_exec *x, tn_event **left, tn_error *err)
{
    const int slot = (int)(c->sent % TN_RING);
    tn_event *before = NULL, *made = NULL, *there = NULL;
    if (c->sent >= TN_RING) TN_TRY(await(c, &c->received, c->sent - TN_RING, &c->taken[slot], &before, err));
    TN_TRY(join(before, err));
    int rc = tn_queue_mark(s->dev, TN_QUEUE_MAIN, &made, err);
    if (!rc) rc = move_bundle(c, slot, x, true, made, &there, err);
    if (!rc) rc = tn_dev_flush(s->dev, err);
    if (!rc && left) {
        tn_event_free(*left);
        *left = NULL;
        rc = tn_queue_mark(s->dev, TN_QUEUE_COPY, left, err);
    }
    tn_event_free(made);
    if (rc) tn_event_free(there);
    else hand_over(c, &c->sent, &c->read[slot], there);
    return rc;
}

int tn_channel_receive(tn_channel *c, tn_session *s, const tn_exec *x, const tn_event *after, tn_error *err)
{
    const int slot = (int)(c->received % TN_RING);
    tn_event *there = NULL, *taken = NULL;
    TN_TRY(await(c, &c->sent, c->received, &c->read[slot], &there, err));
    TN_TRY(join(there, err));
    int rc = move_bundle(c, slot, x, false, after, &taken, err);
    if (!rc) rc = tn_queue_wait(s->dev, TN_QUEUE_MAIN, taken, err);
    if (rc) tn_event_free(taken);
    else hand_over(c, &c->received, &c->taken[slot], taken);
    return rc ? rc : tn_dev_flush(s->dev, err);
}
