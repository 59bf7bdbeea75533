#include "replicas.h"

#include <stdlib.h>

struct tn_replicas {
    const tn_team *team;
    float **grads; /* [members]: as the member's arena has them */
};

int tn_replicas_new(tn_replicas **out, const tn_team *t, tn_error *err)
{
    tn_replicas *s = *out = calloc(1, sizeof *s);
    if (!s) return tn_oom(err);
    s->team = t;
    s->grads = calloc((size_t)t->n, sizeof *s->grads);
    bool all = s->grads != NULL;
    for (int i = 0; all && i < t->n; i++)
        all = (s->grads[i] = malloc(sizeof(float) * (t->member[i].session->store->n_params + 1))) != NULL;
    if (all) return 0;
    tn_replicas_free(s);
    *out = NULL;
    return tn_oom(err);
}

void tn_replicas_free(tn_replicas *s)
{
    if (!s) return;
    for (int i = 0; s->grads && i < s->team->n; i++) free(s->grads[i]);
    free(s->grads);
    free(s);
}

/* All transfers are on their way before the first is waited for. */
static int move_all(const tn_replicas *s, bool up, tn_error *err)
{
    const tn_team *t = s->team;
    int rc = 0;
    for (int i = 0; !rc && i < t->n; i++) {
        const tn_store *st = t->member[i].session->store;
        const size_t bytes = st->n_params * sizeof(float);
        if (!bytes) continue;
        rc = up ? tn_buffer_write_async(st->grads, TN_QUEUE_MAIN, 0, s->grads[i], bytes, NULL, NULL, err)
                : tn_buffer_read_async(st->grads, TN_QUEUE_MAIN, 0, s->grads[i], bytes, NULL, NULL, err);
        if (!rc) rc = tn_dev_flush(t->member[i].dev, err);
    }
    for (int i = 0; i < t->n; i++) {
        const int ended = tn_dev_finish(t->member[i].dev, rc ? &(tn_error){0} : err);
        if (!rc) rc = ended;
    }
    return rc;
}

/* The slot's gradient in the replica's arenas. */
static float *gradient(const tn_replicas *s, int replica, int slot)
{
    const tn_team *t = s->team;
    for (int i = 0; i < t->n; i++) {
        const tn_stored *e = &t->member[i].session->store->s[slot];
        if (t->member[i].replica == replica && !e->elsewhere) return s->grads[i] + e->off;
    }
    return NULL;
}

static void add_slot(const tn_replicas *s, int slot, size_t n)
{
    const int replicas = s->team->split.n_replicas;
    float *first = gradient(s, 0, slot);
    for (int r = 1; r < replicas; r++) {
        const float *g = gradient(s, r, slot);
        for (size_t i = 0; i < n; i++) first[i] += g[i];
    }
    for (int r = 1; r < replicas; r++) {
        float *g = gradient(s, r, slot);
        for (size_t i = 0; i < n; i++) g[i] = first[i];
    }
}

int tn_replicas_add(tn_replicas *s, tn_error *err)
{
    const tn_model *m = s->team->member[0].session->m;
    TN_TRY(move_all(s, false, err));
    for (int i = 0; i < m->n_slots; i++)
        if (s->team->member[0].session->store->s[i].place == TN_PLACE_PARAM)
            add_slot(s, i, (size_t)m->slots[i].rows * (size_t)m->slots[i].cols);
    return move_all(s, true, err);
}
