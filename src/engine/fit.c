/* What a training run keeps, makes again and cuts up, so that it fits the device: found by the plan, before memory is taken. The
 * means in their order: everything kept; the last layers' activations kept; all made again; a smaller micro-batch. */
#include "fit.h"

#include <stdio.h>

enum { MASK = 64 }; /* layers that tn_pass.kept has bits for */

typedef struct {
    tn_engine *e;
    tn_memory *m;      /* of the last plan that was made */
    tn_memory least;   /* of those that did not fit, the smallest */
    size_t everything; /* what a run takes that keeps everything; 0: no plan of it was made */
    bool fit;          /* the last plan fits */
    bool always_again; /* the configuration wants activations made again */
} search;

/* The last n of the backbone's layers: backward passes begin with them, so what they keep is gone when the others' is made again.
 * Of the first ones it would lie beside all that. */
static uint64_t last_layers(const tn_engine *e, int n)
{
    const int all = TN_MIN(e->model->vit.layers, MASK);
    uint64_t mask = 0;
    for (int i = all - n; i < all; i++) mask |= (uint64_t)1 << i;
    return mask;
}

static int plan(search *s, int micro, tn_error *err)
{
    const int rc = tn_engine_memory(s->e, micro, s->m, err);
    s->fit = !rc && s->m->total <= tn_engine_room(s->e);
    if (!rc && !s->fit && (!s->least.total || s->m->total < s->least.total)) s->least = *s->m;
    return rc == TN_ERR_MEMORY ? 0 : rc; /* an activation is larger than the device gives at once */
}

static int plan_keeping(search *s, int micro, int layers, tn_error *err)
{
    s->e->recomputes = true;
    s->e->layers_kept = last_layers(s->e, layers);
    return plan(s, micro, err);
}

/* The most layers that can be kept, where `fits` of them can. */
static int keep_most(search *s, int micro, int fits, tn_error *err)
{
    int above = TN_MIN(s->e->model->vit.layers, MASK + 1);
    while (above - fits > 1) {
        const int n = (fits + above) / 2;
        TN_TRY(plan_keeping(s, micro, n, err));
        if (s->fit) fits = n;
        else above = n;
    }
    return plan_keeping(s, micro, fits, err);
}

/* Making activations again costs a fifth of a step at most, a smaller micro-batch is not always a batch's equal: so that goes
 * first. A pass that keeps the last layer takes hardly more than one that keeps none, or less: that layer's are needed at once. */
static int fit_micro(search *s, int micro, tn_error *err)
{
    if (!s->always_again) {
        s->e->recomputes = false;
        TN_TRY(plan(s, micro, err));
        if (s->fit) return 0;
        s->everything = s->m->total;
    }
    TN_TRY(plan_keeping(s, micro, 0, err));
    if (s->always_again) return 0;
    if (s->fit) return keep_most(s, micro, 0, err);
    TN_TRY(plan_keeping(s, micro, 1, err));
    return s->fit ? keep_most(s, micro, 1, err) : 0;
}

static size_t mib(size_t bytes)
{
    return TN_CEIL_DIV(bytes, (size_t)1 << 20);
}

static int too_small(const search *s, tn_error *err)
{
    const tn_memory *m = &s->least;
    if (!m->total) return err->status; /* no plan at all: its sentence */
    return tn_fail(err, TN_ERR_MEMORY,
                   "training needs at least %zu MiB on '%s': %zu for frozen weights, %zu for what is trained, %zu for activations "
                   "and workspace with a micro-batch of %d; there are %zu MiB; use model.quantization.enabled=true, "
                   "training.precision=bf16 or a smaller model",
                   mib(m->total), s->e->dev->info.name, mib(m->weights), mib(m->parameters + m->gradients + m->optimizer),
                   mib(m->activations + m->workspace), m->micro_batch, tn_engine_room(s->e) >> 20);
}

static int count(uint64_t mask)
{
    int n = 0;
    for (; mask; mask &= mask - 1) n++;
    return n;
}

static void say_kept(const search *s)
{
    const tn_engine *e = s->e;
    const int kept = count(e->layers_kept), layers = e->model->vit.layers;
    char which[64] = "activations";
    if (!e->recomputes || s->always_again) return;
    if (kept) snprintf(which, sizeof which, "activations of %d layers of %d", layers - kept, layers);
    tn_logf(e->log, TN_LOG_INFO,
            "%s are made again in the backward pass: keeping all takes %zu MiB with a micro-batch of %d, there are %zu", which,
            mib(s->everything), s->m->micro_batch, tn_engine_room(e) >> 20);
}

int tn_engine_fit(tn_engine *e, int *micro, tn_memory *m, tn_error *err)
{
    const tn_settings *s = e->s;
    search x = {.e = e, .m = m, .always_again = s->training.checkpointing};
    int b = s->training.micro > 0 ? TN_MIN(s->training.micro, s->training.batch_size) : s->training.batch_size;
    for (;;) {
        TN_TRY(fit_micro(&x, b, err));
        if (x.fit) break;
        const int next = TN_MAX(s->training.min_micro, TN_MIN(b - 1, (int)(b / s->training.backoff)));
        if (!s->training.adaptive || next >= b || next < 1) return too_small(&x, err);
        b = next;
    }
    say_kept(&x);
    e->most = b < s->training.batch_size ? b : 0;
    *micro = b;
    return 0;
}
