#include "cost.h"

#include <math.h>
#include <stdlib.h>

double tn_line_at(tn_line l, double n)
{
    return l.fixed + l.image * n;
}

static bool is_block(const tn_planner_layer *l)
{
    return l->block >= 0 && l->again;
}

/* ---- memory of the tables ---- */

static int new_kind(tn_kind *k, size_t layers, tn_error *err)
{
    double *v = calloc(4 * (layers + 1), sizeof *v);
    if (!v) return tn_oom(err);
    k->forward = v;
    k->backward = v + (layers + 1);
    k->rest_again = v + 2 * (layers + 1);
    k->block_again = v + 3 * (layers + 1);
    return 0;
}

int tn_costs_new(tn_costs *c, const tn_planner_problem *p, tn_kind *kind, int n_kinds, tn_error *err)
{
    const size_t n = (size_t)p->n_layers;
    *c = (tn_costs){.p = p, .kind = kind, .n_kinds = n_kinds};
    for (int k = 0; k < n_kinds; k++) kind[k].forward = NULL;
    c->run = calloc(n * n, sizeof *c->run);
    c->before = calloc(n + 1, sizeof *c->before);
    c->block_less = calloc(n + 1, sizeof *c->block_less);
    int rc = c->run && c->before && c->block_less ? 0 : tn_oom(err);
    for (int k = 0; !rc && k < n_kinds; k++) rc = new_kind(&kind[k], n, err);
    for (size_t i = 0; !rc && i < n; i++) c->before[i + 1] = c->before[i] + is_block(&p->layer[i]);
    c->n_blocks = rc ? 0 : c->before[n];
    return rc;
}

void tn_costs_free(tn_costs *c)
{
    for (int k = 0; k < c->n_kinds; k++) free(c->kind[k].forward);
    free(c->run);
    free(c->before);
    free(c->block_less);
    *c = (tn_costs){0};
}

/* ---- filling ---- */

static double less_of(const tn_planner_layer *l, double m)
{
    return l->again ? fmax(tn_line_at(l->kept, m) - tn_line_at(l->kept_again, m), 0) : 0;
}

static void fill_runs(tn_costs *c)
{
    const int n = c->p->n_layers;
    const double m = c->micro;
    for (int a = 0; a < n; a++) {
        tn_run_sums s = {0};
        for (int b = a; b < n; b++) {
            const tn_planner_layer *l = &c->p->layer[b];
            const double less = less_of(l, m);
            s.weights += l->weights;
            s.parameters += l->parameters;
            s.inputs += l->inputs;
            s.kept += tn_line_at(l->kept, m);
            s.rest += is_block(l) ? 0 : less;
            s.peak = fmax(s.peak, s.kept + tn_line_at(l->transient, m));
            s.transient_again = fmax(s.transient_again, tn_line_at(l->again ? l->transient_again : l->transient, m));
            c->run[a * n + b] = s;
        }
    }
}

static void fill_kind(const tn_costs *c, tn_kind *k)
{
    const double m = c->micro;
    for (int i = 0; i < c->p->n_layers; i++) {
        const tn_layer_time *t = &k->d->time[i];
        const tn_planner_layer *l = &c->p->layer[i];
        const double again = l->again ? k->slower * tn_line_at(t->again, m) : 0;
        k->forward[i + 1] = k->forward[i] + k->slower * tn_line_at(t->forward, m);
        k->backward[i + 1] = k->backward[i] + k->slower * tn_line_at(t->backward, m);
        k->rest_again[i + 1] = k->rest_again[i] + (is_block(l) ? 0 : again);
        if (is_block(l)) k->block_again[c->before[i] + 1] = k->block_again[c->before[i]] + again;
    }
}

void tn_costs_at(tn_costs *c, int micro)
{
    c->micro = micro;
    fill_runs(c);
    for (int i = 0; i < c->p->n_layers; i++)
        if (is_block(&c->p->layer[i]))
            c->block_less[c->before[i] + 1] = c->block_less[c->before[i]] + less_of(&c->p->layer[i], micro);
    for (int k = 0; k < c->n_kinds; k++) fill_kind(c, &c->kind[k]);
}

/* ---- asking ---- */

static double out_of(const tn_costs *c, int layer)
{
    return layer >= 0 && layer < c->p->n_layers - 1 ? c->p->layer[layer].out * c->micro : 0;
}

/* Activations of a stage that makes `again` blocks again; -1: none, and nothing else. */
static double activations(const tn_costs *c, int a, int b, int in_flight, int again)
{
    const tn_run_sums *s = &c->run[a * c->p->n_layers + b];
    const double in = out_of(c, a - 1), out = out_of(c, b), beside = s->inputs + in + 2 * out;
    const int first = c->before[a];
    if (again < 0) return (in_flight - 1) * s->kept + s->peak + beside;
    const double kept = s->kept - s->rest - (c->block_less[first + again] - c->block_less[first]);
    return in_flight * kept + s->transient_again + beside;
}

/* The fewest blocks made again that leave the activations within `room`; -1: none have to be; -2: it does not fit. */
static int fewest(const tn_costs *c, int a, int b, int in_flight, double room)
{
    int low = 0, high = c->before[b + 1] - c->before[a];
    if (activations(c, a, b, in_flight, -1) <= room) return -1;
    if (activations(c, a, b, in_flight, high) > room) return -2;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (activations(c, a, b, in_flight, middle) <= room) high = middle;
        else low = middle + 1;
    }
    return low;
}

double tn_cost_of_crossing(const tn_costs *c, const tn_planner_device *d, int b)
{
    return b >= 0 && b < c->p->n_layers - 1 ? d->latency + out_of(c, b) / d->bandwidth : 0;
}

tn_stage_cost tn_cost_of_stage(const tn_costs *c, int kind, int a, int b, int in_flight)
{
    const tn_kind *k = &c->kind[kind];
    const tn_run_sums *s = &c->run[a * c->p->n_layers + b];
    const double fixed = s->weights + 4 * s->parameters;
    const int again = fewest(c, a, b, in_flight, k->d->memory - fixed);
    tn_stage_cost v = {.fits = again != -2, .again = again};
    if (!v.fits) return v;
    v.compute = k->forward[b + 1] - k->forward[a] + k->backward[b + 1] - k->backward[a];
    if (again >= 0)
        v.compute += k->rest_again[b + 1] - k->rest_again[a] + k->block_again[c->before[a] + again] - k->block_again[c->before[a]];
    v.link = 2 * (tn_cost_of_crossing(c, k->d, a - 1) + tn_cost_of_crossing(c, k->d, b));
    v.update = k->slower * tn_line_at(k->d->update, s->parameters);
    v.activations = activations(c, a, b, in_flight, again);
    v.bytes = fixed + v.activations;
    return v;
}

double tn_cost_of_network(const tn_costs *c, int b)
{
    return 2 * (c->p->latency + (c->p->bandwidth > 0 ? out_of(c, b) / c->p->bandwidth : 0));
}

static double all_parameters(const tn_planner_problem *p)
{
    double sum = 0;
    for (int i = 0; i < p->n_layers; i++) sum += p->layer[i].parameters;
    return sum;
}

double tn_cost_of_exchange(const tn_costs *c, int kind)
{
    const tn_planner_device *d = c->kind[kind].d;
    return 2 * (d->latency + all_parameters(c->p) / d->bandwidth);
}

double tn_cost_of_hosts(const tn_planner_problem *p, int hosts)
{
    if (hosts < 2) return 0;
    return 2 * ((p->bandwidth > 0 ? all_parameters(p) / p->bandwidth : 0) + p->latency * ceil(log2(hosts)));
}

uint64_t tn_cost_kept(const tn_costs *c, int a, int b, int again)
{
    uint64_t kept = 0;
    if (again < 0) return TN_KEEPS_ALL;
    for (int i = a; i <= b; i++) {
        const tn_planner_layer *l = &c->p->layer[i];
        if (is_block(l) && c->before[i] - c->before[a] >= again) kept |= (uint64_t)1 << l->block;
    }
    return kept;
}
