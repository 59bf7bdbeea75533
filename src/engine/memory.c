/* How much device memory a run takes, from the plan, before it takes any. */
#include "exchange.h"
#include "machine.h"
#include "stepper.h"

#include <stdio.h>

static int memory_activations(const tn_engine *e, const tn_model *m, tn_store *st, tn_pass pass, size_t *act, size_t *ws,
                              tn_error *err)
{
    tn_exec *x;
    TN_TRY(tn_exec_new(&x, e->dev, m, st, &pass, err));
    *act = TN_MAX(*act, x->plan.total);
    *ws = TN_MAX(*ws, x->workspace);
    tn_exec_free(NULL, x);
    return 0;
}

/* What leaves for the other ranks is staged in memory that the device may share. */
static size_t shared_gradient(const tn_engine *e)
{
    return e->ranks && e->dev->info.unified_memory ? 4 * e->session->store->n_params : 0;
}

/* Device memory of a training run with this micro-batch. */
static int memory_of(const tn_engine *e, int micro, tn_memory *m, tn_error *err)
{
    tn_store *st = e->session->store;
    *m = (tn_memory){.version = TN_MEMORY_VERSION,
                     .weights = st->weight_bytes,
                     .weights_float32 = st->float_bytes,
                     .parameters = 4 * st->n_params + tn_store_shadow_bytes(st),
                     .gradients = 4 * st->n_params,
                     .optimizer = 8 * st->n_params,
                     .micro_batch = micro,
                     .quantized_modules = st->n_quantised,
                     .skipped_modules = st->n_skipped,
                     .indivisible_modules = st->n_indivisible};
    TN_TRY(memory_activations(e, e->model, st, tn_engine_train_pass(e, micro, tn_engine_groups(e)), &m->activations, &m->workspace,
                              err));
    if (e->s->training.freeze_epochs > 0)
        TN_TRY(memory_activations(e, e->model, st, tn_engine_train_pass(e, micro, TN_GROUP_HEAD), &m->activations, &m->workspace,
                                  err));
    TN_TRY(memory_activations(e, e->model, st, tn_engine_eval_pass(e, micro, true), &m->activations, &m->workspace, err));
    m->workspace += tn_stepper_bytes(e, tn_engine_batch(e, micro), micro, false) + shared_gradient(e);
    m->total = m->weights + m->parameters + m->gradients + m->optimizer + m->activations + m->workspace;
    return 0;
}

int tn_engine_full_float32(const tn_engine *e, int micro, size_t *bytes, tn_error *err)
{
    tn_model *full;
    tn_store *st = NULL;
    const tn_model *m = e->model;
    const tn_model_spec spec = {&m->vit, &m->dec, NULL, m->image_h, m->image_w, m->heat_h, m->heat_w, true};
    TN_TRY(tn_model_new(&full, &spec, NULL, err));
    size_t act = 0, ws = 0;
    tn_pass pass = {.batch = micro, .act = TN_F32, .groups = 7, .training = true, .loss = true, .heat = true, .frames = true};
    int rc = tn_store_new(&st, e->dev, full, NULL, TN_F32, true, true, err);
    if (!rc) rc = memory_activations(e, full, st, pass, &act, &ws, err);
    if (!rc)
        *bytes = st->weight_bytes + 16 * st->n_params + act + ws + tn_stepper_bytes(e, tn_engine_batch(e, micro), micro, false);
    tn_store_free(st);
    tn_model_free(full);
    return rc;
}

static size_t room_of(const tn_dev *d)
{
    return d->memory_limit ? d->memory_limit : d->info.global_memory / 10 * 9;
}

static int fits(bool *fit, const tn_engine *e, int micro, tn_memory *m, tn_error *err)
{
    const int rc = memory_of(e, micro, m, err);
    *fit = !rc && m->total <= room_of(e->dev);
    return rc == TN_ERR_MEMORY ? 0 : rc;
}

/* Making activations again costs a fifth of a step at most, a smaller micro-batch is not always a batch's equal: so that goes
 * first. */
static int fits_somehow(bool *fit, tn_engine *e, int micro, tn_memory *m, tn_error *err)
{
    TN_TRY(fits(fit, e, micro, m, err));
    if (*fit || e->recomputes) return 0;
    const size_t kept = m->total;
    e->recomputes = true;
    TN_TRY(fits(fit, e, micro, m, err));
    e->recomputes = *fit;
    if (*fit)
        tn_logf(
            e->log, TN_LOG_INFO,
            "activations are made again in the backward pass: keeping them takes %zu MiB with a micro-batch of %d, there are %zu",
            kept >> 20, micro, room_of(e->dev) >> 20);
    return 0;
}

int tn_engine_fit(tn_engine *e, int *micro, tn_memory *m, tn_error *err)
{
    const tn_settings *s = e->s;
    int b = tn_share_micro(tn_ranks_count(e->ranks), s->training.batch_size);
    if (s->training.micro > 0) b = TN_MIN(s->training.micro, b);
    for (bool fit;;) {
        TN_TRY(fits_somehow(&fit, e, b, m, err));
        if (fit) break;
        int next = TN_MAX(s->training.min_micro, TN_MIN(b - 1, (int)(b / s->training.backoff)));
        if (!s->training.adaptive || next >= b || next < 1)
            return tn_fail(err, TN_ERR_MEMORY,
                           "training needs %zu MiB on '%s' with a micro-batch of %d, and there are %zu MiB; use "
                           "model.quantization.enabled=true, training.precision=bf16 or a smaller model",
                           m->total >> 20, e->dev->info.name, b, room_of(e->dev) >> 20);
        b = next;
    }
    *micro = b;
    return 0;
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
    int which;
    return mib < 0 ? tn_memory_free() / 4 / (size_t)tn_ranks_local(e->ranks, &which) : (size_t)mib << 20;
}

static void find_place(tn_features_plan *p, const tn_engine *e, tn_memory *m)
{
    const int batch = tn_engine_batch(e, m->micro_batch);
    const bool shared = e->dev->info.unified_memory;
    const size_t room = room_of(e->dev), host = host_room(e), left = room > m->total ? room - m->total : 0;
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
    const size_t room = room_of(d), left = room - TN_MIN(room, d->allocated), copies = e->session->store->merged_bytes;
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
    if (!st->merged_bytes || st->merged || e->stays_apart || !gains_by_copies(e)) return 0;
    return st->has_merged ? tn_store_merge(st, err) : try_to_merge(e, batch, err);
}
