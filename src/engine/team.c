#include "team.h"
#include "place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- devices ---- */

static int open_one(tn_team *t, int index, const tn_run_options *o, const tn_log *log, tn_watch watch, tn_error *err)
{
    const tn_dev_options x = {o->memory_limit, log, watch, o->variants, o->cache, o->helper, o->nice};
    tn_dev **v = realloc(t->dev, sizeof *v * (size_t)(t->n_dev + 1));
    if (!v) return tn_oom(err);
    t->dev = v;
    TN_TRY(tn_dev_open(&v[t->n_dev], index, &x, err));
    t->n_dev++;
    return 0;
}

/* A rank has one device. */
static int open_of_rank(tn_team *t, const tn_run_options *o, const tn_log *log, tn_watch watch, tn_error *err)
{
    int index;
    TN_TRY(tn_place_select(&index, o, err));
    return open_one(t, index, o, log, watch, err);
}

/* Of several that are listed: the GPU with the most memory, or the first. */
static int fastest(int *index, int n, tn_error *err)
{
    tn_device_info **v;
    int all, best = index[0];
    TN_TRY(tn_device_list(&v, &all, err));
    for (int i = 1; i < n; i++) {
        const tn_device_info *a = v[best], *b = v[index[i]];
        const bool gpus = a->type == TN_DEVICE_GPU && b->type == TN_DEVICE_GPU;
        if ((b->type == TN_DEVICE_GPU && a->type != TN_DEVICE_GPU) || (gpus && b->global_memory > a->global_memory))
            best = index[i];
    }
    tn_device_list_free(v);
    index[0] = best;
    return 0;
}

/* One of the devices that the list names: nothing divides the layers but stages. */
static int open_listed(tn_team *t, const tn_run_options *o, const tn_log *log, tn_watch watch, tn_error *err)
{
    int *index, n;
    char *left;
    if (o->ranks) return open_of_rank(t, o, log, watch, err);
    TN_TRY(tn_device_select_list(&index, &n, &left, o->device, err));
    if (left[0]) tn_logf(log, TN_LOG_INFO, "%s", left);
    free(left);
    int rc = n > 1 ? fastest(index, n, err) : 0;
    if (!rc && n > 1) tn_logf(log, TN_LOG_INFO, "of the devices listed, %d is used; --stages divides the layers", index[0]);
    if (!rc) rc = open_one(t, index[0], o, log, watch, err);
    free(index);
    return rc;
}

/* The devices that the stages name. */
static int open_of_split(tn_team *t, const tn_run_options *o, const tn_log *log, tn_watch watch, tn_error *err)
{
    for (int r = 0; r < t->split.n_replicas; r++)
        for (int s = 0; s < t->split.replica[r].n_stages; s++)
            TN_TRY(open_one(t, t->split.replica[r].stage[s].device, o, log, watch, err));
    return 0;
}

/* ---- division ---- */

static int undivided(tn_team *t, int batch, tn_error *err)
{
    tn_replica *r = tn_split_add(&t->split);
    if (!r) return tn_oom(err);
    r->images = r->micro = batch;
    r->n_stages = 1;
    r->stage[0] = (tn_split_stage){t->dev[0]->index, 0, t->n_layers - 1, TN_KEEPS_ALL};
    return 0;
}

static int split_by_hand(tn_team *t, const char *text, int batch, tn_error *err)
{
    const char **names = malloc(sizeof *names * (size_t)t->n_layers);
    if (!names) return tn_oom(err);
    for (int i = 0; i < t->n_layers; i++) names[i] = t->layers[i];
    const int rc = tn_split_read(&t->split, text, &(tn_layer_names){names, t->n_layers}, batch, err);
    free(names);
    return rc;
}

static int whose_layers(tn_team *t, tn_error *err)
{
    const size_t replicas = (size_t)TN_MAX(t->split.n_replicas, 1);
    t->stage_of = calloc(replicas, sizeof *t->stage_of);
    for (int r = 0; t->stage_of && r < t->split.n_replicas; r++) {
        const tn_replica *p = &t->split.replica[r];
        int *of = t->stage_of[r] = malloc(sizeof *of * (size_t)t->n_layers);
        if (!of) return tn_oom(err);
        for (int s = 0; s < p->n_stages; s++)
            for (int i = p->stage[s].first; i <= p->stage[s].last; i++) of[i] = s;
    }
    return t->stage_of ? 0 : tn_oom(err);
}

static tn_dev *device_of(const tn_team *t, int index)
{
    for (int i = 0; i < t->n_dev; i++)
        if (t->dev[i]->index == index) return t->dev[i];
    return NULL;
}

static int add_members(tn_team *t, tn_error *err)
{
    size_t n = 0;
    for (int r = 0; r < t->split.n_replicas; r++) n += (size_t)t->split.replica[r].n_stages;
    t->member = calloc(n, sizeof *t->member);
    if (!t->member) return tn_oom(err);
    for (int r = 0; r < t->split.n_replicas; r++) {
        const tn_replica *p = &t->split.replica[r];
        for (int s = 0; s < p->n_stages; s++)
            t->member[t->n++] = (tn_member){.dev = device_of(t, p->stage[s].device),
                                            .replica = r,
                                            .stage = s,
                                            .n_stages = p->n_stages,
                                            .first = p->stage[s].first,
                                            .last = p->stage[s].last};
    }
    return 0;
}

static void report(const tn_team *t, const tn_log *log)
{
    for (int i = 0; i < t->n; i++) {
        const tn_member *m = &t->member[i];
        char of[40] = "";
        if (t->split.n_replicas > 1) snprintf(of, sizeof of, ", %d images of a batch", t->split.replica[m->replica].images);
        tn_logf(log, TN_LOG_INFO, "device %d, '%s': %s to %s%s", m->dev->index, m->dev->info.name, t->layers[m->first],
                t->layers[m->last], of);
    }
}

int tn_team_open(tn_team *t, const tn_model *m, int batch, const tn_run_options *o, const tn_log *log, tn_watch watch,
                 tn_error *err)
{
    TN_TRY(tn_watch_tell(&watch, TN_PHASE_OPENING, NULL, 0, 0, err));
    TN_TRY(tn_model_layers(&t->layers, &t->n_layers, m, err));
    if (o->stages && o->ranks)
        return tn_fail(err, TN_ERR_ARGUMENT, "--stages divides the layers within one process; a rank has one device");
    if (o->stages) TN_TRY(split_by_hand(t, o->stages, batch, err));
    TN_TRY(o->stages ? open_of_split(t, o, log, watch, err) : open_listed(t, o, log, watch, err));
    if (!o->stages) TN_TRY(undivided(t, batch, err));
    TN_TRY(whose_layers(t, err));
    TN_TRY(add_members(t, err));
    if (t->n > 1) report(t, log);
    return 0;
}

/* ---- weights ---- */

/* The slots of the member's layers. */
static int slots_held(bool *held, const tn_team *t, const tn_member *who, const tn_model *m, tn_error *err)
{
    int *owner = malloc(sizeof *owner * (size_t)(m->n_slots + 1));
    const int *stage_of = t->stage_of[who->replica];
    int rc = owner ? tn_slot_layers(owner, m, stage_of, t->n_layers, err) : tn_oom(err);
    for (int i = 0; !rc && i < m->n_slots; i++) held[i] = stage_of[owner[i]] == who->stage;
    free(owner);
    return rc;
}

static int store_of(tn_member *who, const tn_team *t, const tn_model *m, const tn_store_spec *spec, tn_error *err)
{
    tn_store_spec own = *spec;
    tn_store *store = NULL;
    bool *held = calloc((size_t)m->n_slots + 1, sizeof *held);
    const bool part = who->n_stages > 1;
    int rc = held ? 0 : tn_oom(err);
    if (!rc && part) rc = slots_held(held, t, who, m, err);
    own.held = part ? held : NULL;
    own.window = who->window;
    if (!rc) rc = tn_store_new_of(&store, who->dev, m, &own, err);
    if (!rc) rc = tn_session_new(&who->session, who->dev, m, store, err);
    if (!rc && part) who->session->cut = (tn_cut){t->stage_of[who->replica], t->n_layers, who->stage};
    free(held);
    return rc;
}

int tn_team_store(tn_team *t, const tn_model *m, const tn_store_spec *spec, tn_error *err)
{
    tn_store *first = NULL; /* of the replica before */
    for (int i = 0; i < t->n; i++) {
        tn_member *who = &t->member[i];
        TN_TRY(store_of(who, t, m, spec, err));
        tn_store *st = who->session->store;
        if (who->stage) t->member[i - 1].session->store->next = st;
        else if (first) first->twin = st;
        if (!who->stage) first = st;
    }
    return 0;
}

void tn_team_unstore(tn_team *t)
{
    for (int i = 0; i < t->n; i++) {
        tn_session_free(t->member[i].session);
        t->member[i].session = NULL;
    }
}

void tn_team_close(tn_team *t)
{
    tn_team_unstore(t);
    for (int r = 0; t->stage_of && r < t->split.n_replicas; r++) free(t->stage_of[r]);
    for (int i = 0; i < t->n_dev; i++) tn_dev_close(t->dev[i]);
    free(t->stage_of);
    free(t->member);
    free(t->dev);
    free(t->layers);
    tn_split_free(&t->split);
    *t = (tn_team){0};
}

void tn_team_names(const tn_team *t, char *out, size_t n)
{
    size_t at = 0;
    for (int i = 0; i < t->n_dev && at < n; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%s", i ? ", " : "", t->dev[i]->info.name);
}
