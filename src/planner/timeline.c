#include "timeline.h"

#include <math.h>
#include <stdlib.h>

/* One replica being played. Times are when something is there. */
typedef struct {
    tn_timeline *out;
    const tn_planner_replica *r;
    int replica, micros;
    double *input, *gradient;    /* [stages][micros]: of a stage's forward and backward pass; NAN: not yet known */
    double *free_at;             /* [stages] */
    double *shared;              /* [TN_PLANNER_SHARES + 1]: of cores that stages of all replicas share */
    double *down_free, *up_free; /* [stages]: the edge behind a stage, each way */
    int *done_forward, *done_backward;
} player;

int tn_timeline_add(tn_timeline *t, tn_span s, tn_error *err)
{
    if (!(t->n & (t->n - 1))) { /* doubles at powers of two */
        tn_span *v = realloc(t->span, sizeof *v * (size_t)TN_MAX(2 * t->n, 16));
        if (!v) return tn_oom(err);
        t->span = v;
    }
    t->span[t->n++] = s;
    t->seconds = fmax(t->seconds, s.end);
    return 0;
}

/* What stage `from` has made by `when` goes over the edge behind `edge`, whose way is free at *free_at; it is there at *there. */
static int send(player *p, int edge, int from, int micro, double when, double *free_at, double *there, tn_error *err)
{
    const tn_planner_stage *a = &p->r->stage[edge], *b = &p->r->stage[edge + 1];
    const double begin = fmax(when, *free_at), end = begin + a->out + a->network / 2 + b->in;
    *free_at = *there = end;
    return tn_timeline_add(p->out, (tn_span){p->replica, from, micro, TN_SPAN_LINK, begin, end}, err);
}

/* When a stage's cores are free. */
static double *cores_of(const player *p, int s)
{
    const int shares = p->r->stage[s].shares;
    return shares ? &p->shared[shares] : &p->free_at[s];
}

static int run_forward(player *p, int s, tn_error *err)
{
    const int k = p->done_forward[s]++, at = s * p->micros + k, last = p->r->n_stages - 1;
    const double begin = fmax(*cores_of(p, s), p->input[at]), end = begin + p->r->stage[s].forward;
    *cores_of(p, s) = end;
    TN_TRY(tn_timeline_add(p->out, (tn_span){p->replica, s, k, TN_SPAN_FORWARD, begin, end}, err));
    if (s < last) return send(p, s, s, k, end, &p->down_free[s], &p->input[at + p->micros], err);
    p->gradient[at] = end;
    return 0;
}

static int run_backward(player *p, int s, tn_error *err)
{
    const int k = p->done_backward[s]++, at = s * p->micros + k;
    const double begin = fmax(*cores_of(p, s), p->gradient[at]), end = begin + p->r->stage[s].backward;
    *cores_of(p, s) = end;
    TN_TRY(tn_timeline_add(p->out, (tn_span){p->replica, s, k, TN_SPAN_BACKWARD, begin, end}, err));
    return s > 0 ? send(p, s - 1, s, k, end, &p->up_free[s - 1], &p->gradient[at - p->micros], err) : 0;
}

/* Whether stage s has something to do whose input is known; does it. */
static bool advance(player *p, int s, tn_error *err, int *rc)
{
    const int f = p->done_forward[s], b = p->done_backward[s], ahead = p->r->n_stages - s;
    const bool forward = f < p->micros && f - b < ahead;
    if (forward && !isnan(p->input[s * p->micros + f])) {
        *rc = run_forward(p, s, err);
        return true;
    }
    if (forward || b >= p->micros || isnan(p->gradient[s * p->micros + b])) return false;
    *rc = run_backward(p, s, err);
    return true;
}

static int play(player *p, tn_error *err)
{
    int rc = 0;
    for (bool any = true; any && !rc;) {
        any = false;
        for (int s = 0; s < p->r->n_stages; s++)
            while (!rc && advance(p, s, err, &rc)) any = true;
    }
    return rc;
}

static int play_replica(tn_timeline *out, const tn_planner_replica *r, int replica, double *shared, tn_error *err)
{
    player p = {.out = out, .r = r, .replica = replica, .shared = shared, .micros = TN_CEIL_DIV(r->images, r->micro)};
    const size_t n = (size_t)r->n_stages * (size_t)p.micros, stages = (size_t)r->n_stages;
    p.input = malloc(sizeof(double) * (2 * n + 3 * stages));
    p.done_forward = calloc(2 * stages, sizeof(int));
    int rc = p.input && p.done_forward ? 0 : tn_oom(err);
    if (!rc) {
        p.gradient = p.input + n, p.free_at = p.gradient + n, p.down_free = p.free_at + stages, p.up_free = p.down_free + stages;
        p.done_backward = p.done_forward + stages;
        for (size_t i = 0; i < 2 * n; i++) p.input[i] = i < (size_t)p.micros ? 0 : NAN;
        for (size_t i = 0; i < 3 * stages; i++) p.free_at[i] = 0;
        rc = play(&p, err);
    }
    free(p.input);
    free(p.done_forward);
    return rc;
}

/* The sum of gradients once every replica is through, then the optimiser, on all stages. */
static int finish(tn_timeline *t, const tn_planner_result *r, tn_error *err)
{
    const double through = t->seconds, summed = through + r->exchange;
    for (int i = 0; i < r->n_replicas; i++)
        for (int s = 0; s < r->replica[i].n_stages; s++) {
            if (r->exchange > 0) TN_TRY(tn_timeline_add(t, (tn_span){i, s, -1, TN_SPAN_EXCHANGE, through, summed}, err));
            TN_TRY(tn_timeline_add(t, (tn_span){i, s, -1, TN_SPAN_UPDATE, summed, summed + r->replica[i].stage[s].update}, err));
        }
    return 0;
}

int tn_timeline_play(tn_timeline *t, const tn_planner_result *r, tn_error *err)
{
    *t = (tn_timeline){0};
    double shared[TN_PLANNER_SHARES + 1] = {0};
    int rc = 0;
    for (int i = 0; !rc && i < r->n_replicas; i++) rc = play_replica(t, &r->replica[i], i, shared, err);
    if (!rc) rc = finish(t, r, err);
    if (rc) tn_timeline_free(t);
    return rc;
}

void tn_timeline_free(tn_timeline *t)
{
    free(t->span);
    *t = (tn_timeline){0};
}

double tn_timeline_busy(const tn_timeline *t, int replica, int stage)
{
    double sum = 0;
    for (int i = 0; i < t->n; i++) {
        const tn_span *s = &t->span[i];
        const bool computes = s->kind == TN_SPAN_FORWARD || s->kind == TN_SPAN_BACKWARD || s->kind == TN_SPAN_UPDATE;
        if (s->replica == replica && s->stage == stage && computes) sum += s->end - s->begin;
    }
    return sum;
}
