#include "stepper.h"
#include "crew.h"
#include "fit.h"
#include "replicas.h"

#include <stdlib.h>

struct tn_stepper {
    tn_engine *e;
    int batch;
    tn_lane *lane; /* one a member of the team */
    int n;
    tn_crew *crew; /* NULL: one lane */
    bool connected;
    tn_replicas *replicas; /* NULL: one replica */
    tn_step_others others; /* play NULL: there are none */
    tn_step_result r[TN_LANE_SLOTS];
    bool under_way[TN_LANE_SLOTS];
    tn_step_job running;       /* what the crew runs, without its batch */
    int pending;               /* its slot; -1: the crew is idle */
    int images, micro, groups; /* that the lanes were last prepared for */
    int next, last;            /* last: the slot whose results came last; -1: none have */
    tn_step_result came;       /* what came last; the slot's own is the next step's by then */
    tn_step_done done;
    void *user;
};

static int open_lanes(tn_stepper *st, tn_error *err)
{
    const tn_team *t = &st->e->team;
    st->lane = calloc((size_t)t->n, sizeof *st->lane);
    if (!st->lane) return tn_oom(err);
    for (; st->n < t->n; st->n++) {
        const tn_member *who = &t->member[st->n];
        const int share = t->n > 1 ? t->split.replica[who->replica].images : st->batch;
        TN_TRY(tn_lane_new(&st->lane[st->n], st->e, who, share, err));
    }
    if (t->split.n_replicas > 1) TN_TRY(tn_replicas_new(&st->replicas, t, err));
    return st->n > 1 ? tn_crew_new(&st->crew, st->lane, st->n, err) : 0;
}

int tn_stepper_new(tn_stepper **out, tn_engine *e, int batch, tn_step_done done, void *user, tn_error *err)
{
    tn_stepper *st = *out = calloc(1, sizeof *st);
    if (!st) return tn_oom(err);
    *st = (tn_stepper){.e = e, .batch = batch, .pending = -1, .last = -1, .done = done, .user = user};
    const int rc = open_lanes(st, err);
    if (!rc) return 0;
    tn_stepper_free(st);
    *out = NULL;
    return rc;
}

void tn_stepper_join(tn_stepper *st, const tn_step_others *others)
{
    st->others = *others;
}

void tn_stepper_log(tn_stepper *st, tn_lane_log *logs)
{
    for (int i = 0; i < st->n; i++) st->lane[i].log = logs ? &logs[i] : NULL;
}

void tn_stepper_free(tn_stepper *st)
{
    tn_error unread;
    if (!st) return;
    tn_crew_free(st->crew);
    for (int i = 0; i < st->n; i++) (void)tn_dev_finish(st->lane[i].who->dev, &unread); /* before what commands write to goes */
    tn_replicas_free(st->replicas);
    for (int i = 0; i < st->n; i++) tn_lane_free(&st->lane[i]);
    free(st->lane);
    free(st);
}

/* ---- the end of a step on several devices ---- */

/* The sum of the squares of the first replica's gradients, which by now are everybody's. Waits. */
static int norm_of_all(tn_stepper *st, int s, float *total, tn_error *err)
{
    double sum = 0;
    float part[TN_PARTIALS];
    for (int i = 0; i < st->n && st->lane[i].who->replica == 0; i++) {
        TN_TRY(tn_lane_norm(&st->lane[i], s, part, err));
        for (int k = 0; k < TN_PARTIALS; k++) sum += part[k];
    }
    *total = (float)sum;
    return 0;
}

/* Waits for the passes that the crew runs, and enqueues what comes after them. */
static int finish(tn_stepper *st, tn_error *err)
{
    const int s = st->pending;
    const tn_step_job *j = &st->running;
    float total;
    if (s < 0) return 0;
    st->pending = -1;
    int rc = tn_crew_wait(st->crew, err);
    if (!rc && st->replicas) rc = tn_replicas_add(st->replicas, err);
    if (!rc) rc = norm_of_all(st, s, &total, err);
    for (int i = 0; !rc && i < st->n; i++) rc = tn_lane_update(&st->lane[i], s, j, &total, err);
    for (int i = 0; !rc && i < st->n; i++) rc = tn_dev_flush(st->lane[i].who->dev, err);
    st->connected = !rc;
    st->under_way[s] = !rc;
    return rc;
}

/* ---- results ---- */

static double loss_of(const tn_stepper *st, int s)
{
    double loss = 0;
    for (int i = 0; i < st->n; i++) loss += tn_lane_loss(&st->lane[i], s);
    return loss;
}

/* Waits for the slot's step, if there is one, and hands its results out: the losses of all lanes, the first one's state. */
static int collect(tn_stepper *st, int s, tn_error *err)
{
    tn_optim_state other;
    tn_step_result *r = &st->r[s];
    if (!st->under_way[s]) return 0;
    st->under_way[s] = false;
    for (int i = 0; i < st->n; i++) TN_TRY(tn_lane_collect(&st->lane[i], s, i ? &other : &r->optim, err));
    if (!st->others.play) r->loss = loss_of(st, s);
    st->last = s;
    st->came = *r;
    return st->done ? st->done(st->user, r, err) : 0;
}

int tn_stepper_drain(tn_stepper *st, tn_error *err)
{
    TN_TRY(finish(st, err));
    for (int i = 0; i < TN_LANE_SLOTS; i++) TN_TRY(collect(st, (st->next + i) % TN_LANE_SLOTS, err));
    for (int i = 0; i < st->n; i++) TN_TRY(tn_dev_finish(st->lane[i].who->dev, err)); /* also for a step that failed half-way */
    return 0;
}

/* Did the slot's step end on all lanes that keep what it left? Without asking devices that are lost. */
static bool is_complete(const tn_stepper *st, int s)
{
    tn_error unread;
    if (!st->under_way[s]) return false;
    for (int i = 0; i < st->n; i++)
        if (tn_lane_keeps(&st->lane[i]) && tn_lane_join(&st->lane[i], s, &unread)) return false;
    return true;
}

int tn_stepper_rescue(tn_rescue *r, tn_stepper *st, tn_error *err)
{
    for (int k = 0; k < TN_LANE_SLOTS; k++) {
        const int s = (st->next + k) % TN_LANE_SLOTS; /* the older one first */
        if (!is_complete(st, s)) continue;
        st->under_way[s] = false;
        st->r[s].optim = *tn_lane_state(&st->lane[0], s);
        st->r[s].loss = loss_of(st, s);
        if (st->done) TN_TRY(st->done(st->user, &st->r[s], err));
        st->last = s;
        st->came = st->r[s];
    }
    if (st->last < 0) return 0;
    return tn_rescue_take(r, st->lane, st->n, st->last, st->came.index + 1, &st->came.optim, err);
}

int tn_stepper_tape(tn_tape **update, tn_stepper *st, int groups, tn_error *err)
{
    return tn_lane_tape(update, &st->lane[0], groups, err);
}

/* ---- a step ---- */

/* A lane's frames of a batch: its replica's part, in proportion where the batch is short. */
static int part_of(const tn_stepper *st, const tn_lane *l, int n, int *first)
{
    const tn_split *split = &st->e->team.split;
    const int r = l->who->replica;
    long long before = 0, all = 0;
    *first = 0;
    if (st->n == 1) return n;
    for (int i = 0; i < split->n_replicas; i++) {
        if (i < r) before += split->replica[i].images;
        all += split->replica[i].images;
    }
    const int begin = (int)(before * n / all), end = (int)((before + split->replica[r].images) * n / all);
    *first = begin;
    return end - begin;
}

static bool is_prepared(const tn_stepper *st, const tn_step_job *j)
{
    return st->connected && st->images == j->batch.n && st->micro == j->micro && st->groups == j->groups;
}

static int prepare_lanes(tn_stepper *st, const tn_step_job *j, tn_error *err)
{
    bool ready = true;
    int first;
    for (int i = 0; i < st->n; i++) ready &= tn_lane_ready(&st->lane[i], j, part_of(st, &st->lane[i], j->batch.n, &first));
    if (ready && (st->connected || !st->crew)) return 0;
    TN_TRY(tn_stepper_drain(st, err));
    st->connected = false;
    for (int i = 0; i < st->n; i++) TN_TRY(tn_lane_prepare(&st->lane[i], j, part_of(st, &st->lane[i], j->batch.n, &first), err));
    return st->crew ? tn_crew_connect(st->crew, err) : 0;
}

/* New passes may move an arena under steps that still run: those are waited for. Nothing of a lane changes while the crew runs. */
static int prepare(tn_stepper *st, const tn_step_job *j, tn_error *err)
{
    if (st->crew && is_prepared(st, j)) return 0;
    TN_TRY(finish(st, err));
    for (int i = 0; i < st->n; i++) st->lane[i].who->session->loss = tn_engine_loss(st->e);
    TN_TRY(prepare_lanes(st, j, err));
    st->connected = true;
    st->images = j->batch.n, st->micro = j->micro, st->groups = j->groups;
    return 0;
}

/* The other processes' gradients and losses. The device has nothing to do until they are here, so the loss is waited for as well.
 */
static int add_others(tn_stepper *st, int s, const tn_step_job *j, tn_error *err)
{
    tn_dev *d = st->lane[0].who->dev;
    tn_event *passed;
    TN_TRY(tn_queue_mark(d, TN_QUEUE_MAIN, &passed, err));
    int rc = tn_dev_flush(d, err);
    if (!rc) rc = st->others.sum(st->others.user, j->groups, err);
    if (!rc) rc = tn_event_wait(passed, err);
    tn_event_free(passed);
    if (rc) return rc;
    st->r[s].loss = loss_of(st, s);
    return st->others.total(st->others.user, &st->r[s].loss, err);
}

static int run_alone(tn_stepper *st, int s, const tn_step_job *j, tn_error *err)
{
    tn_lane *l = &st->lane[0];
    const int micros = l->slot[s].micros;
    TN_TRY(tn_lane_begin(l, s, j, err));
    for (int k = 0; k < micros; k++) {
        const bool leaves = st->others.play && k == micros - 1;
        TN_TRY(tn_lane_play(l, s, j, k, TN_HALF_BOTH, leaves ? &st->others : NULL, err));
    }
    if (st->others.play) TN_TRY(add_others(st, s, j, err));
    return tn_lane_update(l, s, j, NULL, err);
}

/* The crew's passes of the step before end, and this step's begin. */
static int hand_on(tn_stepper *st, int s, const tn_step_job *j, tn_error *err)
{
    TN_TRY(finish(st, err));
    st->running = *j;
    st->running.batch = (tn_batch){.n = j->batch.n};
    st->pending = s;
    tn_crew_start(st->crew, s, &st->running);
    return 0;
}

int tn_stepper_step(tn_stepper *st, const tn_step_job *j, tn_error *err)
{
    const int s = st->next;
    int first;
    TN_TRY(tn_engine_unpack(st->e, j->micro, err));
    TN_TRY(collect(st, s, err));
    TN_TRY(prepare(st, j, err));
    for (int i = 0; i < st->n; i++) {
        const int images = part_of(st, &st->lane[i], j->batch.n, &first);
        tn_lane_fill(&st->lane[i], s, j, first, images);
    }
    st->r[s] = (tn_step_result){.index = j->index, .images = j->batch.n, .lr = j->lr};
    TN_TRY(st->crew ? hand_on(st, s, j, err) : run_alone(st, s, j, err));
    st->next = (s + 1) % TN_LANE_SLOTS;
    if (st->crew) return 0;
    st->under_way[s] = true;
    return tn_dev_flush(st->lane[0].who->dev, err);
}
