#include "crew.h"
#include "channel.h"
#include "clock.h"

#include <stdlib.h>

/* A lane's thread, and what its passes wait for: by flight, the end of the last one that used the flight's memory, and of the
 * last reading of what it left. */
typedef struct {
    tn_crew *crew;
    tn_lane *lane;
    pthread_t thread;
    bool started;
    tn_event *played[TN_MAX_FLIGHTS], *left[TN_MAX_FLIGHTS];
    long long done; /* steps */
    int rc;
    tn_error err;
} hand;

struct tn_crew {
    hand *hands;
    int n;
    tn_meeting meeting;
    tn_channel **channels; /* of all replicas */
    int n_channels;
    long long step; /* the number of the step that is asked for */
    int slot;
    const tn_step_job *job;
    bool quit;
};

static tn_channel *find(const tn_crew *c, int replica, int from, int to, bool backward)
{
    for (int i = 0; i < c->n_channels; i++) {
        tn_channel *k = c->channels[i];
        if (k->replica == replica && k->from == from && k->to == to && k->backward == backward) return k;
    }
    return NULL;
}

/* ---- a lane's passes ---- */

static int receive_all(hand *h, const tn_exec *x, bool backward, int flight, tn_error *err)
{
    const tn_member *who = h->lane->who;
    for (int other = 0; other < who->n_stages; other++) {
        tn_channel *c = find(h->crew, who->replica, other, who->stage, backward);
        if (c) TN_TRY(tn_channel_receive(c, who->session, x, h->played[flight], err));
    }
    return 0;
}

static int send_all(hand *h, const tn_exec *x, bool backward, int flight, tn_error *err)
{
    const tn_member *who = h->lane->who;
    for (int other = 0; other < who->n_stages; other++) {
        tn_channel *c = find(h->crew, who->replica, who->stage, other, backward);
        if (c) TN_TRY(tn_channel_send(c, who->session, x, &h->left[flight], err));
    }
    return 0;
}

static int mark_played(hand *h, int flight, tn_error *err)
{
    tn_event_free(h->played[flight]);
    h->played[flight] = NULL;
    return tn_queue_mark(h->lane->who->dev, TN_QUEUE_MAIN, &h->played[flight], err);
}

static int run_pass(hand *h, int s, const tn_step_job *j, int k, tn_half half, tn_error *err)
{
    tn_lane *l = h->lane;
    const tn_exec *x = tn_lane_exec(l, s, k);
    const int flight = k % l->n_flights;
    if (half != TN_HALF_BACKWARD) TN_TRY(receive_all(h, x, false, flight, err));
    if (half != TN_HALF_FORWARD) TN_TRY(receive_all(h, x, true, flight, err));
    TN_TRY(tn_queue_wait(l->who->dev, TN_QUEUE_MAIN, h->left[flight], err));
    TN_TRY(tn_lane_play(l, s, j, k, half, NULL, err));
    TN_TRY(mark_played(h, flight, err));
    TN_TRY(tn_dev_flush(l->who->dev, err));
    if (half != TN_HALF_BACKWARD) TN_TRY(send_all(h, x, false, flight, err));
    if (half != TN_HALF_FORWARD) TN_TRY(send_all(h, x, true, flight, err));
    return 0;
}

/* The last stage has the gradient as soon as it has the loss; the others run ahead by as many micro-batches as stages follow. */
static int run_passes(hand *h, int s, const tn_step_job *j, tn_error *err)
{
    const tn_member *who = h->lane->who;
    const int micros = h->lane->slot[s].micros, ahead = TN_MIN(who->n_stages - 1 - who->stage, micros);
    TN_TRY(tn_lane_begin(h->lane, s, j, err));
    if (who->stage == who->n_stages - 1) {
        for (int k = 0; k < micros; k++) TN_TRY(run_pass(h, s, j, k, TN_HALF_BOTH, err));
        return 0;
    }
    for (int k = 0; k < ahead; k++) TN_TRY(run_pass(h, s, j, k, TN_HALF_FORWARD, err));
    for (int k = 0; k < micros; k++) {
        if (k + ahead < micros) TN_TRY(run_pass(h, s, j, k + ahead, TN_HALF_FORWARD, err));
        TN_TRY(run_pass(h, s, j, k, TN_HALF_BACKWARD, err));
    }
    return 0;
}

/* ---- threads ---- */

/* Waits for the next step. False: the crew ends. */
static bool next_step(hand *h, int *slot, const tn_step_job **job)
{
    tn_crew *c = h->crew;
    pthread_mutex_lock(&c->meeting.lock);
    while (c->step == h->done && !c->quit) pthread_cond_wait(&c->meeting.changed, &c->meeting.lock);
    *slot = c->slot;
    *job = c->job;
    const bool go = !c->quit;
    pthread_mutex_unlock(&c->meeting.lock);
    return go;
}

static void *work(void *user)
{
    hand *h = user;
    int slot;
    const tn_step_job *job;
    while (next_step(h, &slot, &job)) {
        h->err = (tn_error){0};
        h->rc = run_passes(h, slot, job, &h->err);
        if (h->rc) tn_meeting_fail(&h->crew->meeting);
        pthread_mutex_lock(&h->crew->meeting.lock);
        h->done++;
        pthread_cond_broadcast(&h->crew->meeting.changed);
        pthread_mutex_unlock(&h->crew->meeting.lock);
    }
    return NULL;
}

static int start(hand *h, tn_error *err)
{
    if (pthread_create(&h->thread, NULL, work, h))
        return tn_fail(err, TN_ERR_MEMORY, "no thread for device '%s'", h->lane->who->dev->info.name);
    h->started = true;
    return 0;
}

int tn_crew_new(tn_crew **out, tn_lane *lanes, int n, tn_error *err)
{
    tn_crew *c = *out = calloc(1, sizeof *c);
    if (!c) return tn_oom(err);
    pthread_mutex_init(&c->meeting.lock, NULL);
    pthread_cond_init(&c->meeting.changed, NULL);
    c->hands = calloc((size_t)n, sizeof *c->hands);
    int rc = c->hands ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < n; i++, c->n++) {
        c->hands[i].crew = c;
        c->hands[i].lane = &lanes[i];
    }
    for (int i = 0; !rc && i < n; i++) rc = start(&c->hands[i], err);
    if (!rc) return 0;
    tn_crew_free(c);
    *out = NULL;
    return rc;
}

static void drop_events(hand *h)
{
    for (int f = 0; f < TN_MAX_FLIGHTS; f++) {
        tn_event_free(h->played[f]);
        tn_event_free(h->left[f]);
        h->played[f] = h->left[f] = NULL;
    }
}

static void drop_channels(tn_crew *c)
{
    for (int i = 0; i < c->n; i++) drop_events(&c->hands[i]);
    for (int i = 0; i < c->n_channels; i++) {
        tn_channel_free(c->channels[i]);
        free(c->channels[i]);
    }
    free(c->channels);
    c->channels = NULL;
    c->n_channels = 0;
}

void tn_crew_free(tn_crew *c)
{
    if (!c) return;
    pthread_mutex_lock(&c->meeting.lock);
    c->quit = true;
    pthread_cond_broadcast(&c->meeting.changed);
    pthread_mutex_unlock(&c->meeting.lock);
    for (int i = 0; i < c->n; i++)
        if (c->hands[i].started) pthread_join(c->hands[i].thread, NULL);
    drop_channels(c);
    pthread_mutex_destroy(&c->meeting.lock);
    pthread_cond_destroy(&c->meeting.changed);
    free(c->hands);
    free(c);
}

/* ---- channels ---- */

static int add_channel(tn_crew *c, const tn_member *from, int to, bool backward, size_t bytes, tn_error *err)
{
    tn_channel **v = realloc(c->channels, sizeof *v * (size_t)(c->n_channels + 1));
    if (v) c->channels = v;
    tn_channel *k = v ? calloc(1, sizeof *k) : NULL;
    if (!k) return tn_oom(err);
    *k = (tn_channel){.replica = from->replica, .from = from->stage, .to = to, .backward = backward, .at = &c->meeting};
    c->channels[c->n_channels++] = k;
    return tn_channel_new(k, from->dev, bytes, err);
}

/* Between a stage and all others of its replica, as large as its largest pass needs. */
static int connect_hand(tn_crew *c, const hand *h, tn_error *err)
{
    const tn_member *who = h->lane->who;
    for (int to = 0; to < who->n_stages; to++) {
        const bool backward = to < who->stage;
        size_t bytes = 0;
        for (int i = 0; i < 2; i++)
            if (h->lane->x[i][0]) bytes = TN_MAX(bytes, tn_bundle_bytes(&h->lane->x[i][0]->g, to, true, backward));
        if (bytes) TN_TRY(add_channel(c, who, to, backward, bytes, err));
    }
    return 0;
}

int tn_crew_connect(tn_crew *c, tn_error *err)
{
    drop_channels(c);
    for (int i = 0; i < c->n; i++) TN_TRY(connect_hand(c, &c->hands[i], err));
    return 0;
}

/* ---- a step ---- */

/* What failed first is told; the others were only told to stop. */
static int first_failure(const tn_crew *c, tn_error *err)
{
    for (int told = 0; told < 2; told++)
        for (int i = 0; i < c->n; i++) {
            const hand *h = &c->hands[i];
            if (!h->rc || (h->rc == TN_ERR_CANCELLED && !told)) continue;
            if (err) *err = h->err;
            return h->rc;
        }
    return 0;
}

void tn_crew_start(tn_crew *c, int s, const tn_step_job *j)
{
    pthread_mutex_lock(&c->meeting.lock);
    c->slot = s;
    c->job = j;
    c->meeting.failed = false;
    c->step++;
    pthread_cond_broadcast(&c->meeting.changed);
    pthread_mutex_unlock(&c->meeting.lock);
}

int tn_crew_wait(tn_crew *c, tn_error *err)
{
    pthread_mutex_lock(&c->meeting.lock);
    for (int i = 0; i < c->n; i++)
        while (c->hands[i].done < c->step) pthread_cond_wait(&c->meeting.changed, &c->meeting.lock);
    pthread_mutex_unlock(&c->meeting.lock);
    return first_failure(c, err);
}
