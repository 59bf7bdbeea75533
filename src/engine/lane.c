#include "lane.h"
#include "kept.h"

#include <string.h>

enum { NODES = 1 << 20 }; /* the optimiser's commands count on from here, beyond any graph's nodes */

static const tn_adam_spec adam = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f};

/* ---- memory ---- */

static size_t place(size_t *end, size_t bytes)
{
    const size_t at = *end;
    *end = TN_ROUND_UP(at + bytes, (size_t)64);
    return at;
}

/* What a frame brings with it: its bytes, its features, or where those are on the device nothing. */
static size_t bytes_of_frame(const tn_engine *e, const tn_features *f)
{
    if (!f) return tn_engine_image_bytes(e);
    return tn_features_on_device(f) ? 0 : tn_features_frame_bytes(e);
}

static bool is_first(const tn_member *m)
{
    return m->stage == 0;
}

static bool is_last(const tn_member *m)
{
    return m->stage == m->n_stages - 1;
}

size_t tn_lane_label_bytes(const tn_engine *e)
{
    return (size_t)e->model->heats * 3 * sizeof(float);
}

/* A lane that reads no frames, or no labels, brings none. */
static tn_lane_layout lay_out(const tn_engine *e, const tn_member *who, int batch, int micro, size_t image)
{
    const size_t n = (size_t)batch;
    tn_lane_layout a = {.image = is_first(who) ? image : 0};
    const size_t micros = (size_t)TN_MAX(TN_CEIL_DIV(batch, micro), 1);
    if (tn_engine_draws_rope(e)) a.table = tn_model_drawn(e->model) * sizeof(float);
    (void)place(&a.total, micros * sizeof(tn_step_constants));
    a.labels = place(&a.total, is_last(who) ? n * tn_lane_label_bytes(e) : 0);
    a.tables = place(&a.total, micros * a.table);
    a.frames = place(&a.total, n * a.image);
    a.parts = place(&a.total, is_last(who) ? micros * TN_PARTIALS * sizeof(float) : 0);
    a.state = place(&a.total, sizeof(tn_optim_state));
    return a;
}

static size_t scratch_bytes(const tn_dev *d)
{
    return TN_ROUND_UP((size_t)TN_PARTIALS * sizeof(float), d->align);
}

/* A team of devices may lose one; the first replica's lanes have everything. */
static bool keeps(const tn_engine *e, const tn_member *who)
{
    return e->team.n_dev > 1 && who->replica == 0;
}

bool tn_lane_keeps(const tn_lane *l)
{
    return keeps(l->e, l->who);
}

size_t tn_lane_bytes(const tn_engine *e, const tn_member *who, int batch, int micro, bool features)
{
    const size_t frame = bytes_of_frame(e, NULL), most = features ? TN_MAX(frame, tn_features_frame_bytes(e)) : frame;
    const tn_lane_layout a = lay_out(e, who, batch, micro, most);
    const size_t sums = e->team.n > 1 ? TN_PARTIALS * sizeof(float) : 0;
    const size_t small = sizeof(tn_step_constants) + sizeof(tn_optim_state) + scratch_bytes(who->dev) + sums;
    const size_t kept = keeps(e, who) ? tn_kept_bytes(who->session->store) : 0;
    return small + (who->dev->info.unified_memory ? TN_LANE_SLOTS * (a.total + kept) : a.parts);
}

static tn_store *store_of(const tn_lane *l)
{
    return l->who->session->store;
}

static void release_slots(tn_lane *l)
{
    for (int i = 0; i < TN_LANE_SLOTS; i++) {
        tn_staging_free(&l->slot[i].staging);
        tn_staging_free(&l->slot[i].kept);
        tn_event_free(l->slot[i].kept_there);
        l->slot[i].kept_there = NULL;
    }
    tn_buffer_free(l->inputs);
    tn_event_free(l->taken);
    l->inputs = NULL;
    l->taken = NULL;
    l->micro = 0;
}

static bool slots_fit(const tn_lane *l, const tn_step_job *j)
{
    return j->micro == l->micro && (!l->frames || bytes_of_frame(l->e, j->features) == l->at.image);
}

static int make_slots(tn_lane *l, const tn_step_job *j, tn_error *err)
{
    tn_dev *d = l->who->dev;
    if (slots_fit(l, j)) return 0;
    release_slots(l);
    l->at = lay_out(l->e, l->who, l->batch, j->micro, bytes_of_frame(l->e, j->features));
    for (int i = 0; i < TN_LANE_SLOTS; i++) {
        TN_TRY(tn_staging_new(&l->slot[i].staging, d, l->at.total, err));
        memset(l->slot[i].staging.host, 0, l->at.total);
        if (tn_lane_keeps(l)) TN_TRY(tn_staging_new(&l->slot[i].kept, d, tn_kept_bytes(store_of(l)), err));
    }
    if (!d->info.unified_memory) TN_TRY(tn_buffer_new(&l->inputs, d, l->at.parts, "frames that wait", err));
    l->micro = j->micro;
    return 0;
}

int tn_lane_new(tn_lane *l, tn_engine *e, const tn_member *who, int batch, tn_error *err)
{
    *l = (tn_lane){.e = e, .who = who, .frames = is_first(who), .labels = is_last(who), .batch = batch};
    tn_ctx_init(&l->optim, who->dev);
    if (e->team.n < 2 || e->session->store->dry) return 0;
    return tn_buffer_new(&l->sums, who->dev, TN_PARTIALS * sizeof(float), "the gradient's norm", err);
}

static void forget_tape(tn_tape **t)
{
    tn_tape_free(*t);
    *t = NULL;
}

static void forget_tapes(tn_lane *l)
{
    forget_tape(&l->norm);
    for (size_t i = 0; i < TN_COUNT(l->update); i++) forget_tape(&l->update[i]);
}

void tn_lane_free(tn_lane *l)
{
    tn_error unread;
    if (!l->e) return;
    (void)tn_dev_finish(l->who->dev, &unread); /* commands on their way write to the staging memory */
    for (int i = 0; i < TN_LANE_SLOTS; i++) tn_event_free(l->slot[i].done);
    release_slots(l);
    forget_tapes(l);
    tn_buffer_free(l->sums);
    l->optim.constants = l->optim.state = NULL; /* the session's */
    tn_ctx_free(&l->optim);
    *l = (tn_lane){0};
}

/* ---- results ---- */

double tn_lane_loss(const tn_lane *l, int i)
{
    const tn_lane_slot *s = &l->slot[i];
    const float *parts = (const float *)((const char *)s->staging.host + l->at.parts);
    double loss = 0;
    for (int k = 0; l->labels && k < s->micros; k++) loss += tn_loss_sum(parts + (size_t)k * TN_PARTIALS);
    return loss;
}

const tn_optim_state *tn_lane_state(const tn_lane *l, int i)
{
    return (const tn_optim_state *)((const char *)l->slot[i].staging.host + l->at.state);
}

int tn_lane_join(const tn_lane *l, int i, tn_error *err)
{
    const tn_lane_slot *s = &l->slot[i];
    if (!s->done) return tn_fail(err, TN_ERR_ARGUMENT, "no step is under way");
    TN_TRY(tn_event_join(s->done, err));
    return tn_event_join(s->kept_there, err);
}

int tn_lane_collect(tn_lane *l, int i, tn_optim_state *state, tn_error *err)
{
    tn_lane_slot *s = &l->slot[i];
    if (!s->done) return 0;
    /* beside others, the next step's passes are another thread's by now */
    const int rc = l->sums ? tn_event_join(s->done, err) : tn_event_wait(s->done, err);
    tn_event_free(s->done);
    s->done = NULL;
    TN_TRY(rc);
    TN_TRY(tn_event_join(s->kept_there, err)); /* what is handed out is also kept */
    *state = *tn_lane_state(l, i);
    return 0;
}

/* ---- what is recorded ---- */

/* flops and bytes: of the launch. */
static void note(tn_lane *l, const char *op, int node, double flops, double bytes)
{
    const tn_note n = {.layer = "optimiser", .op = op, .node = NODES + node, .flops = flops, .bytes = bytes};
    tn_ws_reset(&l->optim);
    tn_tape_note(l->optim.tape, &n);
}

static int record_group(tn_lane *l, int g, tn_error *err)
{
    const tn_store *s = store_of(l);
    const tn_settings *conf = l->e->s;
    const bool sgd = !strcmp(conf->training.optimizer, "sgd");
    tn_optim_range ranges[TN_STORE_RANGES];
    const int parts = tn_store_ranges(s, g, (float)conf->training.loraplus_ratio, ranges);
    for (int i = 0; i < parts; i++) {
        const tn_optim_range *r = &ranges[i];
        const double n = (double)r->n;
        note(l, sgd ? "sgd" : "adamw", 1 + g + TN_GROUPS * i, (sgd ? 6 : 16) * n, (sgd ? 24 : 32) * n);
        TN_TRY(sgd ? tn_sgd(&l->optim, r, (float)conf->training.momentum, err) : tn_adamw(&l->optim, r, &adam, err));
    }
    return 0;
}

static void note_clip(tn_lane *l)
{
    const tn_store *s = store_of(l);
    note(l, "clip", 0, 2.0 * (double)s->n_params, 4.0 * (double)s->n_params);
}

static int record_norm(tn_lane *l, int groups, tn_error *err)
{
    const tn_store *s = store_of(l);
    (void)groups;
    note_clip(l);
    return tn_grad_norm(&l->optim, s->grads, 0, s->n_params, l->sums, NULL, err);
}

static int record_update(tn_lane *l, int groups, tn_error *err)
{
    const tn_store *s = store_of(l);
    note_clip(l);
    TN_TRY(l->sums ? tn_clip_sums(&l->optim, l->sums, 1, &adam, err) : tn_clip(&l->optim, s->grads, 0, s->n_params, &adam, err));
    for (int g = 0; g < TN_GROUPS; g++)
        if (groups & tn_group_bit(g)) TN_TRY(record_group(l, g, err));
    return 0;
}

static int record(tn_tape **out, tn_lane *l, int (*what)(tn_lane *, int, tn_error *), int groups, tn_error *err)
{
    if (*out) return 0;
    TN_TRY(tn_tape_new(out, l->who->dev, err));
    l->optim.tape = *out;
    const int rc = what(l, groups, err);
    l->optim.tape = NULL;
    tn_ws_reset(&l->optim);
    if (!rc) return 0;
    forget_tape(out);
    return rc;
}

int tn_lane_tape(tn_tape **out, tn_lane *l, int groups, tn_error *err)
{
    tn_ctx *c = &l->who->session->ctx;
    const int generation = store_of(l)->generation;
    if (l->recorded_for != generation) forget_tapes(l);
    l->recorded_for = generation;
    tn_tape **update = &l->update[groups & ((1 << TN_GROUPS) - 1)];
    TN_TRY(tn_ctx_step_ready(c, err));
    l->optim.constants = c->constants;
    l->optim.state = c->state;
    TN_TRY(tn_ctx_reserve(&l->optim, scratch_bytes(c->dev), err));
    if (l->sums) TN_TRY(record(&l->norm, l, record_norm, 0, err));
    TN_TRY(record(update, l, record_update, groups, err));
    *out = *update;
    return 0;
}

/* The passes of `images` frames in parts of j->micro; n of them. */
static int passes_of(tn_pass pass[2], const tn_lane *l, const tn_step_job *j, int images)
{
    const int whole = TN_MIN(j->micro, images), rest = whole ? images % whole : 0;
    const int size[2] = {whole, rest}, n = !whole ? 0 : rest ? 2 : 1;
    for (int i = 0; i < n; i++)
        pass[i] = j->features ? tn_engine_head_pass(l->e, size[i]) : tn_engine_train_pass(l->e, size[i], j->groups);
    return n;
}

/* 1F1B (Narayanan et al. 2019): a stage is ahead of its backward passes by the stages behind it. */
int tn_lane_flights(const tn_member *who, int micros)
{
    return TN_MAX(1, TN_MIN(who->n_stages - who->stage, micros));
}

bool tn_lane_ready(tn_lane *l, const tn_step_job *j, int images)
{
    tn_pass pass[2];
    const int n = passes_of(pass, l, j, images);
    bool ready = slots_fit(l, j);
    l->n_flights = tn_lane_flights(l->who, TN_CEIL_DIV(images, j->micro));
    for (int i = 0; i < n && ready; i++)
        for (int f = 0; f < l->n_flights && ready; f++) {
            pass[i].flight = f;
            l->x[i][f] = tn_session_ready(l->who->session, &pass[i]);
            ready = l->x[i][f] != NULL;
        }
    return ready;
}

int tn_lane_prepare(tn_lane *l, const tn_step_job *j, int images, tn_error *err)
{
    tn_session *s = l->who->session;
    tn_pass pass[2];
    const int n = passes_of(pass, l, j, images);
    TN_TRY(make_slots(l, j, err));
    for (int again = 0; again < 2; again++) /* the last may move the first */
        for (int i = 0; i < n; i++)
            for (int f = 0; f < l->n_flights; f++) {
                pass[i].flight = f;
                TN_TRY(tn_session_get(&l->x[i][f], s, &pass[i], err));
            }
    for (int i = 0; i < n; i++)
        for (int f = 0; f < l->n_flights; f++) TN_TRY(tn_session_record(s, l->x[i][f], err));
    return 0;
}
