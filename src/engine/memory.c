/* How much device memory a run takes, from the plan, before it takes any. */
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
    m->workspace += tn_stepper_bytes(e, e->s->training.batch_size, micro, false);
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
        *bytes = st->weight_bytes + 16 * st->n_params + act + ws + tn_stepper_bytes(e, e->s->training.batch_size, micro, false);
    tn_store_free(st);
    tn_model_free(full);
    return rc;
}

static size_t room_of(const tn_engine *e)
{
    return e->dev->memory_limit ? e->dev->memory_limit : e->dev->info.global_memory / 10 * 9;
}

int tn_engine_fit(const tn_engine *e, int *micro, tn_memory *m, tn_error *err)
{
    const tn_settings *s = e->s;
    const size_t room = room_of(e);
    int b = s->training.micro > 0 ? TN_MIN(s->training.micro, s->training.batch_size) : s->training.batch_size;
    for (;;) {
        int rc = memory_of(e, b, m, err);
        if (rc && rc != TN_ERR_MEMORY) return rc;
        if (!rc && m->total <= room) break;
        int next = TN_MAX(s->training.min_micro, TN_MIN(b - 1, (int)(b / s->training.backoff)));
        if (!s->training.adaptive || next >= b || next < 1) {
            if (rc) return rc;
            return tn_fail(err, TN_ERR_MEMORY,
                           "training needs %zu MiB on '%s' with a micro-batch of %d, and there are %zu MiB; use "
                           "model.quantization.enabled=true, training.precision=bf16, "
                           "training.memory_optimization.gradient_checkpointing=true or a smaller model",
                           m->total >> 20, e->dev->info.name, b, room >> 20);
        }
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
    return mib < 0 ? tn_memory_free() / 4 : (size_t)mib << 20;
}

static void find_place(tn_features_plan *p, const tn_engine *e, tn_memory *m)
{
    const int batch = e->s->training.batch_size;
    const bool shared = e->dev->info.unified_memory;
    const size_t room = room_of(e), host = host_room(e), left = room > m->total ? room - m->total : 0;
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
