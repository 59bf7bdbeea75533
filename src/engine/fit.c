/* What a training run keeps, makes again, cuts up and streams, so that it fits the device: found by the plan, before memory is
 * taken. The means in their order: everything kept; more and more activations made again (tn_recompute), by each level in as many
 * of the first layers as it takes; a smaller micro-batch; frozen weights streamed. */
#include "fit.h"
#include "stream.h"

#include <stdio.h>

enum { MASK = 64 }; /* layers that tn_pass.kept has bits for */

typedef struct {
    tn_engine *e;
    const tn_member *tight; /* the last member that did not fit */
    tn_memory least;        /* of its plans the smallest */
    size_t everything;      /* what a run takes that keeps everything; 0: no plan of it was made */
    bool fit;               /* the last plan fits */
    tn_recompute always;    /* what is made again in any case */
} search;

/* The backbone's layers of a member: first .. first + n - 1. Its graph's are the embeddings, those, and more. */
static int layers_of(const tn_engine *e, const tn_member *who, int *first)
{
    const int all = TN_MIN(e->model->backbone.layers, MASK);
    *first = TN_MAX(who->first - 1, 0);
    return TN_MAX(TN_MIN(who->last, all) - *first, 0);
}

/* The last n of a member's: backward passes begin with them, so what they keep is gone when the others' is made again. Of the
 * first ones it would lie beside all that. */
static uint64_t last_layers(const tn_engine *e, const tn_member *who, int n)
{
    int first;
    const int all = layers_of(e, who, &first);
    uint64_t mask = 0;
    for (int i = all - n; i < all; i++) mask |= (uint64_t)1 << (first + i);
    return mask;
}

static int plan_member(search *s, const tn_member *who, int micro, tn_error *err)
{
    tn_memory m;
    const int rc = tn_engine_member_memory(s->e, who, micro, &m, err);
    s->fit = !rc && m.total <= tn_member_room(who);
    if (!rc && !s->fit && (who != s->tight || !s->least.total || m.total < s->least.total)) s->least = m, s->tight = who;
    return rc == TN_ERR_MEMORY ? 0 : rc; /* an activation is larger than the device gives at once */
}

static int plan(search *s, int micro, tn_error *err)
{
    s->fit = true;
    for (int i = 0; s->fit && i < s->e->team.n; i++) TN_TRY(plan_member(s, &s->e->team.member[i], micro, err));
    return 0;
}

static int plan_keeping(search *s, const tn_member *who, int micro, int layers, tn_error *err)
{
    s->e->layers_kept = last_layers(s->e, who, layers);
    return plan_member(s, who, micro, err);
}

/* The most layers that can be kept, where `fits` of them can. */
static int keep_most(search *s, const tn_member *who, int micro, int fits, tn_error *err)
{
    int first, above = layers_of(s->e, who, &first) + (s->e->team.n > 1); /* one alone was found not to keep all */
    while (above - fits > 1) {
        const int n = (fits + above) / 2;
        TN_TRY(plan_keeping(s, who, micro, n, err));
        if (s->fit) fits = n;
        else above = n;
    }
    return plan_keeping(s, who, micro, fits, err);
}

/* A pass that keeps the last layer takes hardly more than one that keeps none, or less: that layer's are needed at once. */
static int fit_member(search *s, const tn_member *who, int micro, tn_error *err)
{
    int first;
    TN_TRY(plan_keeping(s, who, micro, 0, err));
    if (s->e->recompute <= s->always) return 0;
    if (s->fit) return keep_most(s, who, micro, 0, err);
    if (s->e->recompute < TN_RECOMPUTE_ALL || !layers_of(s->e, who, &first)) return 0;
    TN_TRY(plan_keeping(s, who, micro, 1, err));
    return s->fit ? keep_most(s, who, micro, 1, err) : 0;
}

static int keep_all(search *s, int micro, tn_error *err)
{
    tn_memory m;
    s->e->recompute = TN_RECOMPUTE_NONE;
    TN_TRY(plan(s, micro, err));
    if (s->fit) return 0;
    const int rc = tn_engine_memory(s->e, micro, &m, err);
    s->everything = rc ? 0 : m.total;
    return rc == TN_ERR_MEMORY ? 0 : rc;
}

/* At the level that the engine has. What one replica cannot keep none keeps. */
static int fit_level(search *s, int micro, tn_error *err)
{
    uint64_t kept = 0, denied = 0;
    for (int i = 0; i < s->e->team.n; i++) {
        const tn_member *who = &s->e->team.member[i];
        int first;
        TN_TRY(fit_member(s, who, micro, err));
        if (!s->fit) return 0;
        kept |= s->e->layers_kept;
        denied |= last_layers(s->e, who, layers_of(s->e, who, &first)) & ~s->e->layers_kept;
    }
    s->e->layers_kept = kept & ~denied;
    return 0;
}

/* Making activations again costs a fifth of a step at most, a smaller micro-batch is not always a batch's equal: so that goes
 * first. */
static int fit_micro(search *s, int micro, tn_error *err)
{
    if (!s->always) {
        TN_TRY(keep_all(s, micro, err));
        if (s->fit) return 0;
    }
    for (int r = TN_RECOMPUTE_ACTIVATED; r <= TN_RECOMPUTE_ALL; r++) {
        s->e->recompute = (tn_recompute)r;
        TN_TRY(fit_level(s, micro, err));
        if (s->fit) return 0;
    }
    return 0;
}

static size_t mib(size_t bytes)
{
    return TN_CEIL_DIV(bytes, (size_t)1 << 20);
}

static int too_small(const search *s, tn_error *err)
{
    const tn_memory *m = &s->least;
    if (!m->total) return err->status; /* no plan, not even one that is too large: its sentence */
    return tn_fail(err, TN_ERR_MEMORY,
                   "training needs at least %zu MiB on '%s': %zu for frozen weights, %zu for what is trained, %zu for activations "
                   "and workspace with a micro-batch of %d; there are %zu MiB; use model.quantization.enabled=true, "
                   "training.precision=bf16 or a smaller model",
                   mib(m->total), s->tight->dev->info.name, mib(m->weights), mib(m->parameters + m->gradients + m->optimizer),
                   mib(m->activations + m->workspace), m->micro_batch, tn_member_room(s->tight) >> 20);
}

static size_t room_of_all(const tn_engine *e)
{
    size_t room = 0;
    for (int i = 0; i < e->team.n; i++) room += tn_member_room(&e->team.member[i]);
    return room;
}

static int count(uint64_t mask)
{
    int n = 0;
    for (; mask; mask &= mask - 1) n++;
    return n;
}

static const char *const scope[] = {[TN_RECOMPUTE_NONE] = "",
                                    [TN_RECOMPUTE_ACTIVATED] = "those inside feed-forward layers",
                                    [TN_RECOMPUTE_PRODUCTS] = "all but attention's and the residual stream's",
                                    [TN_RECOMPUTE_ALL] = "all"};

static void say_kept(const search *s, int micro)
{
    const tn_engine *e = s->e;
    const int kept = count(e->layers_kept), layers = e->model->backbone.layers;
    const tn_recompute less = tn_recompute_less(e->recompute);
    char where[160] = "", keeping[96] = "";
    if (e->recompute <= s->always) return;
    if (kept)
        snprintf(where, sizeof where, " in %d layers of %d%s%s", layers - kept, layers, less ? ", in the others " : "",
                 scope[less]);
    if (s->everything)
        snprintf(keeping, sizeof keeping, "keeping all takes %zu MiB with a micro-batch of %d, ", mib(s->everything), micro);
    tn_logf(e->log, TN_LOG_INFO, "activations are made again in the backward pass, %s%s: %sthere are %zu MiB", scope[e->recompute],
            where, keeping, room_of_all(e) >> 20);
}

/* The largest micro-batch; s->fit tells whether there is one. */
static int fit_batch(search *s, int *micro, tn_error *err)
{
    const tn_engine *e = s->e;
    const tn_settings *c = e->s;
    const tn_replica *r = e->team.split.replica;
    const int most = e->team.n > 1 ? r->images : tn_share_micro(tn_ranks_count(e->ranks), c->training.batch_size),
              usual = e->team.n > 1 ? r->micro : most;
    int b = c->training.micro > 0 ? TN_MIN(c->training.micro, most) : usual;
    for (;;) {
        TN_TRY(fit_micro(s, b, err));
        const int next = TN_MAX(c->training.min_micro, TN_MIN(b - 1, (int)(b / c->training.backoff)));
        if (s->fit || !c->training.adaptive || next >= b || next < 1) break;
        b = next;
    }
    *micro = b;
    return 0;
}

enum { LEAST = 2 }; /* layers in a window: one is read while the next one comes */

/* More of the window spares copies in every pass, so it goes before what is kept: of what a run takes that keeps least. */
static int widen(search *s, tn_member *who, int micro, tn_error *err)
{
    const tn_stream *w = who->session->store->stream;
    tn_memory m;
    s->e->recompute = TN_RECOMPUTE_ALL;
    TN_TRY(plan_keeping(s, who, micro, 0, err));
    if (!s->fit) TN_TRY(plan_keeping(s, who, micro, 1, err));
    TN_TRY(tn_engine_member_memory(s->e, who, micro, &m, err));
    const size_t room = tn_member_room(who), left = room - TN_MIN(room, m.total);
    who->window += (int)TN_MIN(left / w->largest, (size_t)(w->n_blocks - 1 - who->window));
    return 0;
}

/* Members that do not hold their weights beside the least that a pass takes get a window. */
static int open_windows(search *s, int micro, int *opened, tn_error *err)
{
    *opened = 0;
    s->e->recompute = TN_RECOMPUTE_ALL;
    for (int i = 0; i < s->e->team.n; i++) {
        tn_member *who = &s->e->team.member[i];
        TN_TRY(fit_member(s, who, micro, err));
        if (s->fit || !tn_stream_can(who->session->store->stream)) continue;
        who->window = LEAST;
        ++*opened;
    }
    s->fit = false;
    return 0;
}

/* Where the stores have their memory, that is decided. */
static int fit_window(search *s, int *micro, tn_error *err)
{
    tn_team *t = &s->e->team;
    const bool dry = s->e->session->store->dry;
    int opened;
    for (int i = 0; dry && i < t->n; i++) t->member[i].window = 0;
    TN_TRY(fit_batch(s, micro, err));
    if (s->fit || !dry) return 0;
    TN_TRY(open_windows(s, *micro, &opened, err));
    if (!opened) return 0;
    TN_TRY(fit_batch(s, micro, err));
    if (!s->fit) return 0;
    for (int i = 0; i < t->n; i++)
        if (t->member[i].window) TN_TRY(widen(s, &t->member[i], *micro, err));
    return fit_micro(s, *micro, err);
}

tn_recompute tn_engine_least_again(const tn_settings *s)
{
    return s->training.checkpointing ? TN_RECOMPUTE_ACTIVATED : TN_RECOMPUTE_NONE;
}

int tn_engine_fit(tn_engine *e, int *micro, tn_memory *m, tn_error *err)
{
    search s = {.e = e, .always = tn_engine_least_again(e->s)};
    TN_TRY(fit_window(&s, micro, err));
    *m = (tn_memory){.version = TN_MEMORY_VERSION}; /* no plan of a run */
    if (!s.fit) return too_small(&s, err);
    TN_TRY(tn_engine_memory(e, *micro, m, err));
    say_kept(&s, *micro);
    e->most = *micro < e->s->training.batch_size ? *micro : 0;
    return 0;
}

int tn_engine_fit_micro(tn_engine *e, int micro, tn_error *err)
{
    search s = {.e = e, .always = tn_engine_least_again(e->s)};
    TN_TRY(fit_micro(&s, micro, err));
    if (s.fit) say_kept(&s, micro);
    return 0;
}

/* ---- before the stores have memory ---- */

/* Room for everything with a quarter to spare needs no nearer look: kernels that nobody has measured yet may want some. */
static int fits_easily(tn_engine *e, bool *easily, tn_error *err)
{
    const tn_settings *c = e->s;
    const int micro = c->training.micro > 0 ? TN_MIN(c->training.micro, c->training.batch_size) : c->training.batch_size;
    e->recompute = tn_engine_least_again(c);
    *easily = true;
    for (int i = 0; *easily && i < e->team.n; i++) {
        tn_memory m;
        const int rc = tn_engine_member_memory(e, &e->team.member[i], micro, &m, err);
        *easily = !rc && m.total + m.total / 4 <= tn_member_room(&e->team.member[i]);
        if (rc && rc != TN_ERR_MEMORY) return rc;
    }
    return 0;
}

static int choose_for_training(tn_engine *e, tn_error *err)
{
    const tn_log *log = e->log;
    tn_memory m;
    bool easily;
    int micro;
    TN_TRY(fits_easily(e, &easily, err));
    if (easily) return 0;
    for (int i = 0; i < e->team.n; i++) e->team.member[i].session->store->to_run = true;
    e->log = NULL; /* the run itself says it */
    const int rc = tn_engine_fit(e, &micro, &m, err);
    e->log = log;
    return rc;
}

/* The most frames, from `most` down by halves, that a pass takes beside the weights; 0: not even one. */
static int fit_frames(tn_engine *e, const tn_member *who, int most, int *frames, size_t *bytes, tn_error *err)
{
    for (*frames = most; *frames; *frames /= 2) {
        const int rc = tn_engine_pass_memory(e, who, *frames, bytes, err);
        if (rc && rc != TN_ERR_MEMORY) return rc;
        if (!rc && *bytes <= tn_member_room(who)) return 0;
    }
    return 0;
}

enum { FRAMES = 8 }; /* of a video at once, unless said otherwise */

/* The window takes half of what a pass leaves: more frames may come at once than were planned with. */
static int choose_for_prediction(tn_engine *e, tn_member *who, tn_error *err)
{
    tn_store *st = who->session->store;
    const tn_stream *w = st->stream;
    const int most = TN_MAX(e->s->training.batch_size, FRAMES);
    const size_t room = tn_member_room(who);
    size_t bytes;
    int frames;
    if (!tn_engine_pass_memory(e, who, most, &bytes, err) && bytes + bytes / 4 <= room) return 0;
    st->to_run = true;
    TN_TRY(fit_frames(e, who, most, &frames, &bytes, err));
    if (!frames && tn_stream_can(w)) {
        who->window = LEAST;
        TN_TRY(fit_frames(e, who, most, &frames, &bytes, err));
        const size_t left = frames ? (room - bytes) / 2 : 0;
        who->window += (int)TN_MIN(left / w->largest, (size_t)(w->n_blocks - 1 - LEAST));
    }
    if (frames < most)
        e->most = e->most ? TN_MIN(e->most, TN_MAX(frames, 1)) : TN_MAX(frames, 1); /* where nothing fits, the pass says so */
    return 0;
}

int tn_engine_choose(tn_engine *e, const tn_store_spec *spec, tn_error *err)
{
    tn_team *t = &e->team;
    tn_store_spec dry = *spec;
    dry.dry = true;
    int rc = tn_team_store(t, e->model, &dry, err);
    e->session = t->member[0].session;
    if (!rc && spec->optimiser) rc = choose_for_training(e, err);
    for (int i = 0; !rc && !spec->optimiser && i < t->n; i++) rc = choose_for_prediction(e, &t->member[i], err);
    tn_team_unstore(t);
    e->session = NULL;
    return rc;
}
