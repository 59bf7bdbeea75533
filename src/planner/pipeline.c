#include "pipeline.h"

#include <math.h>
#include <stdlib.h>

/* A way to run the layers from some on: seconds of a micro-batch going through, and of its slowest part. */
typedef struct {
    double sum, slowest;
    int last, next; /* of its first stage; label of what follows it, -1: nothing */
    int state;
} label;

/* Labels of a state: from `first` on. */
typedef struct {
    int first, n;
} range;

struct tn_pipelines {
    const tn_kinds *k;
    tn_costs *c;
    int layers, choices, depth; /* depth: the most stages */
    int micro, at_depth;        /* of the states; 0: not filled */
    range *state;               /* [choices][layers][kinds] */
    label *v;
    int n, room;
    tn_stage_cost *stage;         /* [kinds][layers][layers], of stages with so many micro-batches in flight */
    int weight[TN_PLANNER_KINDS]; /* what one more of a kind adds to a choice's number */
    double near;                  /* what a label must gain on another one to be kept beside it */
    bool alone, short_of;
};

int tn_pipelines_new(tn_pipelines **out, const tn_kinds *k, tn_costs *c, double near, tn_error *err)
{
    tn_pipelines *p = *out = calloc(1, sizeof *p);
    if (!p) return tn_oom(err);
    *p = (tn_pipelines){.k = k, .c = c, .layers = c->p->n_layers, .choices = k->choices, .near = near};
    const size_t layers = (size_t)p->layers, kinds = (size_t)k->n;
    p->depth = TN_MIN(TN_MIN(tn_choice_devices(k, p->choices - 1), p->layers), TN_MAX_STAGES);
    p->state = calloc((size_t)p->choices * layers * kinds + 1, sizeof *p->state);
    p->stage = calloc(kinds * layers * layers + 1, sizeof *p->stage);
    for (int i = 0, n = 1; i < k->n; n *= k->cap[i++] + 1) p->weight[i] = n;
    if (p->state && p->stage) return 0;
    tn_pipelines_free(p);
    *out = NULL;
    return tn_oom(err);
}

void tn_pipelines_free(tn_pipelines *p)
{
    if (!p) return;
    free(p->state);
    free(p->stage);
    free(p->v);
    free(p);
}

static int state_at(const tn_pipelines *p, int choice, int layer, int kind)
{
    return (choice * p->layers + layer) * p->k->n + kind;
}

static tn_stage_cost *stage_at(const tn_pipelines *p, int kind, int a, int b)
{
    return &p->stage[(kind * p->layers + a) * p->layers + b];
}

static int in_flight(const tn_pipelines *p, int stages)
{
    return p->alone ? 1 : stages;
}

static void cost_stages(tn_pipelines *p, int stages)
{
    for (int k = 0; k < p->k->n; k++)
        for (int a = 0; a < p->layers; a++)
            for (int b = a; b < p->layers; b++) {
                tn_stage_cost *s = stage_at(p, k, a, b);
                *s = tn_cost_of_stage(p->c, k, a, b, in_flight(p, stages));
                p->short_of |= !s->fits || s->again >= 0;
            }
}

/* ---- labels ---- */

/* Keeps those of v[from..] that no other beats, in the order of `slowest`; x is new. */
static int insert(tn_pipelines *p, int from, const label *x, tn_error *err)
{
    int at = from;
    const double near = 1 + p->near, slowest = x->slowest * near, sum = x->sum * near;
    for (int i = from; i < p->n && p->v[i].slowest <= slowest; i++) {
        if (p->v[i].sum <= sum) return 0;
        at += p->v[i].slowest <= x->slowest;
    }
    int end = at;
    while (end < p->n && p->v[end].sum >= x->sum) end++;
    if (p->n == p->room) {
        const int room = p->room ? 2 * p->room : 4096;
        label *v = realloc(p->v, sizeof *v * (size_t)room);
        if (!v) return tn_oom(err);
        p->v = v;
        p->room = room;
    }
    const int gone = end - at;
    if (gone != 1) {
        const int tail = p->n - end, shift = 1 - gone;
        if (shift > 0)
            for (int i = end + tail - 1; i >= end; i--) p->v[i + shift] = p->v[i];
        else
            for (int i = end; i < end + tail; i++) p->v[i + shift] = p->v[i];
        p->n += shift;
    }
    p->v[at] = *x;
    return 0;
}

/* A stage over a..b before what may follow it. */
static int extend(tn_pipelines *p, int from, int state, int choice, int kind, int b, const tn_stage_cost *s, tn_error *err)
{
    const int rest = choice - p->weight[kind], count = tn_choice_count(p->k, choice, kind);
    const double slowest = fmax(s->compute, s->link), sum = s->compute + s->link + s->update;
    if (b == p->layers - 1) {
        const label x = {sum, slowest, b, -1, state};
        return rest ? 0 : insert(p, from, &x, err);
    }
    for (int next = 0; next < p->k->n; next++) {
        const range r = p->state[state_at(p, rest, b + 1, next)];
        const double net = r.n && tn_kinds_cross(p->k, kind, count, next) ? tn_cost_of_network(p->c, b) : 0;
        for (int i = r.first; i < r.first + r.n; i++) {
            const label x = {sum + net + p->v[i].sum, fmax(fmax(slowest, net), p->v[i].slowest), b, i, state};
            TN_TRY(insert(p, from, &x, err));
        }
    }
    return 0;
}

static int fill_state(tn_pipelines *p, int choice, int a, int kind, tn_error *err)
{
    const int from = p->n, state = state_at(p, choice, a, kind);
    for (int b = a; b < p->layers; b++) {
        const tn_stage_cost *s = stage_at(p, kind, a, b);
        if (s->fits) TN_TRY(extend(p, from, state, choice, kind, b, s, err));
    }
    p->state[state] = (range){from, p->n - from};
    return 0;
}

static int fill_choice(tn_pipelines *p, int choice, tn_error *err)
{
    for (int kind = 0; kind < p->k->n; kind++)
        for (int a = 0; a < p->layers; a++) {
            p->state[state_at(p, choice, a, kind)] = (range){0, 0};
            if (tn_choice_count(p->k, choice, kind)) TN_TRY(fill_state(p, choice, a, kind, err));
        }
    return 0;
}

int tn_pipelines_depth(const tn_pipelines *p)
{
    return p->depth;
}

static int fill(tn_pipelines *p, int micro, bool alone, int depth, tn_error *err)
{
    p->n = 0;
    p->micro = micro;
    p->at_depth = depth;
    p->alone = alone;
    p->short_of = false;
    tn_costs_at(p->c, micro);
    for (int i = 0; i < p->choices * p->layers * p->k->n; i++) p->state[i] = (range){0, 0};
    for (int stages = 1; stages <= depth; stages++) {
        if (stages == 1 || !alone) cost_stages(p, stages);
        for (int choice = 1; choice < p->choices; choice++)
            if (tn_choice_devices(p->k, choice) == stages) TN_TRY(fill_choice(p, choice, err));
    }
    return 0;
}

int tn_pipelines_at(tn_pipelines *p, int micro, bool alone, int depth, bool *short_of, tn_error *err)
{
    if (p->micro != micro || p->alone != alone || p->at_depth != depth) TN_TRY(fill(p, micro, alone, depth, err));
    if (short_of) *short_of = p->short_of;
    return 0;
}

/* ---- answers ---- */

/* The best label of a choice, or -1. */
static int best_of(const tn_pipelines *p, int choice, int micros, double *seconds)
{
    int best = -1;
    *seconds = INFINITY;
    for (int kind = 0; kind < p->k->n; kind++) {
        const range r = p->state[state_at(p, choice, 0, kind)];
        for (int i = r.first; i < r.first + r.n; i++) {
            const double t = p->v[i].sum + (micros - 1) * p->v[i].slowest;
            if (t < *seconds) *seconds = t, best = i;
        }
    }
    return best;
}

double tn_pipeline_seconds(const tn_pipelines *p, int choice, int micros)
{
    double seconds;
    (void)best_of(p, choice, micros, &seconds);
    return seconds;
}

int tn_pipeline_legs(const tn_pipelines *p, int choice, int micros, tn_leg leg[TN_MAX_STAGES])
{
    double seconds;
    int n = 0;
    for (int i = best_of(p, choice, micros, &seconds); i >= 0 && n < TN_MAX_STAGES; i = p->v[i].next, n++) {
        const int state = p->v[i].state;
        leg[n] = (tn_leg){state % p->k->n, state / p->k->n % p->layers, p->v[i].last, 1};
    }
    for (int i = 0; i < n && !p->alone; i++) leg[i].in_flight = n - i;
    return n;
}
