#include "predictor.h"
#include "relay.h"

#include <stdlib.h>
#include <string.h>

enum { SMALL = 2 << 20 }; /* bytes of frames; below it a transfer takes less than two queues that meet */

typedef struct {
    tn_staging staging; /* host: below; unused where the device shares the host's memory */
    char *host;         /* partial sums of the loss, heatmaps, labels, frames */
    size_t room;
    tn_buffer *heat; /* on the device, until the copy queue has brought it; NULL: read where the pass made it */
    tn_event *ended; /* heat holds the pass's; NULL: the read is enqueued */
    tn_event *done;  /* all is in host */
    tn_relay relay;
    int n;
    bool loss;
} tn_predictor_slot;

struct tn_predictor {
    tn_engine *e;
    tn_predictor_slot slot[TN_PREDICTOR_SLOTS];
    int first, n;      /* under way */
    tn_buffer *inputs; /* on the device, of the batch that comes next; NULL: frames go where the pass reads them */
    tn_event *taken;   /* the last pass has its inputs */
};

/* ---- where things lie in a slot ---- */

static size_t heat_bytes(const tn_engine *e, int n)
{
    return (size_t)n * tn_engine_heat_size(e) * sizeof(float);
}

static size_t label_bytes(const tn_engine *e, int n)
{
    return (size_t)(n * e->model->heats * 3) * sizeof(float);
}

static float *parts_of(const tn_predictor_slot *s)
{
    return (float *)s->host;
}

static float *heat_of(const tn_predictor_slot *s)
{
    return parts_of(s) + TN_PARTIALS;
}

static float *labels_of(const tn_engine *e, const tn_predictor_slot *s)
{
    return heat_of(s) + (size_t)s->n * tn_engine_heat_size(e);
}

static uint8_t *frames_of(const tn_engine *e, const tn_predictor_slot *s)
{
    return (uint8_t *)labels_of(e, s) + label_bytes(e, s->n);
}

static size_t slot_bytes(const tn_engine *e, int n)
{
    return TN_PARTIALS * sizeof(float) + heat_bytes(e, n) + label_bytes(e, n) + (size_t)n * tn_engine_image_bytes(e);
}

static void release_host(const tn_predictor *p, tn_predictor_slot *s)
{
    if (p->e->dev->info.unified_memory) free(s->host);
    else tn_staging_free(&s->staging);
    s->host = NULL;
    s->room = 0;
}

/* Pinned, so that transfers run by themselves; a device of the host's own memory would count it as the device's. */
static int make_room(const tn_predictor *p, tn_predictor_slot *s, int n, tn_error *err)
{
    const size_t bytes = slot_bytes(p->e, n);
    if (s->room >= bytes) return 0;
    release_host(p, s);
    if (p->e->dev->info.unified_memory) s->host = malloc(bytes);
    else TN_TRY(tn_staging_new(&s->staging, p->e->dev, bytes, err));
    if (s->staging.host) s->host = s->staging.host;
    if (!s->host) return tn_oom(err);
    s->room = bytes;
    return 0;
}

/* ---- transfers beside the passes ---- */

static bool goes_beside(const tn_engine *e, const tn_member *who, int n)
{
    return who->n_stages == 1 && !who->dev->info.unified_memory && (size_t)n * tn_engine_image_bytes(e) >= SMALL;
}

size_t tn_predictor_bytes(const tn_engine *e, const tn_member *who, int n)
{
    if (!goes_beside(e, who, n)) return 0;
    return (size_t)n * tn_engine_image_bytes(e) + TN_PREDICTOR_SLOTS * heat_bytes(e, n);
}

static void release_buffers(tn_predictor *p)
{
    tn_buffer_free(p->inputs);
    for (int i = 0; i < TN_PREDICTOR_SLOTS; i++) {
        tn_buffer_free(p->slot[i].heat);
        p->slot[i].heat = NULL;
    }
    p->inputs = NULL;
    tn_event_free(p->taken);
    p->taken = NULL;
}

static int make_buffers(tn_predictor *p, int n, tn_error *err)
{
    tn_dev *d = p->e->dev;
    TN_TRY(tn_buffer_new(&p->inputs, d, (size_t)n * tn_engine_image_bytes(p->e), "frames", err));
    for (int i = 0; i < TN_PREDICTOR_SLOTS; i++) TN_TRY(tn_buffer_new(&p->slot[i].heat, d, heat_bytes(p->e, n), "heatmaps", err));
    return 0;
}

/* Larger ones only while nothing is under way. Where there is no room for them, frames and heatmaps wait for the passes. */
static bool get_buffers(tn_predictor *p, int n)
{
    tn_error unread;
    if (!goes_beside(p->e, &p->e->team.member[0], n)) return false;
    if (p->inputs && tn_buffer_size(p->inputs) >= (size_t)n * tn_engine_image_bytes(p->e)) return true;
    if (p->n) return false;
    release_buffers(p);
    if (!make_buffers(p, n, &unread)) return true;
    release_buffers(p);
    return false;
}

/* ---- a batch goes in ---- */

static void fill(const tn_predictor *p, tn_predictor_slot *s, const tn_batch *b, bool loss)
{
    s->n = b->n;
    s->loss = loss;
    if (loss) memcpy(labels_of(p->e, s), b->labels, label_bytes(p->e, b->n));
    memcpy(frames_of(p->e, s), b->frames, (size_t)b->n * tn_engine_image_bytes(p->e));
}

/* By way of `inputs`, as soon as the pass before has its own. */
static int send_beside(tn_predictor *p, const tn_predictor_slot *s, const tn_exec *x, tn_error *err)
{
    tn_event *there = NULL;
    const size_t bytes = (size_t)s->n * tn_engine_image_bytes(p->e);
    tn_dev *d = p->e->dev;
    TN_TRY(tn_buffer_write_async(p->inputs, TN_QUEUE_COPY, 0, frames_of(p->e, s), bytes, p->taken, &there, err));
    int rc = tn_queue_wait(d, TN_QUEUE_MAIN, there, err);
    tn_event_free(there);
    tn_event_free(p->taken);
    p->taken = NULL;
    if (!rc) rc = tn_buffer_copy(p->inputs, 0, x->mem[x->g.pixels], 0, bytes, err);
    return rc ? rc : tn_queue_mark(d, TN_QUEUE_MAIN, &p->taken, err);
}

/* A stage's pass: all that it reads goes up, what it makes stays. */
static int enqueue_stage(tn_predictor *p, tn_predictor_slot *s, const tn_member *who, tn_exec *x, bool beside, tn_error *err)
{
    static const tn_step_constants now = {.inv_mask = 1};
    tn_session *to = who->session;
    TN_TRY(tn_buffer_write_async(to->ctx.constants, TN_QUEUE_MAIN, 0, &now, sizeof now, NULL, NULL, err));
    if (beside) TN_TRY(send_beside(p, s, x, err));
    else if (x->g.pixels >= 0) TN_TRY(tn_session_send(to, x, x->g.pixels, frames_of(p->e, s), err));
    if (s->loss && x->g.labels >= 0) TN_TRY(tn_session_send(to, x, x->g.labels, labels_of(p->e, s), err));
    TN_TRY(tn_session_run(to, x, err));
    if (!s->loss || x->g.loss < 0) return 0;
    return tn_buffer_read_async(x->mem[x->g.loss], TN_QUEUE_MAIN, 0, parts_of(s), TN_PARTIALS * sizeof(float), NULL, NULL, err);
}

/* A pass that takes memory may move what those under way work in. */
static int get_exec(tn_exec **x, const tn_predictor *p, tn_session *s, const tn_pass *pass, tn_error *err)
{
    *x = tn_session_ready(s, pass);
    if (*x) return 0;
    if (p->n) TN_TRY(tn_engine_finish(p->e, err));
    return tn_session_get(x, s, pass, err);
}

/* The last stage's heatmaps: to where the next pass does not write, or to the host at once. */
static int enqueue_heat(const tn_predictor *p, tn_predictor_slot *s, const tn_member *who, const tn_exec *x, bool beside,
                        tn_error *err)
{
    const size_t bytes = heat_bytes(p->e, s->n);
    tn_buffer *made = x->mem[x->g.heat];
    if (!beside) return tn_buffer_read_async(made, TN_QUEUE_MAIN, 0, heat_of(s), bytes, NULL, &s->done, err);
    TN_TRY(tn_buffer_copy(made, 0, s->heat, 0, bytes, err));
    return tn_queue_mark(who->dev, TN_QUEUE_MAIN, &s->ended, err);
}

/* Stage after stage of the first replica. */
static int enqueue(tn_predictor *p, tn_predictor_slot *s, tn_error *err)
{
    const tn_team *t = &p->e->team;
    const tn_pass pass = tn_engine_eval_pass(p->e, s->n, s->loss);
    const bool beside = get_buffers(p, s->n);
    for (int i = 0; i < t->member[0].n_stages; i++) {
        const tn_member *who = &t->member[i];
        tn_exec *x;
        who->session->loss = tn_engine_loss(p->e);
        TN_TRY(get_exec(&x, p, who->session, &pass, err));
        TN_TRY(tn_ctx_step_ready(&who->session->ctx, err));
        TN_TRY(tn_relay_bring(&s->relay, x, err));
        TN_TRY(enqueue_stage(p, s, who, x, beside, err));
        TN_TRY(tn_relay_take(&s->relay, x, err));
        if (i == who->n_stages - 1) TN_TRY(enqueue_heat(p, s, who, x, beside, err));
        TN_TRY(tn_dev_flush(who->dev, err));
    }
    return 0;
}

/* What is on its way reads and writes the slots. */
static void rest(const tn_predictor *p)
{
    for (int i = 0; i < p->e->team.n_dev; i++) tn_dev_rest(p->e->team.dev[i]);
}

/* Nothing of it is on its way any more. */
static void forget(tn_predictor_slot *s)
{
    tn_event_free(s->ended);
    tn_event_free(s->done);
    s->ended = s->done = NULL;
    tn_relay_free(&s->relay);
}

int tn_predictor_under_way(const tn_predictor *p)
{
    return p->n;
}

int tn_predictor_oldest(const tn_predictor *p)
{
    return p->n ? p->slot[p->first].n : 0;
}

int tn_predictor_put(tn_predictor *p, const tn_batch *b, bool loss, tn_error *err)
{
    tn_predictor_slot *s = &p->slot[(p->first + p->n) % TN_PREDICTOR_SLOTS];
    if (p->n == TN_PREDICTOR_SLOTS) return tn_fail(err, TN_ERR_ARGUMENT, "%d batches are under way, as many as can be", p->n);
    TN_TRY(make_room(p, s, b->n, err));
    fill(p, s, b, loss);
    const int rc = enqueue(p, s, err);
    if (!rc) return p->n++, 0;
    rest(p);
    forget(s);
    return rc;
}

/* ---- and its heatmaps come out ---- */

/* Behind the next batch's frames on the copy queue, which do not have to wait for this pass's end. */
static int bring_images(const tn_predictor *p, tn_predictor_slot *s, tn_error *err)
{
    tn_dev *d = p->e->dev;
    if (!s->ended) return 0;
    TN_TRY(tn_buffer_read_async(s->heat, TN_QUEUE_COPY, 0, heat_of(s), heat_bytes(p->e, s->n), s->ended, &s->done, err));
    return tn_dev_flush(d, err);
}

/* Of n samples, from a value of each heatmap beside the other to one heatmap behind the other. */
static void unpack(float *heat, const float *made, int n, int heats, size_t area)
{
    if (heats == 1) {
        memcpy(heat, made, (size_t)n * area * sizeof *heat);
        return;
    }
    for (int b = 0; b < n; b++)
        for (int k = 0; k < heats; k++)
            for (size_t i = 0; i < area; i++) *heat++ = made[((size_t)b * area + i) * (size_t)heats + (size_t)k];
}

void tn_predictor_drop(tn_predictor *p)
{
    if (p->n) rest(p);
    for (int i = 0; i < TN_PREDICTOR_SLOTS; i++) forget(&p->slot[i]);
    p->n = 0;
}

/* After an error of one batch the others are lost with it. */
static int give_up(tn_predictor *p, int rc)
{
    tn_predictor_drop(p);
    return rc;
}

int tn_predictor_take(tn_predictor *p, float *heat, double *loss, tn_error *err)
{
    tn_predictor_slot *s = &p->slot[p->first];
    const tn_model *m = p->e->model;
    if (!p->n) return tn_fail(err, TN_ERR_ARGUMENT, "no batch is under way");
    int rc = bring_images(p, s, err);
    if (!rc) rc = tn_event_wait(s->done, err);
    if (rc) return give_up(p, rc);
    unpack(heat, heat_of(s), s->n, m->heats, (size_t)m->heat_w * (size_t)m->heat_h);
    if (loss) *loss = s->loss ? tn_loss_sum(parts_of(s)) : 0;
    forget(s);
    p->first = (p->first + 1) % TN_PREDICTOR_SLOTS;
    p->n--;
    return 0;
}

/* Some of the batch, from its i-th on. */
static tn_batch part_of(const tn_predictor *p, const tn_batch *b, int i, int most)
{
    const size_t image = tn_engine_image_bytes(p->e), label = 3 * (size_t)p->e->model->heats;
    return (tn_batch){.n = TN_MIN(most, b->n - i),
                      .frames = b->frames + (size_t)i * image,
                      .labels = b->labels ? b->labels + (size_t)i * label : NULL};
}

static int take_part(tn_predictor *p, float **heat, double *sum, tn_error *err)
{
    const int n = p->slot[p->first].n;
    double part;
    TN_TRY(tn_predictor_take(p, *heat, &part, err));
    *heat += (size_t)n * tn_engine_heat_size(p->e);
    *sum += part;
    return 0;
}

int tn_predictor_run(tn_predictor *p, const tn_batch *b, float *heat, double *loss, tn_error *err)
{
    const int most = p->e->most ? p->e->most : b->n;
    double sum = 0;
    for (int i = 0; i < b->n; i += most) {
        const tn_batch some = part_of(p, b, i, most);
        if (p->n == TN_PREDICTOR_SLOTS) TN_TRY(take_part(p, &heat, &sum, err));
        const int rc = tn_predictor_put(p, &some, loss != NULL, err);
        if (rc) return give_up(p, rc);
    }
    while (p->n) TN_TRY(take_part(p, &heat, &sum, err));
    if (loss) *loss = sum;
    return 0;
}

int tn_predictor_new(tn_predictor **out, tn_engine *e, tn_error *err)
{
    tn_predictor *p = *out = calloc(1, sizeof *p);
    if (!p) return tn_oom(err);
    p->e = e;
    return 0;
}

void tn_predictor_free(tn_predictor *p)
{
    if (!p) return;
    tn_predictor_drop(p);
    release_buffers(p);
    for (int i = 0; i < TN_PREDICTOR_SLOTS; i++) release_host(p, &p->slot[i]);
    free(p);
}
