/* What the model says of a division that is there already. */
#include "cost.h"

#include <math.h>
#include <stdlib.h>

static int index_of(const tn_planner_problem *p, int id)
{
    for (int i = 0; i < p->n_devices; i++)
        if (p->device[i].id == id) return i;
    return -1;
}

static int too_small(const tn_costs *c, const tn_split_stage *s, const tn_planner_device *d, int in_flight, tn_error *err)
{
    tn_kind k = c->kind[0];
    tn_planner_device vast = *d;
    vast.memory = INFINITY;
    tn_costs all = *c;
    k.d = &vast;
    all.kind = &k;
    const tn_stage_cost v = tn_cost_of_stage(&all, 0, s->first, s->last, in_flight);
    return tn_fail(err, TN_ERR_MEMORY,
                   "device %d '%s' has %.0f MiB for its layers %d to %d, which take %.0f MiB with a micro-batch of %d and %d in "
                   "flight; give it fewer layers or a smaller micro-batch",
                   d->id, d->name, d->memory / 1048576, s->first, s->last, v.bytes / 1048576, c->micro, in_flight);
}

static int judge_stage(tn_planner_stage *out, tn_costs *c, const tn_split_stage *stage, int in_flight, tn_error *err)
{
    const tn_planner_problem *p = c->p;
    const int at = index_of(p, stage->device);
    if (at < 0) return tn_fail(err, TN_ERR_CONFIG, "the split names device %d, which is none of the plan's", stage->device);
    c->kind[0].d = &p->device[at];
    tn_costs_at(c, c->micro);
    const tn_stage_cost v = tn_cost_of_stage(c, 0, stage->first, stage->last, in_flight);
    if (!v.fits) return too_small(c, stage, &p->device[at], in_flight, err);
    const tn_kind *k = &c->kind[0];
    const tn_run_sums *sums = &c->run[stage->first * p->n_layers + stage->last];
    *out = (tn_planner_stage){.device = at,
                              .shares = p->device[at].shares,
                              .first = stage->first,
                              .last = stage->last,
                              .again = TN_MAX(v.again, 0),
                              .kept = tn_cost_kept(c, stage->first, stage->last, v.again),
                              .forward = k->forward[stage->last + 1] - k->forward[stage->first],
                              .link = v.link,
                              .in = tn_cost_of_crossing(c, k->d, stage->first - 1),
                              .out = tn_cost_of_crossing(c, k->d, stage->last),
                              .update = v.update,
                              .weights = sums->weights,
                              .state = 4 * sums->parameters,
                              .activations = v.activations};
    out->backward = v.compute - out->forward;
    return 0;
}

static int judge_replica(tn_planner_replica *out, tn_costs *c, const tn_replica *r, tn_error *err)
{
    const tn_planner_problem *p = c->p;
    const int micros = TN_CEIL_DIV(r->images, r->micro);
    double sum = 0, slowest = 0, shared[TN_PLANNER_SHARES + 1] = {0};
    *out = (tn_planner_replica){.images = r->images, .micro = r->micro, .n_stages = r->n_stages};
    out->stage = calloc((size_t)r->n_stages, sizeof *out->stage);
    if (!out->stage) return tn_oom(err);
    c->micro = r->micro;
    for (int i = 0; i < r->n_stages; i++) {
        tn_planner_stage *v = &out->stage[i];
        TN_TRY(judge_stage(v, c, &r->stage[i], micros > 1 ? r->n_stages - i : 1, err));
        if (i && p->device[out->stage[i - 1].device].host != p->device[v->device].host) {
            out->stage[i - 1].network = tn_cost_of_network(c, out->stage[i - 1].last);
            sum += out->stage[i - 1].network;
            slowest = fmax(slowest, out->stage[i - 1].network);
        }
        sum += v->forward + v->backward + v->link + v->update;
        shared[v->shares] += v->forward + v->backward;
        slowest = fmax(slowest, fmax(v->shares ? shared[v->shares] : v->forward + v->backward, v->link));
    }
    out->seconds = sum + (micros - 1) * slowest;
    return 0;
}

static int hosts_of(const tn_planner_result *r, const tn_planner_problem *p)
{
    int hosts = 0, seen = -1;
    for (;;) { /* the next higher number each time */
        int next = -1;
        for (int i = 0; i < r->n_replicas; i++)
            for (int k = 0; k < r->replica[i].n_stages; k++) {
                const int h = p->device[r->replica[i].stage[k].device].host;
                if (h > seen && (next < 0 || h < next)) next = h;
            }
        if (next < 0) return hosts;
        seen = next;
        hosts++;
    }
}

static bool is_shared(const tn_planner_replica *r)
{
    bool shared = false;
    for (int i = 0; i < r->n_stages; i++) shared |= r->stage[i].shares != 0;
    return shared;
}

/* The slowest replica, each with its part of the sum of gradients; those that share cores as one. */
static void add_up(tn_planner_result *r, tn_costs *c)
{
    double slowest = 0, alone = 0, together = 0;
    for (int i = 0; i < r->n_replicas; i++) {
        double exchange = 0;
        for (int k = 0; r->n_replicas > 1 && k < r->replica[i].n_stages; k++) {
            c->kind[0].d = &c->p->device[r->replica[i].stage[k].device];
            exchange = fmax(exchange, tn_cost_of_exchange(c, 0));
        }
        const double before = is_shared(&r->replica[i]) ? together : 0;
        slowest = fmax(slowest, before + r->replica[i].seconds + exchange);
        alone = fmax(alone, before + r->replica[i].seconds);
        if (is_shared(&r->replica[i])) together += r->replica[i].seconds;
    }
    if (r->n_replicas > 1) slowest += tn_cost_of_hosts(c->p, hosts_of(r, c->p));
    r->seconds = slowest;
    r->exchange = slowest - alone;
}

int tn_planner_judge(tn_planner_result *out, const tn_planner_problem *p, const tn_split *s, tn_error *err)
{
    tn_kind kind = {.slower = 1, .n = 1, .per_host = 1, .hosts = 1};
    tn_costs c;
    *out = (tn_planner_result){0};
    int rc = tn_costs_new(&c, p, &kind, 1, err);
    if (!rc && !(out->replica = calloc((size_t)s->n_replicas, sizeof *out->replica))) rc = tn_oom(err);
    if (!rc) out->n_replicas = s->n_replicas;
    for (int r = 0; !rc && r < s->n_replicas; r++) rc = judge_replica(&out->replica[r], &c, &s->replica[r], err);
    if (!rc) add_up(out, &c);
    tn_costs_free(&c);
    if (rc) tn_planner_free(out);
    return rc;
}

void tn_planner_free(tn_planner_result *r)
{
    for (int i = 0; r->replica && i < r->n_replicas; i++) free(r->replica[i].stage);
    free(r->replica);
    free(r->left);
    *r = (tn_planner_result){0};
}

int tn_planner_split(tn_split *out, const tn_planner_result *r, const tn_planner_problem *p, tn_error *err)
{
    *out = (tn_split){0};
    for (int i = 0; i < r->n_replicas; i++) {
        const tn_planner_replica *from = &r->replica[i];
        tn_replica *to = tn_split_add(out);
        if (!to) {
            tn_split_free(out);
            return tn_oom(err);
        }
        *to = (tn_replica){.images = from->images, .micro = from->micro, .n_stages = from->n_stages};
        for (int k = 0; k < from->n_stages; k++) {
            const tn_planner_stage *v = &from->stage[k];
            to->stage[k] = (tn_split_stage){p->device[v->device].id, v->first, v->last, v->kept};
        }
    }
    return 0;
}
