#include "rescue.h"
#include "kept.h"

#include <stdlib.h>
#include <string.h>

static size_t floats_of(const tn_model *m, int slot)
{
    return (size_t)m->slots[slot].rows * (size_t)m->slots[slot].cols;
}

static int copy_of(float **to, const float *from, size_t n, tn_error *err)
{
    if (!*to && !(*to = malloc(n * sizeof **to))) return tn_oom(err);
    memcpy(*to, from, n * sizeof **to);
    return 0;
}

static int take_lane(tn_rescue *r, const tn_lane *l, int s, tn_error *err)
{
    const tn_store *st = l->who->session->store;
    const float *arena = l->slot[s].kept.host, *statistic = arena + 3 * st->n_params;
    for (int i = 0; i < st->m->n_slots; i++) {
        const tn_stored *e = &st->s[i];
        const size_t n = floats_of(st->m, i);
        if (tn_kept_statistic(st, i)) {
            TN_TRY(copy_of(&r->value[i], statistic, n, err));
            statistic += n;
        }
        if (e->place != TN_PLACE_PARAM || e->elsewhere) continue;
        TN_TRY(copy_of(&r->value[i], arena + e->off, n, err));
        TN_TRY(copy_of(&r->moment1[i], arena + st->n_params + e->off, n, err));
        TN_TRY(copy_of(&r->moment2[i], arena + 2 * st->n_params + e->off, n, err));
    }
    return 0;
}

static int make_room(tn_rescue *r, int n_slots, tn_error *err)
{
    if (r->value) return 0;
    const size_t n = (size_t)n_slots + 1;
    r->n_slots = n_slots;
    r->value = calloc(n, sizeof *r->value);
    r->moment1 = calloc(n, sizeof *r->moment1);
    r->moment2 = calloc(n, sizeof *r->moment2);
    return r->value && r->moment1 && r->moment2 ? 0 : tn_oom(err);
}

int tn_rescue_take(tn_rescue *r, const tn_lane *lanes, int n, int s, long long steps, const tn_optim_state *state, tn_error *err)
{
    TN_TRY(make_room(r, lanes[0].e->model->n_slots, err));
    for (int i = 0; i < n; i++)
        if (tn_lane_keeps(&lanes[i])) TN_TRY(take_lane(r, &lanes[i], s, err));
    r->steps = steps;
    r->state = *state;
    return 0;
}

int tn_rescue_give(const tn_rescue *r, tn_engine *e, tn_error *err)
{
    for (int i = 0; i < r->n_slots; i++) {
        if (r->value[i]) TN_TRY(tn_store_set(e->session->store, i, r->value[i], err));
        if (r->moment1[i]) TN_TRY(tn_store_set_moments(e->session->store, i, r->moment1[i], r->moment2[i], err));
    }
    return tn_engine_state_set(e, &r->state, err);
}

void tn_rescue_free(tn_rescue *r)
{
    for (int i = 0; i < r->n_slots; i++) {
        free(r->value[i]);
        free(r->moment1[i]);
        free(r->moment2[i]);
    }
    free(r->value);
    free(r->moment1);
    free(r->moment2);
    *r = (tn_rescue){0};
}
