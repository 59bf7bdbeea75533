#include "stepper.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 2, NODES = 1 << 20 }; /* NODES: the optimiser's commands count on from here, beyond any graph's nodes */

/* Where things lie in a slot, bytes. Frames come last of what goes up, so that a short batch is a shorter upload. */
typedef struct {
    int micros;
    size_t image, table; /* of one frame, or of what stands for it; of RoPE's table where it is drawn anew, 0 else */
    size_t labels, tables, frames, parts, state, total;
} layout;

typedef struct {
    tn_staging staging;
    tn_event *done; /* NULL: no step is in it */
    tn_step_result r;
    int micros;
} step_slot;

struct tn_stepper {
    tn_engine *e;
    int batch, micro; /* the slots are laid out for */
    layout at;
    step_slot slot[SLOTS];
    int next;
    tn_buffer *inputs; /* on the device; NULL where it shares the host's memory */
    tn_event *taken;   /* the last step's inputs were read */
    tn_exec *x[2];     /* of a whole micro-batch, and of the batch's rest */
    tn_ctx optim;      /* workspace of its own: the session's may grow, which would leave the tapes with the old one */
    tn_tape *clear, *update[1 << TN_GROUPS];
    int recorded_for; /* the store's generation */
    tn_step_done done;
    void *user;
    tn_step_others others; /* play NULL: there are none */
};

static const tn_adam_spec adam = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f};
static const int group_bits[TN_GROUPS] = {TN_GROUP_HEAD, TN_GROUP_LORA, TN_GROUP_BACKBONE};

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
    if (!f) return 3 * (size_t)e->image_w * (size_t)e->image_h;
    return tn_features_on_device(f) ? 0 : tn_features_frame_bytes(e);
}

static layout lay_out(const tn_engine *e, int batch, int micro, size_t image)
{
    const tn_vit *v = &e->model->vit;
    const size_t cells = (size_t)(e->image_h / v->patch) * (size_t)(e->image_w / v->patch), n = (size_t)batch;
    layout a = {.micros = TN_CEIL_DIV(batch, micro), .image = image};
    const size_t micros = (size_t)a.micros;
    if (tn_engine_draws_rope(e)) a.table = cells * (size_t)(v->hidden / v->heads) * sizeof(float);
    a.total = 0;
    (void)place(&a.total, micros * sizeof(tn_step_constants));
    a.labels = place(&a.total, n * 3 * sizeof(float));
    a.tables = place(&a.total, micros * a.table);
    a.frames = place(&a.total, n * a.image);
    a.parts = place(&a.total, micros * TN_PARTIALS * sizeof(float));
    a.state = place(&a.total, sizeof(tn_optim_state));
    return a;
}

static size_t scratch_bytes(const tn_dev *d)
{
    return TN_ROUND_UP((size_t)TN_PARTIALS * sizeof(float), d->align);
}

size_t tn_stepper_bytes(const tn_engine *e, int batch, int micro, bool features)
{
    const size_t frame = bytes_of_frame(e, NULL), most = features ? TN_MAX(frame, tn_features_frame_bytes(e)) : frame;
    const layout a = lay_out(e, batch, micro, most);
    const size_t small = sizeof(tn_step_constants) + sizeof(tn_optim_state) + scratch_bytes(e->dev);
    return small + (e->dev->info.unified_memory ? SLOTS * a.total : a.parts);
}

static void release_slots(tn_stepper *st)
{
    for (int i = 0; i < SLOTS; i++) tn_staging_free(&st->slot[i].staging);
    tn_buffer_free(st->inputs);
    tn_event_free(st->taken);
    st->inputs = NULL;
    st->taken = NULL;
    st->micro = 0;
}

static int make_slots(tn_stepper *st, const tn_step_job *j, tn_error *err)
{
    tn_dev *d = st->e->dev;
    const size_t image = bytes_of_frame(st->e, j->features);
    if (j->micro == st->micro && image == st->at.image) return 0;
    TN_TRY(tn_stepper_drain(st, err));
    release_slots(st);
    st->at = lay_out(st->e, st->batch, j->micro, image);
    for (int i = 0; i < SLOTS; i++) {
        TN_TRY(tn_staging_new(&st->slot[i].staging, d, st->at.total, err));
        memset(st->slot[i].staging.host, 0, st->at.total);
    }
    if (!d->info.unified_memory) TN_TRY(tn_buffer_new(&st->inputs, d, st->at.parts, "frames that wait", err));
    st->micro = j->micro;
    return 0;
}

int tn_stepper_new(tn_stepper **out, tn_engine *e, int batch, tn_step_done done, void *user, tn_error *err)
{
    tn_stepper *st = *out = calloc(1, sizeof *st);
    if (!st) return tn_oom(err);
    *st = (tn_stepper){.e = e, .batch = batch, .done = done, .user = user};
    tn_ctx_init(&st->optim, e->dev);
    return 0;
}

void tn_stepper_join(tn_stepper *st, const tn_step_others *others)
{
    st->others = *others;
}

static void forget_tapes(tn_stepper *st)
{
    tn_tape_free(st->clear);
    st->clear = NULL;
    for (size_t i = 0; i < TN_COUNT(st->update); i++) {
        tn_tape_free(st->update[i]);
        st->update[i] = NULL;
    }
}

void tn_stepper_free(tn_stepper *st)
{
    tn_error unread;
    if (!st) return;
    (void)tn_dev_finish(st->e->dev, &unread); /* commands on their way write to the staging memory */
    for (int i = 0; i < SLOTS; i++) tn_event_free(st->slot[i].done);
    release_slots(st);
    forget_tapes(st);
    st->optim.constants = st->optim.state = NULL; /* the session's */
    tn_ctx_free(&st->optim);
    free(st);
}

/* ---- results ---- */

/* Of the frames that are here, whose partials have come. */
static double loss_of(const tn_stepper *st, const step_slot *s)
{
    const float *parts = (const float *)((const char *)s->staging.host + st->at.parts);
    double loss = 0;
    for (int k = 0; k < s->micros; k++) loss += tn_loss_sum(parts + (size_t)k * TN_PARTIALS);
    return loss;
}

/* Waits for the slot's step, if there is one, and hands its results out. */
static int collect(tn_stepper *st, step_slot *s, tn_error *err)
{
    if (!s->done) return 0;
    const char *host = s->staging.host;
    const int rc = tn_event_wait(s->done, err);
    tn_event_free(s->done);
    s->done = NULL;
    TN_TRY(rc);
    if (!st->others.play) s->r.loss = loss_of(st, s);
    memcpy(&s->r.optim, host + st->at.state, sizeof s->r.optim);
    return st->done ? st->done(st->user, &s->r, err) : 0;
}

int tn_stepper_drain(tn_stepper *st, tn_error *err)
{
    for (int i = 0; i < SLOTS; i++) TN_TRY(collect(st, &st->slot[(st->next + i) % SLOTS], err));
    return tn_dev_finish(st->e->dev, err); /* also for a step that failed half-way and left no event */
}

/* ---- what is recorded ---- */

/* flops and bytes: of the launch. */
static void note(tn_stepper *st, const char *op, int node, double flops, double bytes)
{
    const tn_note n = {.layer = "optimiser", .op = op, .node = NODES + node, .flops = flops, .bytes = bytes};
    tn_ws_reset(&st->optim);
    tn_tape_note(st->optim.tape, &n);
}

static int record_clear(tn_stepper *st, tn_error *err)
{
    const tn_store *s = st->e->session->store;
    note(st, "zero_grad", 0, 0, 4.0 * (double)s->n_params);
    return tn_op_fill(&st->optim, s->grads, 0, s->n_params * 4, 0, err);
}

static int record_group(tn_stepper *st, int g, tn_error *err)
{
    const tn_store *s = st->e->session->store;
    const tn_settings *conf = st->e->s;
    const bool sgd = !strcmp(conf->training.optimizer, "sgd");
    const double n = (double)s->group_len[g];
    const tn_optim_range r = tn_store_range(s, g);
    note(st, sgd ? "sgd" : "adamw", 2 + g, (sgd ? 6 : 16) * n, (sgd ? 20 : 28) * n);
    return sgd ? tn_sgd(&st->optim, &r, (float)conf->training.momentum, err) : tn_adamw(&st->optim, &r, &adam, err);
}

static int record_update(tn_stepper *st, int groups, tn_error *err)
{
    const tn_store *s = st->e->session->store;
    note(st, "clip", 1, 2.0 * (double)s->n_params, 4.0 * (double)s->n_params);
    TN_TRY(tn_clip(&st->optim, s->grads, 0, s->n_params, &adam, err));
    for (int g = 0; g < TN_GROUPS; g++)
        if (groups & group_bits[g]) TN_TRY(record_group(st, g, err));
    return 0;
}

static int record(tn_tape **out, tn_stepper *st, int groups, tn_error *err)
{
    if (*out) return 0;
    TN_TRY(tn_tape_new(out, st->e->dev, err));
    st->optim.tape = *out;
    const int rc = groups ? record_update(st, groups, err) : record_clear(st, err);
    st->optim.tape = NULL;
    tn_ws_reset(&st->optim);
    if (!rc) return 0;
    tn_tape_free(*out);
    *out = NULL;
    return rc;
}

int tn_stepper_tapes(tn_tape **before, tn_tape **after, tn_stepper *st, int groups, tn_error *err)
{
    tn_ctx *c = &st->e->session->ctx;
    const int generation = st->e->session->store->generation;
    if (st->recorded_for != generation) forget_tapes(st);
    st->recorded_for = generation;
    tn_tape **update = &st->update[groups & ((1 << TN_GROUPS) - 1)];
    TN_TRY(tn_ctx_step_ready(c, err));
    st->optim.constants = c->constants;
    st->optim.state = c->state;
    TN_TRY(tn_ctx_reserve(&st->optim, scratch_bytes(c->dev), err));
    TN_TRY(record(&st->clear, st, 0, err));
    TN_TRY(record(update, st, groups, err));
    *before = st->clear;
    *after = *update;
    return 0;
}

/* The executions for the batch's parts, with memory and recorded, so that a refusal comes before anything is enqueued. New ones
 * may move the arena under steps that still run: those are waited for. */
static int find_passes(tn_stepper *st, const tn_step_job *j, tn_error *err)
{
    tn_session *s = st->e->session;
    if (!j->batch.n) return 0;
    const int whole = TN_MIN(j->micro, j->batch.n), size[2] = {whole, j->batch.n % whole};
    const int n = size[1] ? 2 : 1;
    tn_pass pass[2];
    bool ready = true;
    for (int i = 0; i < n; i++) {
        pass[i] = j->features ? tn_engine_head_pass(st->e, size[i]) : tn_engine_train_pass(st->e, size[i], j->groups);
        st->x[i] = tn_session_ready(s, &pass[i]);
        ready &= st->x[i] != NULL;
    }
    if (ready) return 0;
    TN_TRY(tn_stepper_drain(st, err));
    for (int i = 0; i < 2 * n; i++) TN_TRY(tn_session_get(&st->x[i % n], s, &pass[i % n], err)); /* the second may move the first */
    for (int i = 0; i < n; i++) TN_TRY(tn_session_record(s, st->x[i], err));
    return 0;
}

/* ---- a step ---- */

/* DINOv3's coordinate augmentation: one draw for each forward pass, shared by batch and layers. */
static void draw_rope(const tn_engine *e, uint32_t seed, float *table)
{
    const tn_vit *v = &e->model->vit;
    tn_rng r = tn_rng_named(seed, "rope");
    double d[4] = {0, 0, 1, 1};
    if (v->rope_shift > 0)
        for (int i = 0; i < 2; i++) d[i] = (2 * tn_rng_uniform(&r) - 1) * v->rope_shift;
    for (int i = 2; v->rope_jitter > 0 && i < 4; i++) d[i] *= exp((2 * tn_rng_uniform(&r) - 1) * log((double)v->rope_jitter));
    if (v->rope_rescale > 0) {
        const double k = exp((2 * tn_rng_uniform(&r) - 1) * log((double)v->rope_rescale));
        d[2] *= k, d[3] *= k;
    }
    tn_rope_table(v, e->image_h / v->patch, e->image_w / v->patch, d, table);
}

static tn_step_constants constants_of(const tn_engine *e, const tn_step_job *j)
{
    const tn_store *s = e->session->store;
    const double counted = j->part ? j->part->counted : tn_engine_counted(e, &j->batch);
    const double inv = 1 / fmax(counted * e->model->heat_w * e->model->heat_h, 1e-8);
    tn_step_constants c = {.inv_mask = (float)inv,
                           .lr = (float)j->lr,
                           .weight_decay = (float)e->s->training.weight_decay,
                           .max_norm = (float)e->s->training.grad_clip_norm,
                           .scaling = e->act == TN_F16};
    for (int g = 0; g < TN_GROUPS; g++)
        if ((j->groups & group_bits[g]) && s->group_len[g]) c.groups |= 1u << g;
    return c;
}

/* What goes up of the frames. */
static void copy_frames(const layout *a, const tn_step_job *j, char *to)
{
    if (!j->features) memcpy(to, j->batch.frames, (size_t)j->batch.n * a->image);
    else if (!tn_features_on_device(j->features))
        for (int i = 0; i < j->batch.n; i++)
            memcpy(to + (size_t)i * a->image, tn_features_host(j->features, j->batch.index[i]), a->image);
}

static void fill_slot(tn_stepper *st, step_slot *s, const tn_step_job *j)
{
    const tn_engine *e = st->e;
    const uint64_t seed = e->s->training.seed;
    const int first = j->part ? j->part->first : 0;
    char *host = s->staging.host;
    tn_step_constants *now = (tn_step_constants *)host, c = constants_of(e, j);
    if (j->batch.n) memcpy(host + st->at.labels, j->batch.labels, (size_t)j->batch.n * 3 * sizeof(float));
    if (j->batch.n) copy_frames(&st->at, j, host + st->at.frames);
    s->micros = TN_CEIL_DIV(j->batch.n, j->micro);
    for (int k = 0; k < s->micros; k++) {
        c.seed = tn_hash_u32((uint32_t)(seed ^ seed >> 32), (uint32_t)(j->index * 4096 + first + k * j->micro));
        now[k] = c;
        if (st->at.table) draw_rope(e, c.seed, (float *)(host + st->at.tables + (size_t)k * st->at.table));
    }
    s->r = (tn_step_result){.index = j->index, .images = j->batch.n, .lr = j->lr};
}

/* Everything at once, as soon as the step before has read its own. */
static int upload(tn_stepper *st, const step_slot *s, tn_error *err)
{
    tn_event *there = NULL;
    const size_t bytes = st->at.frames + (size_t)s->r.images * st->at.image;
    if (!st->inputs) return 0;
    TN_TRY(tn_buffer_write_async(st->inputs, TN_QUEUE_COPY, 0, s->staging.host, bytes, st->taken, &there, err));
    const int rc = tn_queue_wait(st->e->dev, TN_QUEUE_MAIN, there, err);
    tn_event_free(there);
    tn_event_free(st->taken);
    st->taken = NULL;
    return rc;
}

/* What lies at `at` of the inputs, to where a pass reads it. */
static int bring(tn_stepper *st, const step_slot *s, size_t at, tn_buffer *to, size_t bytes, tn_error *err)
{
    if (st->inputs) return tn_buffer_copy(st->inputs, at, to, 0, bytes, err);
    return tn_buffer_write_async(to, TN_QUEUE_MAIN, 0, (const char *)s->staging.host + at, bytes, NULL, NULL, err);
}

/* The pass's frames, the first of which is the batch's frame `first`. */
static int bring_frames(tn_stepper *st, const step_slot *s, const tn_exec *x, const tn_step_job *j, int first, tn_error *err)
{
    const size_t image = st->at.image, n = (size_t)x->pass.batch;
    tn_buffer *to = x->mem[j->features ? x->g.grid : x->g.pixels];
    if (image) return bring(st, s, st->at.frames + (size_t)first * image, to, n * image, err);
    for (int k = 0; k < x->pass.batch; k++) TN_TRY(tn_features_bring(j->features, j->batch.index[first + k], to, k, err));
    return 0;
}

static int bring_inputs(tn_stepper *st, const step_slot *s, const tn_exec *x, const tn_step_job *j, int k, tn_error *err)
{
    const layout *a = &st->at;
    const size_t first = (size_t)k * (size_t)st->micro, n = (size_t)x->pass.batch, label = 3 * sizeof(float);
    const size_t constants = sizeof(tn_step_constants);
    TN_TRY(bring(st, s, (size_t)k * constants, st->optim.constants, constants, err));
    TN_TRY(bring(st, s, a->labels + first * label, x->mem[x->g.labels], n * label, err));
    TN_TRY(bring_frames(st, s, x, j, k * st->micro, err));
    if (a->table) TN_TRY(bring(st, s, a->tables + (size_t)k * a->table, x->mem[x->g.rope_table], a->table, err));
    return st->inputs && k == s->micros - 1 ? tn_queue_mark(st->e->dev, TN_QUEUE_MAIN, &st->taken, err) : 0;
}

static int enqueue_micro(tn_stepper *st, const step_slot *s, const tn_step_job *j, int k, tn_error *err)
{
    tn_exec *x = st->x[k && (k + 1) * st->micro > s->r.images];
    float *parts = (float *)((char *)s->staging.host + st->at.parts) + (size_t)k * TN_PARTIALS;
    TN_TRY(bring_inputs(st, s, x, j, k, err));
    if (st->others.play && k == s->micros - 1) TN_TRY(st->others.play(st->others.user, x, err));
    else TN_TRY(tn_session_run(st->e->session, x, err));
    return tn_buffer_read_async(x->mem[x->g.loss], TN_QUEUE_MAIN, 0, parts, TN_PARTIALS * sizeof *parts, NULL, NULL, err);
}

/* The others' gradients and losses. The device has nothing to do until they are here, so the loss is waited for as well. */
static int add_others(tn_stepper *st, step_slot *s, const tn_step_job *j, tn_error *err)
{
    tn_event *passed;
    TN_TRY(tn_queue_mark(st->e->dev, TN_QUEUE_MAIN, &passed, err));
    int rc = tn_dev_flush(st->e->dev, err);
    if (!rc) rc = st->others.sum(st->others.user, j->groups, err);
    if (!rc) rc = tn_event_wait(passed, err);
    tn_event_free(passed);
    if (rc) return rc;
    s->r.loss = loss_of(st, s);
    return st->others.total(st->others.user, &s->r.loss, err);
}

static int enqueue(tn_stepper *st, step_slot *s, const tn_step_job *j, tn_error *err)
{
    tn_tape *before, *after;
    char *state = (char *)s->staging.host + st->at.state;
    TN_TRY(tn_stepper_tapes(&before, &after, st, j->groups, err));
    TN_TRY(upload(st, s, err));
    TN_TRY(tn_tape_play(before, err));
    for (int k = 0; k < s->micros; k++) TN_TRY(enqueue_micro(st, s, j, k, err));
    if (st->others.play) TN_TRY(add_others(st, s, j, err));
    TN_TRY(tn_tape_play(after, err));
    return tn_buffer_read_async(st->optim.state, TN_QUEUE_MAIN, 0, state, sizeof(tn_optim_state), NULL, &s->done, err);
}

int tn_stepper_step(tn_stepper *st, const tn_step_job *j, tn_error *err)
{
    step_slot *slot = &st->slot[st->next];
    st->e->session->loss = tn_engine_loss(st->e);
    TN_TRY(collect(st, slot, err));
    TN_TRY(make_slots(st, j, err));
    TN_TRY(find_passes(st, j, err));
    fill_slot(st, slot, j);
    TN_TRY(enqueue(st, slot, j, err));
    st->next = (st->next + 1) % SLOTS;
    return tn_dev_flush(st->e->dev, err);
}
