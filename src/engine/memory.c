/* How much device memory a run takes, from the plan, before it takes any. */
#include "fit.h"
#include "machine.h"
#include "stepper.h"
#include "stream.h"
#include "tensor_map.h"

#include <stdio.h>

enum { OPERANDS = 4 }; /* of a product that its descriptors are of */

/* What the passes of a session take together. */
typedef struct {
    size_t chunk[TN_MAX_CHUNKS]; /* of the arena, which they share */
    size_t constants;            /* which they do not */
    int maps;                    /* descriptors of matrices that products may make */
    size_t workspace;
} takings;

/* times: executions of this kind that live beside each other, of a micro-batch and of a batch's rest. */
static int add_pass(takings *t, const tn_engine *e, const tn_model *m, tn_store *st, tn_pass pass, int times, tn_error *err)
{
    tn_exec *x;
    TN_TRY(tn_exec_new(&x, e->dev, m, st, &pass, err));
    for (int i = 0; i < x->plan.n_chunks; i++) t->chunk[i] = TN_MAX(t->chunk[i], x->plan.chunk_bytes[i]);
    for (int i = 0; i < x->g.n_t; i++)
        if (x->g.t[i].kind == TN_G_CONST && x->plan.t[i].last >= 0) t->constants += (size_t)times * tn_gtensor_bytes(&x->g.t[i]);
    for (int i = 0; pass.act != TN_F32 && i < x->g.n_n; i++) t->maps += times * OPERANDS * x->g.n[i].n_parts;
    t->workspace = TN_MAX(t->workspace, x->workspace);
    tn_exec_free(NULL, x);
    return 0;
}

static size_t workspace_of(const takings *t, const tn_engine *e)
{
    return t->workspace + tn_tensor_map_bytes(e->dev, t->maps);
}

static size_t activations_of(const takings *t)
{
    size_t sum = t->constants;
    for (int i = 0; i < TN_MAX_CHUNKS; i++) sum += t->chunk[i];
    return sum;
}

int tn_engine_memory(const tn_engine *e, int micro, tn_memory *m, tn_error *err)
{
    tn_store *st = e->session->store;
    takings t = {.workspace = 0};
    *m = (tn_memory){.version = TN_MEMORY_VERSION,
                     .weights = tn_store_weight_bytes(st, e->window),
                     .weights_float32 = st->float_bytes,
                     .parameters = 4 * st->n_params + tn_store_shadow_bytes(st),
                     .gradients = 4 * st->n_params,
                     .optimizer = 8 * st->n_params,
                     .micro_batch = micro,
                     .streamed = e->window ? st->stream->total : 0,
                     .quantized_modules = st->n_quantised,
                     .skipped_modules = st->n_skipped,
                     .indivisible_modules = st->n_indivisible};
    TN_TRY(add_pass(&t, e, e->model, st, tn_engine_train_pass(e, micro, tn_engine_groups(e)), 2, err));
    if (e->s->training.freeze_epochs > 0)
        TN_TRY(add_pass(&t, e, e->model, st, tn_engine_train_pass(e, micro, TN_GROUP_HEAD), 2, err));
    TN_TRY(add_pass(&t, e, e->model, st, tn_engine_eval_pass(e, micro, true), 2, err));
    m->activations = activations_of(&t);
    m->workspace = workspace_of(&t, e) + tn_stepper_bytes(e, e->s->training.batch_size, micro, false);
    m->total = m->weights + m->parameters + m->gradients + m->optimizer + m->activations + m->workspace;
    return 0;
}

int tn_engine_pass_memory(const tn_engine *e, int frames, size_t *bytes, tn_error *err)
{
    tn_store *st = e->session->store;
    takings t = {.workspace = 0};
    TN_TRY(add_pass(&t, e, e->model, st, tn_engine_eval_pass(e, frames, true), 2, err));
    *bytes = tn_store_weight_bytes(st, e->window) + 4 * st->n_params + tn_store_shadow_bytes(st) + activations_of(&t) +
             workspace_of(&t, e) + sizeof(tn_step_constants) + sizeof(tn_optim_state);
    return 0;
}

int tn_engine_full_float32(const tn_engine *e, int micro, size_t *bytes, tn_error *err)
{
    tn_model *full;
    tn_store *st = NULL;
    const tn_model *m = e->model;
    const tn_model_spec spec = {&m->vit, &m->dec, NULL, m->image_h, m->image_w, m->heat_h, m->heat_w, true};
    TN_TRY(tn_model_new(&full, &spec, NULL, err));
    takings t = {.workspace = 0};
    tn_pass pass = {.batch = micro, .act = TN_F32, .groups = 7, .training = true, .loss = true, .heat = true, .frames = true};
    int rc = tn_store_new(&st, e->dev, full, NULL, TN_F32, true, true, err);
    if (!rc) rc = add_pass(&t, e, full, st, pass, 1, err);
    if (!rc)
        *bytes = st->weight_bytes + 16 * st->n_params + activations_of(&t) + t.workspace +
                 tn_stepper_bytes(e, e->s->training.batch_size, micro, false);
    tn_store_free(st);
    tn_model_free(full);
    return rc;
}

size_t tn_engine_room(const tn_engine *e)
{
    const tn_dev *d = e->dev;
    return d->memory_limit ? d->memory_limit : d->info.global_memory / 10 * 9;
}

/* ---- features of a frozen backbone ---- */

/* What of the configuration makes them not worth keeping, or wrong; NULL: nothing. */
static const char *why_none(const tn_engine *e)
{
    const tn_settings *s = e->s;
    if (!s->training.feature_cache) return "training.feature_cache is 0";
    if (tn_engine_frozen_epochs(e) < 2) return tn_engine_frozen_epochs(e) ? "one epoch alone reads them" : "no epoch reads them";
    if (s->data.flip_prob > 0) return "data.preprocess.flip_prob is above 0, so frames differ from epoch to epoch";
    if (tn_engine_draws_rope(e)) return "model.backbone.rope_augment makes them differ from step to step";
    if (s->training.limit_train > 0) return "training.limit_train_batches leaves out frames";
    return NULL;
}

/* Host memory for them; on a device that shares the host's, the device's too. */
static size_t host_room(const tn_engine *e)
{
    const int mib = e->s->training.feature_cache;
    return mib < 0 ? tn_memory_free() / 4 : (size_t)mib << 20;
}

static void find_place(tn_features_plan *p, const tn_engine *e, tn_memory *m)
{
    const int batch = e->s->training.batch_size;
    const bool shared = e->dev->info.unified_memory;
    const size_t room = tn_engine_room(e), host = host_room(e), left = room > m->total ? room - m->total : 0;
    const size_t more = tn_stepper_bytes(e, batch, m->micro_batch, true) - tn_stepper_bytes(e, batch, m->micro_batch, false);
    p->device = p->bytes <= left && (!shared || p->bytes <= host);
    p->host = !shared && p->bytes <= host && more <= left;
    if (p->device) m->activations += p->bytes, m->total += p->bytes;
    else if (p->host) m->workspace += more, m->total += more;
    else
        snprintf(p->why_not, sizeof p->why_not,
                 "they take %zu MiB; there are %zu on the device, %zu in host memory (training.feature_cache)",
                 TN_CEIL_DIV(p->bytes, (size_t)1 << 20), left >> 20, host >> 20);
}

void tn_features_fit(tn_features_plan *p, const tn_engine *e, int frames, tn_memory *m)
{
    *p = (tn_features_plan){.frames = frames, .bytes = (size_t)frames * tn_features_frame_bytes(e)};
    const char *why = why_none(e);
    if (why) snprintf(p->why_not, sizeof p->why_not, "%s", why);
    else find_place(p, e, m);
}

/* ---- merged copies of the weights ---- */

static bool shares_memory(const tn_dev *d)
{
    return d->info.unified_memory || (d->caps & TN_CAP_CPU);
}

/* A CPU unpacks in its caches faster than it reads from memory what is unpacked, but DoRA's norms cost it more than both. */
static bool gains_by_copies(const tn_engine *e)
{
    return !(e->dev->caps & TN_CAP_CPU) || !e->session->store->n_quantised || e->model->lora.dora;
}

/* Half of what is free, a quarter where the host lives in it too; and a pass beside them. */
static int copies_fit(const tn_engine *e, int batch, bool *fit, tn_error *err)
{
    const tn_dev *d = e->dev;
    const size_t room = tn_engine_room(e), left = room - TN_MIN(room, d->allocated), copies = e->session->store->merged_bytes;
    size_t bytes = 0;
    tn_pass pass = tn_engine_eval_pass(e, batch, true);
    pass.merged = true;
    *fit = false;
    const int rc = tn_pass_bytes(&bytes, d, e->model, &pass, err);
    if (rc) return rc == TN_ERR_MEMORY ? 0 : rc;
    *fit = copies <= left / (shares_memory(d) ? 4 : 2) && copies + bytes <= left;
    return 0;
}

/* The first time. */
static int try_to_merge(tn_engine *e, int batch, tn_error *err)
{
    tn_store *st = e->session->store;
    const double copies = (double)st->merged_bytes / 1048576, stored = (double)st->weight_bytes / 1048576;
    bool fit;
    TN_TRY(copies_fit(e, batch, &fit, err));
    const int rc = fit ? tn_store_merge(st, err) : 0;
    if (rc && rc != TN_ERR_MEMORY) return rc;
    e->stays_apart = !st->merged;
    if (st->merged)
        tn_logf(
            e->log, TN_LOG_INFO,
            "adapters merged into unpacked weights: %.1f MiB beside the %.1f as stored; a smaller --memory-limit leaves them apart",
            copies, stored);
    else
        tn_logf(e->log, TN_LOG_INFO,
                "weights stay as stored, %.1f MiB: no room for the %.1f MiB that they take unpacked, with adapters merged", stored,
                copies);
    return 0;
}

int tn_engine_merge(tn_engine *e, int batch, tn_error *err)
{
    tn_store *st = e->session->store;
    if (!st->merged_bytes || st->merged || e->stays_apart || e->window || !gains_by_copies(e)) return 0; /* e->window: no room */
    return st->has_merged ? tn_store_merge(st, err) : try_to_merge(e, batch, err);
}
