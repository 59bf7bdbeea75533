/* How much device memory a run takes, from the plan, before it takes any. */
#include "stepper.h"

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
    m->workspace += tn_stepper_bytes(e, e->s->training.batch_size, micro);
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
    if (!rc) *bytes = st->weight_bytes + 16 * st->n_params + act + ws + tn_stepper_bytes(e, e->s->training.batch_size, micro);
    tn_store_free(st);
    tn_model_free(full);
    return rc;
}

int tn_engine_fit(const tn_engine *e, int *micro, tn_memory *m, tn_error *err)
{
    const tn_settings *s = e->s;
    const size_t room = e->dev->memory_limit ? e->dev->memory_limit : e->dev->info.global_memory / 10 * 9;
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
