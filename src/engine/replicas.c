#include "replicas.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 16, FEW = 1 << 18, BLOCK = 4096 }; /* FEW: fewer floats are added by one thread */

struct tn_replicas {
    const tn_team *team;
    tn_staging *grads; /* [members]: as the member's arena has them */
};

int tn_replicas_new(tn_replicas **out, const tn_team *t, tn_error *err)
{
    tn_replicas *s = *out = calloc(1, sizeof *s);
    if (!s) return tn_oom(err);
    s->team = t;
    s->grads = calloc((size_t)t->n, sizeof *s->grads);
    int rc = s->grads ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < t->n; i++) {
        const size_t bytes = tn_replicas_bytes(&t->member[i]);
        if (bytes) rc = tn_staging_new(&s->grads[i], t->member[i].dev, bytes, err);
    }
    if (!rc) return 0;
    tn_replicas_free(s);
    *out = NULL;
    return rc;
}

size_t tn_replicas_bytes(const tn_member *who)
{
    return who->session->store->n_params * sizeof(float);
}

void tn_replicas_free(tn_replicas *s)
{
    if (!s) return;
    for (int i = 0; s->grads && i < s->team->n; i++) tn_staging_free(&s->grads[i]);
    free(s->grads);
    free(s);
}

/* All transfers are on their way before the first is waited for; on the way up nothing is: the updates are behind them. */
static int move_all(const tn_replicas *s, bool up, tn_error *err)
{
    const tn_team *t = s->team;
    for (int i = 0; i < t->n; i++) {
        const tn_store *st = t->member[i].session->store;
        const size_t bytes = tn_replicas_bytes(&t->member[i]);
        if (!bytes) continue;
        TN_TRY(up ? tn_buffer_write_async(st->grads, TN_QUEUE_MAIN, 0, s->grads[i].host, bytes, NULL, NULL, err)
                  : tn_buffer_read_async(st->grads, TN_QUEUE_MAIN, 0, s->grads[i].host, bytes, NULL, NULL, err));
        TN_TRY(tn_dev_flush(t->member[i].dev, err));
    }
    for (int i = 0; !up && i < t->n; i++) TN_TRY(tn_dev_finish(t->member[i].dev, err));
    return 0;
}

/* ---- adding ---- */

/* The slot's gradient in the replica's arenas. */
static float *gradient(const tn_replicas *s, int replica, int slot)
{
    const tn_team *t = s->team;
    for (int i = 0; i < t->n; i++) {
        const tn_stored *e = &t->member[i].session->store->s[slot];
        if (t->member[i].replica == replica && !e->elsewhere) return (float *)s->grads[i].host + e->off;
    }
    return NULL;
}

/* A thread's part of every slot: which thread adds what changes nothing. */
typedef struct {
    const tn_replicas *s;
    int number, threads;
    pthread_t thread;
} adder;

/* Block by block, so that what is added once more comes from a cache. */
static void add_run(float *const *g, int replicas, size_t begin, size_t end)
{
    for (size_t at = begin; at < end; at += BLOCK) {
        const size_t n = TN_MIN((size_t)BLOCK, end - at);
        float *restrict sum = g[0] + at;
        for (int r = 1; r < replicas; r++) {
            const float *restrict more = g[r] + at;
            for (size_t i = 0; i < n; i++) sum[i] += more[i];
        }
        for (int r = 1; r < replicas; r++) memcpy(g[r] + at, sum, n * sizeof *sum);
    }
}

static void *add_part(void *user)
{
    const adder *a = user;
    const tn_store *st = a->s->team->member[0].session->store;
    const int replicas = a->s->team->split.n_replicas;
    float *g[TN_MAX_STAGES];
    for (int i = 0; i < st->m->n_slots; i++) {
        const size_t n = (size_t)st->m->slots[i].rows * (size_t)st->m->slots[i].cols;
        if (st->s[i].place != TN_PLACE_PARAM) continue;
        for (int r = 0; r < replicas; r++) g[r] = gradient(a->s, r, i);
        add_run(g, replicas, n * (size_t)a->number / (size_t)a->threads, n * (size_t)(a->number + 1) / (size_t)a->threads);
    }
    return NULL;
}

static void add_all(const tn_replicas *s)
{
    adder a[THREADS];
    size_t floats = 0;
    for (int i = 0; i < s->team->n; i++) floats += s->team->member[i].session->store->n_params;
    const int threads = floats < FEW ? 1 : TN_MIN((int)THREADS, TN_MAX((int)sysconf(_SC_NPROCESSORS_ONLN), 1));
    int started = 1;
    for (int i = 0; i < threads; i++) a[i] = (adder){.s = s, .number = i, .threads = threads};
    while (started < threads && !pthread_create(&a[started].thread, NULL, add_part, &a[started])) started++;
    add_part(&a[0]);
    for (int i = started; i < threads; i++) add_part(&a[i]); /* no thread was to be had */
    for (int i = 1; i < started; i++) pthread_join(a[i].thread, NULL);
}

int tn_replicas_add(tn_replicas *s, tn_error *err)
{
    TN_TRY(move_all(s, false, err));
    add_all(s);
    return move_all(s, true, err);
}
