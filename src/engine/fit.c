/* What a training run keeps, makes again, cuts up and streams, so that it fits the device: found by the plan, before memory is
 * taken. The means in their order: everything kept; the last layers' activations kept; all made again; a smaller micro-batch;
 * frozen weights streamed. */
#include "fit.h"
#include "stream.h"

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
    *s->m = (tn_memory){.version = TN_MEMORY_VERSION}; /* no plan of a run */
    if (!m->total) return err->status;                 /* not even one that is too large: its sentence */
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

/* The largest micro-batch; s->fit tells whether there is one. */
static int fit_batch(search *s, int *micro, tn_error *err)
{
    const tn_settings *c = s->e->s;
    int b = c->training.micro > 0 ? TN_MIN(c->training.micro, c->training.batch_size) : c->training.batch_size;
    for (;;) {
        TN_TRY(fit_micro(s, b, err));
        const int next = TN_MAX(c->training.min_micro, TN_MIN(b - 1, (int)(b / c->training.backoff)));
        if (s->fit || !c->training.adaptive || next >= b || next < 1) break;
        b = next;
    }
    *micro = b;
    return 0;
}

/* More of the window spares copies in every pass, so it goes before what is kept: of what a run takes that keeps least. */
static int widen(search *s, int micro, tn_error *err)
{
    const tn_stream *w = s->e->session->store->stream;
    TN_TRY(plan_keeping(s, micro, 0, err));
    if (!s->fit) TN_TRY(plan_keeping(s, micro, 1, err));
    const size_t room = tn_engine_room(s->e), left = room - TN_MIN(room, s->m->total);
    s->e->window += (int)TN_MIN(left / w->largest, (size_t)(w->n_blocks - 1 - s->e->window));
    return fit_micro(s, micro, err);
}

enum { LEAST = 2 }; /* layers in a window: one is read while the next one comes */

/* Where the store has its memory, that is decided. */
static int fit_window(search *s, int *micro, tn_error *err)
{
    const tn_store *st = s->e->session->store;
    if (st->dry) s->e->window = 0;
    TN_TRY(fit_batch(s, micro, err));
    if (s->fit || !st->dry || !tn_stream_can(st->stream)) return 0;
    s->e->window = LEAST;
    TN_TRY(fit_batch(s, micro, err));
    return s->fit ? widen(s, *micro, err) : 0;
}

int tn_engine_fit(tn_engine *e, int *micro, tn_memory *m, tn_error *err)
{
    search s = {.e = e, .m = m, .always_again = e->s->training.checkpointing};
    TN_TRY(fit_window(&s, micro, err));
    if (!s.fit) return too_small(&s, err);
    say_kept(&s);
    e->most = *micro < e->s->training.batch_size ? *micro : 0;
    return 0;
}

/* ---- before the store has memory ---- */

/* Room for everything with a quarter to spare needs no nearer look: kernels that nobody has measured yet may want some. */
static int fits_easily(tn_engine *e, bool *easily, tn_error *err)
{
    const tn_settings *c = e->s;
    tn_memory m;
    const int micro = c->training.micro > 0 ? TN_MIN(c->training.micro, c->training.batch_size) : c->training.batch_size;
    e->recomputes = c->training.checkpointing;
    const int rc = tn_engine_memory(e, micro, &m, err);
    *easily = !rc && m.total + m.total / 4 <= tn_engine_room(e);
    return rc == TN_ERR_MEMORY ? 0 : rc;
}

static int choose_for_training(tn_engine *e, tn_error *err)
{
    const tn_log *log = e->log;
    tn_memory m;
    bool easily;
    int micro;
    TN_TRY(fits_easily(e, &easily, err));
    if (easily) return 0;
    e->session->store->to_run = true;
    e->log = NULL; /* the run itself says it */
    const int rc = tn_engine_fit(e, &micro, &m, err);
    e->log = log;
    return rc;
}

/* The most frames, from `most` down by halves, that a pass takes beside the weights; 0: not even one. */
static int fit_frames(tn_engine *e, int most, int *frames, size_t *bytes, tn_error *err)
{
    for (*frames = most; *frames; *frames /= 2) {
        const int rc = tn_engine_pass_memory(e, *frames, bytes, err);
        if (rc && rc != TN_ERR_MEMORY) return rc;
        if (!rc && *bytes <= tn_engine_room(e)) return 0;
    }
    return 0;
}

enum { FRAMES = 8 }; /* of a video at once, unless said otherwise */

/* The window takes half of what a pass leaves: more frames may come at once than were planned with. */
static int choose_for_prediction(tn_engine *e, tn_error *err)
{
    tn_store *st = e->session->store;
    const tn_stream *w = st->stream;
    const int most = TN_MAX(e->s->training.batch_size, FRAMES);
    const size_t room = tn_engine_room(e);
    size_t bytes;
    int frames;
    if (!tn_engine_pass_memory(e, most, &bytes, err) && bytes + bytes / 4 <= room) return 0;
    st->to_run = true;
    TN_TRY(fit_frames(e, most, &frames, &bytes, err));
    if (!frames && tn_stream_can(w)) {
        e->window = LEAST;
        TN_TRY(fit_frames(e, most, &frames, &bytes, err));
        const size_t left = frames ? (room - bytes) / 2 : 0;
        e->window += (int)TN_MIN(left / w->largest, (size_t)(w->n_blocks - 1 - LEAST));
    }
    e->most = frames == most ? 0 : TN_MAX(frames, 1); /* where nothing fits, the pass says so */
    return 0;
}

int tn_engine_choose(tn_engine *e, const tn_quant_spec *quant, bool optimiser, tn_error *err)
{
    tn_store *st;
    TN_TRY(tn_store_new(&st, e->dev, e->model, quant, e->act, optimiser, true, err));
    int rc = tn_session_new(&e->session, e->dev, e->model, st, err);
    if (rc) {
        tn_store_free(st);
        return rc;
    }
    rc = optimiser ? choose_for_training(e, err) : choose_for_prediction(e, err);
    tn_session_free(e->session);
    e->session = NULL;
    return rc;
}
