#include "even.h"
#include "exchange.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 24 }; /* bytes of an arena that are in host memory at once */

/* ---- running statistics ---- */

static size_t values_of(const tn_slot *s)
{
    return (size_t)s->rows * (size_t)s->cols;
}

static int even_statistic(tn_engine *e, int slot, tn_error *err)
{
    const tn_tensor *t = &e->session->store->s[slot].t;
    const size_t n = values_of(&e->model->slots[slot]);
    float *v = malloc(n * sizeof *v);
    double *sum = malloc(n * sizeof *sum);
    int rc = v && sum ? tn_tensor_get(e->dev, t, v, err) : tn_oom(err);
    for (size_t i = 0; !rc && i < n; i++) sum[i] = v[i];
    if (!rc) rc = tn_ranks_add(e->ranks, sum, (int)n, err);
    for (size_t i = 0; !rc && i < n; i++) v[i] = (float)(sum[i] / tn_ranks_count(e->ranks));
    if (!rc) rc = tn_tensor_set(e->dev, t, v, err);
    free(v);
    free(sum);
    return rc;
}

/* ---- arenas ---- */

typedef int (*piece_fn)(tn_engine *e, tn_buffer *b, size_t at, void *host, size_t bytes, void *user, tn_error *err);

/* fn, for each piece of what training changes; *host has room for it. */
static int each_piece(tn_engine *e, piece_fn fn, void *user, tn_error *err)
{
    const tn_store *st = e->session->store;
    tn_buffer *const arenas[] = {st->params, st->shadow, st->moment1, st->moment2};
    void *host = malloc(PIECE);
    int rc = host ? 0 : tn_oom(err);
    for (size_t i = 0; i < TN_COUNT(arenas); i++) {
        const size_t bytes = arenas[i] ? tn_buffer_size(arenas[i]) : 0;
        for (size_t at = 0; !rc && at < bytes; at += PIECE)
            rc = fn(e, arenas[i], at, host, TN_MIN(bytes - at, (size_t)PIECE), user, err);
    }
    free(host);
    return rc;
}

static int hash_piece(tn_engine *e, tn_buffer *b, size_t at, void *host, size_t bytes, void *user, tn_error *err)
{
    unsigned long long *h = user;
    (void)e;
    TN_TRY(tn_buffer_read(b, at, host, bytes, err));
    const uint64_t *v = host;
    for (size_t i = 0; i < bytes / sizeof *v; i++) *h = (*h ^ v[i]) * 1099511628211ull;
    *h = tn_hash(*h, v + bytes / sizeof *v, bytes % sizeof *v);
    return 0;
}

static int tell_piece(tn_engine *e, tn_buffer *b, size_t at, void *host, size_t bytes, void *user, tn_error *err)
{
    (void)user;
    if (!tn_ranks_number(e->ranks)) TN_TRY(tn_buffer_read(b, at, host, bytes, err));
    TN_TRY(tn_ranks_tell(e->ranks, host, bytes, err));
    return tn_ranks_number(e->ranks) ? tn_buffer_write(b, at, host, bytes, err) : 0;
}

static int are_even(bool *even, tn_engine *e, tn_error *err)
{
    const int n = tn_ranks_count(e->ranks);
    unsigned long long mine = TN_HASH0, *all = malloc(sizeof *all * (size_t)n);
    int rc = all ? each_piece(e, hash_piece, &mine, err) : tn_oom(err);
    if (!rc) rc = tn_ranks_collect(e->ranks, &mine, sizeof mine, all, err);
    *even = true;
    for (int i = 1; !rc && i < n; i++) *even &= all[i] == all[0];
    free(all);
    return rc;
}

int tn_engine_even(tn_engine *e, tn_error *err)
{
    bool even;
    if (!e->ranks) return 0;
    for (int i = 0; i < e->model->n_slots; i++)
        if (e->model->slots[i].buffer && e->session->store->s[i].place == TN_PLACE_DENSE) TN_TRY(even_statistic(e, i, err));
    TN_TRY(are_even(&even, e, err));
    return even ? 0 : each_piece(e, tell_piece, NULL, err);
}

/* ---- devices ---- */

/* What a rank says of itself. */
typedef struct {
    int node, index;
    char host[128], name[128], identity[96];
} where;

static int sharing_with(const where *all, int n, const where *w)
{
    int count = 0;
    for (int i = 0; i < n; i++) count += all[i].node == w->node && !strcmp(all[i].identity, w->identity);
    return count;
}

static void say_where(const tn_engine *e, const where *all, int n)
{
    for (int i = 0; i < n; i++) {
        const int sharing = sharing_with(all, n, &all[i]);
        char with[48] = "";
        if (sharing > 1) snprintf(with, sizeof with, ", shared by %d ranks", sharing);
        tn_logf(e->log, TN_LOG_INFO, "rank %d on %s: device %d, %s%s", i, all[i].host, all[i].index, all[i].name, with);
    }
}

static where where_is(const tn_engine *e)
{
    where w = {.node = tn_ranks_node(e->ranks), .index = e->dev->index};
    snprintf(w.host, sizeof w.host, "%s", tn_ranks_host(e->ranks));
    snprintf(w.name, sizeof w.name, "%s", e->dev->info.name);
    tn_dev_identity(e->dev, w.identity, sizeof w.identity);
    return w;
}

int tn_engine_settle(tn_engine *e, tn_error *err)
{
    tn_dev *d = e->dev;
    if (!e->ranks) return 0;
    const int n = tn_ranks_count(e->ranks);
    const where mine = where_is(e);
    where *all = malloc(sizeof *all * (size_t)n);
    const int rc = all ? tn_ranks_collect(e->ranks, &mine, sizeof mine, all, err) : tn_oom(err);
    const int sharing = rc ? 0 : sharing_with(all, n, &mine);
    if (sharing > 1 && !d->memory_limit) d->memory_limit = d->info.global_memory / 10 * 9 / (size_t)sharing;
    if (!rc && !tn_ranks_number(e->ranks)) say_where(e, all, n);
    free(all);
    return rc;
}
