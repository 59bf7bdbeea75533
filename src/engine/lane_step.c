/* What a lane does of one step. */
#include "clock.h"
#include "kept.h"
#include "lane.h"

#include <math.h>
#include <string.h>

/* Has any stage parameters of the group? The optimiser counts its steps on every device. */
static bool has_group(const tn_engine *e, int g)
{
    for (const tn_store *s = e->session->store; s; s = s->next)
        if (s->group_len[g]) return true;
    return false;
}

static tn_step_constants constants_of(const tn_engine *e, const tn_step_job *j)
{
    const double counted = j->part ? j->part->counted : tn_engine_counted(e, j->batch.labels, j->batch.n);
    const double inv = 1 / fmax(counted * e->model->heat_w * e->model->heat_h, 1e-8);
    tn_step_constants c = {.inv_mask = (float)inv,
                           .lr = (float)j->lr,
                           .weight_decay = (float)e->s->training.weight_decay,
                           .max_norm = (float)e->s->training.grad_clip_norm,
                           .scaling = e->act == TN_F16};
    for (int g = 0; g < TN_GROUPS; g++)
        if ((j->groups & tn_group_bit(g)) && has_group(e, g)) c.groups |= 1u << g;
    return c;
}

/* What goes up of the frames. */
static void copy_frames(const tn_lane *l, const tn_step_job *j, int first, int n, char *to)
{
    const size_t image = l->at.image;
    if (!image || !n) return;
    if (!j->features) memcpy(to, j->batch.frames + (size_t)first * image, (size_t)n * image);
    else
        for (int i = 0; i < n; i++) memcpy(to + (size_t)i * image, tn_features_host(j->features, j->batch.index[first + i]), image);
}

void tn_lane_fill(tn_lane *l, int i, const tn_step_job *j, int first, int images)
{
    const tn_engine *e = l->e;
    const uint64_t seed = e->s->training.seed;
    const int before = (j->part ? j->part->first : 0) + first;
    tn_lane_slot *s = &l->slot[i];
    char *host = s->staging.host;
    tn_step_constants *now = (tn_step_constants *)host, c = constants_of(e, j);
    s->images = images, s->micros = TN_CEIL_DIV(images, j->micro);
    const size_t label = tn_lane_label_bytes(e);
    if (l->labels && images)
        memcpy(host + l->at.labels, (const char *)j->batch.labels + (size_t)first * label, (size_t)images * label);
    copy_frames(l, j, first, images, host + l->at.frames);
    for (int k = 0; k < TN_MAX(s->micros, 1); k++) {
        c.seed = tn_hash_u32((uint32_t)(seed ^ seed >> 32), (uint32_t)(j->index * 4096 + before + k * j->micro));
        now[k] = c;
        if (l->at.table) tn_model_draw(e->model, c.seed, (float *)(host + l->at.tables + (size_t)k * l->at.table));
    }
}

/* Everything at once, as soon as the step before has read its own. */
static int upload(tn_lane *l, const tn_lane_slot *s, tn_error *err)
{
    tn_event *there = NULL;
    const size_t bytes = l->at.frames + (size_t)s->images * l->at.image;
    if (!l->inputs) return 0;
    TN_TRY(tn_buffer_write_async(l->inputs, TN_QUEUE_COPY, 0, s->staging.host, bytes, l->taken, &there, err));
    const int rc = tn_queue_wait(l->who->dev, TN_QUEUE_MAIN, there, err);
    tn_event_free(there);
    tn_event_free(l->taken);
    l->taken = NULL;
    return rc;
}

int tn_lane_begin(tn_lane *l, int s, const tn_step_job *j, tn_error *err)
{
    tn_tape *update;
    TN_TRY(tn_lane_tape(&update, l, j->groups, err)); /* a refusal comes before anything is enqueued */
    TN_TRY(upload(l, &l->slot[s], err));
    if (!l->cleared) TN_TRY(tn_store_zero_grad(l->who->session->store, err));
    l->cleared = false;
    return 0;
}

/* What lies at `at` of the inputs, to where a pass reads it. */
static int bring(tn_lane *l, const tn_lane_slot *s, size_t at, tn_buffer *to, size_t bytes, tn_error *err)
{
    if (l->inputs) return tn_buffer_copy(l->inputs, at, to, 0, bytes, err);
    return tn_buffer_write_async(to, TN_QUEUE_MAIN, 0, (const char *)s->staging.host + at, bytes, NULL, NULL, err);
}

/* Features that lie in the inputs frame by frame, to the pass's maps. */
static int bring_features(tn_lane *l, const tn_lane_slot *s, const tn_exec *x, size_t at, tn_error *err)
{
    tn_feature_list f;
    tn_engine_features(&f, l->e);
    if (f.n == 1) return bring(l, s, at, x->mem[x->g.feature[0]], (size_t)x->pass.batch * l->at.image, err);
    for (int k = 0; k < x->pass.batch; k++)
        for (int i = 0; i < f.n; i++) {
            const size_t bytes = tn_feature_bytes(&f.f[i], x->pass.act);
            if (l->inputs) TN_TRY(tn_buffer_copy(l->inputs, at, x->mem[x->g.feature[i]], (size_t)k * bytes, bytes, err));
            else
                TN_TRY(tn_buffer_write_async(x->mem[x->g.feature[i]], TN_QUEUE_MAIN, (size_t)k * bytes,
                                             (const char *)s->staging.host + at, bytes, NULL, NULL, err));
            at += bytes;
        }
    return 0;
}

/* The pass's frames, the first of which is the lane's frame `first`. */
static int bring_frames(tn_lane *l, const tn_lane_slot *s, const tn_exec *x, const tn_step_job *j, int first, tn_error *err)
{
    const size_t image = l->at.image, n = (size_t)x->pass.batch, at = l->at.frames + (size_t)first * image;
    if (!j->features) return bring(l, s, at, x->mem[x->g.pixels], n * image, err);
    if (image) return bring_features(l, s, x, at, err);
    for (int k = 0; k < x->pass.batch; k++) TN_TRY(tn_features_bring(j->features, j->batch.index[first + k], x, k, err));
    return 0;
}

static int bring_constants(tn_lane *l, const tn_lane_slot *s, int k, tn_error *err)
{
    const size_t bytes = sizeof(tn_step_constants);
    return bring(l, s, (size_t)k * bytes, l->optim.constants, bytes, err);
}

static int bring_inputs(tn_lane *l, const tn_lane_slot *s, const tn_exec *x, const tn_step_job *j, int k, tn_error *err)
{
    const tn_lane_layout *a = &l->at;
    const size_t first = (size_t)k * (size_t)l->micro, n = (size_t)x->pass.batch, label = tn_lane_label_bytes(l->e);
    if (l->labels) TN_TRY(bring(l, s, a->labels + first * label, x->mem[x->g.labels], n * label, err));
    if (l->frames) TN_TRY(bring_frames(l, s, x, j, k * l->micro, err));
    if (a->table && x->g.rope_table >= 0 && x->mem[x->g.rope_table])
        TN_TRY(bring(l, s, a->tables + (size_t)k * a->table, x->mem[x->g.rope_table], a->table, err));
    return 0;
}

tn_exec *tn_lane_exec(const tn_lane *l, int s, int k)
{
    return l->x[k && (k + 1) * l->micro > l->slot[s].images][k % l->n_flights];
}

/* The lane's log gets what was enqueued since `begin`, once it has ended. */
static int log_span(tn_lane *l, int micro, tn_half half, double begin, tn_error *err)
{
    tn_dev *d = l->who->dev;
    tn_event *ended;
    TN_TRY(tn_queue_mark(d, TN_QUEUE_MAIN, &ended, err));
    int rc = tn_dev_flush(d, err);
    if (!rc) rc = tn_event_wait(ended, err);
    tn_event_free(ended);
    if (!rc && l->log->n < TN_LANE_SPANS) l->log->span[l->log->n++] = (tn_lane_span){micro, half, begin, tn_now()};
    return rc;
}

static int play_logged(tn_lane *l, tn_exec *x, int micro, tn_half half, tn_error *err)
{
    for (int k = 0; k < 2; k++) {
        const tn_half now = k ? TN_HALF_BACKWARD : TN_HALF_FORWARD;
        const double begin = tn_now();
        if (half != now && half != TN_HALF_BOTH) continue;
        TN_TRY(tn_session_run_half(l->who->session, x, k, err));
        TN_TRY(log_span(l, micro, now, begin, err));
    }
    return 0;
}

static int play(tn_lane *l, tn_exec *x, int micro, tn_half half, const tn_step_others *others, tn_error *err)
{
    tn_session *s = l->who->session;
    if (others) return others->play(others->user, x, err);
    if (l->log) return play_logged(l, x, micro, half, err);
    return half == TN_HALF_BOTH ? tn_session_run(s, x, err) : tn_session_run_half(s, x, half == TN_HALF_BACKWARD, err);
}

int tn_lane_play(tn_lane *l, int i, const tn_step_job *j, int k, tn_half half, const tn_step_others *others, tn_error *err)
{
    const tn_lane_slot *s = &l->slot[i];
    tn_exec *x = tn_lane_exec(l, i, k);
    TN_TRY(bring_constants(l, s, k, err));
    if (half != TN_HALF_BACKWARD) TN_TRY(bring_inputs(l, s, x, j, k, err));
    if (l->inputs && half != TN_HALF_FORWARD && k == s->micros - 1)
        TN_TRY(tn_queue_mark(l->who->dev, TN_QUEUE_MAIN, &l->taken, err));
    TN_TRY(play(l, x, k, half, others, err));
    if (!l->labels || half == TN_HALF_BACKWARD) return 0;
    float *parts = (float *)((char *)s->staging.host + l->at.parts) + (size_t)k * TN_PARTIALS;
    return tn_buffer_read_async(x->mem[x->g.loss], TN_QUEUE_MAIN, 0, parts, TN_PARTIALS * sizeof *parts, NULL, NULL, err);
}

int tn_lane_norm(tn_lane *l, int s, float *sums, tn_error *err)
{
    TN_TRY(tn_buffer_fill(l->sums, 0, TN_PARTIALS * sizeof *sums, 0, err));
    TN_TRY(tn_tape_play(l->norm, err));
    return tn_buffer_read(l->sums, 0, sums, TN_PARTIALS * sizeof *sums, err);
}

/* Beside the next step's passes. */
static int keep(tn_lane *l, int i, tn_error *err)
{
    tn_lane_slot *s = &l->slot[i];
    tn_dev *d = l->who->dev;
    tn_event *made;
    tn_event_free(s->kept_there);
    s->kept_there = NULL;
    TN_TRY(tn_queue_mark(d, TN_QUEUE_MAIN, &made, err));
    int rc = tn_queue_wait(d, TN_QUEUE_COPY, made, err);
    tn_event_free(made);
    if (!rc) rc = tn_kept_read(s->kept.host, l->who->session->store, err);
    return rc ? rc : tn_queue_mark(d, TN_QUEUE_COPY, &s->kept_there, err);
}

int tn_lane_update(tn_lane *l, int s, const tn_step_job *j, const float *total, tn_error *err)
{
    char *state = (char *)l->slot[s].staging.host + l->at.state;
    tn_tape *update;
    TN_TRY(tn_lane_tape(&update, l, j->groups, err));
    if (!l->slot[s].micros) TN_TRY(bring_constants(l, &l->slot[s], 0, err));
    if (total) TN_TRY(tn_buffer_write(l->sums, 0, total, sizeof *total, err));
    for (int i = 0; i < TN_LANE_SLOTS; i++) /* what the last step left is still being read */
        TN_TRY(tn_queue_wait(l->who->dev, TN_QUEUE_MAIN, l->slot[i].kept_there, err));
    const double begin = tn_now();
    TN_TRY(tn_tape_play(update, err));
    l->cleared = true;
    if (l->log) TN_TRY(log_span(l, -1, TN_HALF_BOTH, begin, err));
    if (tn_lane_keeps(l)) TN_TRY(keep(l, s, err));
    return tn_buffer_read_async(l->optim.state, TN_QUEUE_MAIN, 0, state, sizeof(tn_optim_state), NULL, &l->slot[s].done, err);
}
