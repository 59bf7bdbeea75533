#include "kept.h"

static size_t floats_in(const tn_model *m, int slot)
{
    return (size_t)m->slots[slot].rows * (size_t)m->slots[slot].cols;
}

bool tn_kept_statistic(const tn_store *st, int slot)
{
    return st->m->slots[slot].buffer && st->s[slot].place == TN_PLACE_DENSE && !st->s[slot].elsewhere;
}

size_t tn_kept_bytes(const tn_store *st)
{
    size_t floats = 3 * st->n_params;
    for (int i = 0; i < st->m->n_slots; i++)
        if (tn_kept_statistic(st, i)) floats += floats_in(st->m, i);
    return TN_MAX(floats, (size_t)1) * sizeof(float);
}

static int read_floats(tn_buffer *b, float **to, size_t n, tn_error *err)
{
    float *host = *to;
    *to += n;
    return n ? tn_buffer_read_async(b, TN_QUEUE_COPY, 0, host, n * sizeof *host, NULL, NULL, err) : 0;
}

int tn_kept_read(float *host, const tn_store *st, tn_error *err)
{
    float *to = host;
    tn_buffer *const arenas[] = {st->params, st->moment1, st->moment2};
    for (size_t i = 0; i < TN_COUNT(arenas); i++) TN_TRY(read_floats(arenas[i], &to, st->n_params, err));
    for (int i = 0; i < st->m->n_slots; i++)
        if (tn_kept_statistic(st, i)) TN_TRY(read_floats(st->s[i].t.mem, &to, floats_in(st->m, i), err));
    return 0;
}
