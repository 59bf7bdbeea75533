/* The search over divisions, and its outcome as a plan. */
#include "search.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_SHARING = 6, LEAST_DEPTH = 4 };
/* With many devices, pipelines deeper than LEAST_DEPTH are tried while that gains as much as this. */
#define WORTH_DEEPER 0.04

/* A plan as choices of devices. */
typedef struct {
    double seconds, limit; /* limit: of a replica */
    int stock;             /* replicas out of it; -1: one replica of `choice` */
    int choice;
} outcome;

/* All that one host has, of the hosts of a set. */
static int stock_of_host(const tn_search *s, int set)
{
    int stock = 0;
    for (int i = 0; i < s->kinds.n; i++)
        if (s->kinds.kind[i].set == set)
            stock += TN_MIN(s->kinds.kind[i].per_host, s->kinds.kind[i].n) * tn_stock_weight(&s->kinds, i);
    return stock;
}

static void try_stock(tn_search *s, outcome *o, int stock, double hosts)
{
    const double t = tn_least_time(s, stock, -1, o->seconds - hosts);
    if (t + hosts < o->seconds) *o = (outcome){t + hosts, t, stock, 0};
}

/* The better one of *o and what there is now. */
static outcome best_outcome(tn_search *s, outcome o)
{
    for (int c = 1; c < s->choices; c++) {
        const double t = tn_part_at(s, c, s->p->batch)->seconds;
        if (t < o.seconds) o = (outcome){t, t, -1, c};
    }
    for (int i = 0, done = -1; s->kinds.hosts > 1 && i < s->kinds.n; i++) {
        const int stock = stock_of_host(s, s->kinds.kind[i].set);
        if (stock != done) try_stock(s, &o, stock, 0);
        done = stock;
    }
    try_stock(s, &o, s->stocks - 1, tn_cost_of_hosts(s->p, s->kinds.hosts));
    return o;
}

/* Of the first replica. */
static int micro_of(tn_search *s, const outcome *o)
{
    if (!isfinite(o->seconds)) return 0;
    if (o->stock < 0) return tn_part_at(s, o->choice, s->p->batch)->micro;
    tn_fill_stocks(s, o->stock, o->limit);
    const int choice = s->best[o->stock].choice;
    return tn_part_at(s, choice, tn_images_within(s, choice, o->limit))->micro;
}

static int run(tn_search *s, outcome *o, tn_error *err)
{
    const int deepest = tn_pipelines_depth(s->pipes);
    for (size_t i = 0; i < (size_t)s->choices * (size_t)(s->p->batch + 1); i++) s->part[i].seconds = INFINITY;
    for (int depth = tn_is_few(s) ? deepest : 1;;) {
        const double before = o->seconds;
        TN_TRY(tn_find_parts(s, depth, micro_of(s, o), err));
        *o = best_outcome(s, *o);
        if (depth >= LEAST_DEPTH && isfinite(before) && o->seconds >= before * (1 - WORTH_DEEPER)) return 0;
        if (depth == deepest && (isfinite(o->seconds) || tn_is_few(s) || s->desperate)) return 0;
        s->desperate |= depth == deepest;
        depth = depth == deepest ? 1 : TN_MIN(depth < 4 ? 2 * depth : depth + 2, deepest);
    }
}

/* ---- from choices to devices ---- */

/* used[kind]: of its members so far. */
static int add_replica(tn_search *s, tn_split *to, int choice, int images, int *used, tn_error *err)
{
    const tn_part *v = tn_part_at(s, choice, images);
    tn_leg leg[TN_MAX_STAGES];
    tn_replica *r = tn_split_add(to);
    if (!r) return tn_oom(err);
    TN_TRY(tn_pipelines_at(s->pipes, v->micro, v->alone, tn_choice_devices(&s->kinds, choice), NULL, err));
    *r = (tn_replica){.images = images, .micro = v->micro};
    r->n_stages = tn_pipeline_legs(s->pipes, choice, TN_CEIL_DIV(images, v->micro), leg);
    for (int i = 0; i < r->n_stages; i++) {
        const int device = s->kinds.kind[leg[i].kind].member[used[leg[i].kind]++];
        r->stage[i] = (tn_split_stage){s->p->device[device].id, leg[i].first, leg[i].last, TN_KEEPS_ALL};
    }
    return 0;
}

/* The choices of an outcome's replicas, and their images: what they take within the limit, less what is too many, from the
 * largest first. Returns how many. */
static int deal(tn_search *s, const outcome *o, int *choice, int *images)
{
    int n = 0, sum = 0;
    if (o->stock < 0) return choice[0] = o->choice, images[0] = s->p->batch, 1;
    tn_fill_stocks(s, o->stock, o->limit);
    for (int stock = o->stock; s->best[stock].choice; n++) {
        choice[n] = s->best[stock].choice;
        images[n] = tn_images_within(s, choice[n], o->limit);
        sum += images[n];
        stock -= s->stock_of[choice[n]];
    }
    for (; sum > s->p->batch; sum--) {
        int at = 0;
        for (int i = 1; i < n; i++)
            if (images[i] > images[at]) at = i;
        images[at]--;
    }
    return n;
}

static int split_of(tn_search *s, const outcome *o, tn_split *out, tn_error *err)
{
    int used[TN_PLANNER_KINDS] = {0}, rc = 0;
    int *choice = calloc(2 * (size_t)s->p->n_devices + 2, sizeof *choice);
    *out = (tn_split){0};
    if (!choice) return tn_oom(err);
    int *images = choice + s->p->n_devices + 1;
    const int n = deal(s, o, choice, images);
    for (int i = 0; !rc && i < n; i++)
        if (images[i]) rc = add_replica(s, out, choice[i], images[i], used, err);
    free(choice);
    if (rc) tn_split_free(out);
    return rc;
}

/* ---- */

/* On one device of endless memory. */
static int fits_nowhere(const tn_planner_problem *p, tn_error *err)
{
    double memory = 0, fixed = 0, kept = 0, transient = 0;
    for (int i = 0; i < p->n_devices; i++) memory += p->device[i].memory;
    for (int i = 0; i < p->n_layers; i++) {
        const tn_planner_layer *l = &p->layer[i];
        const double all = tn_line_at(l->kept, 1), less = l->again ? tn_line_at(l->kept_again, 1) : all;
        fixed += l->weights + 4 * l->parameters + l->inputs;
        kept += less;
        transient = fmax(transient, tn_line_at(l->again ? l->transient_again : l->transient, 1));
    }
    return tn_fail(err, TN_ERR_MEMORY,
                   "the model fits no division of these devices: one image at a time and with activations made again it needs %.0f "
                   "MiB (%.0f of weights, optimiser and frames that wait), and %d device%s %.0f MiB",
                   (fixed + kept + transient) / 1048576, fixed / 1048576, p->n_devices,
                   p->n_devices == 1 ? " has" : "s have together", memory / 1048576);
}

/* With the devices of which slower[i] is not 0. *out stays as it is where it is as good. */
static int solve_with(tn_planner_result *out, const tn_planner_problem *p, const double *slower, tn_error *err)
{
    tn_search s;
    outcome o = {INFINITY, INFINITY, -1, 0};
    tn_split split = {0};
    tn_planner_result r = {0};
    int rc = tn_search_new(&s, p, slower, err);
    if (!rc) rc = run(&s, &o, err);
    if (!rc && o.seconds < out->seconds) {
        rc = split_of(&s, &o, &split, err);
        if (!rc) rc = tn_planner_judge(&r, p, &split, err);
        if (!rc) rc = tn_list_left(&s, &r, err);
        if (!rc) {
            tn_planner_free(out);
            *out = r;
        } else {
            tn_planner_free(&r);
        }
    }
    tn_split_free(&split);
    tn_search_free(&s);
    return rc;
}

/* Devices that compute on the same cores are tried in every combination, each at its part of their speed. */
static int solve_all(tn_planner_result *out, const tn_planner_problem *p, double *slower, tn_error *err)
{
    int sharing[MOST_SHARING], n = 0;
    for (int i = 0; i < p->n_devices; i++) {
        slower[i] = 1;
        if (!p->device[i].shares) continue;
        if (n < MOST_SHARING) sharing[n++] = i;
        else slower[i] = 0;
    }
    if (n < 2) return solve_with(out, p, slower, err);
    for (int set = 1; set < 1 << n; set++) {
        int of = 0;
        for (int i = 0; i < n; i++) of += set >> i & 1;
        for (int i = 0; i < n; i++) slower[sharing[i]] = set >> i & 1 ? of : 0;
        TN_TRY(solve_with(out, p, slower, err));
    }
    return 0;
}

int tn_planner_solve(tn_planner_result *out, const tn_planner_problem *p, tn_error *err)
{
    *out = (tn_planner_result){.seconds = INFINITY};
    if (p->n_layers < 1 || p->n_layers > TN_PLANNER_LAYERS || p->n_devices < 1 || p->batch < 1)
        return tn_fail(err, TN_ERR_ARGUMENT, "a plan takes 1 to %d layers, a device and an image; there are %d, %d and %d",
                       TN_PLANNER_LAYERS, p->n_layers, p->n_devices, p->batch);
    double *slower = calloc((size_t)p->n_devices, sizeof *slower);
    int rc = slower ? solve_all(out, p, slower, err) : tn_oom(err);
    if (!rc && !isfinite(out->seconds)) rc = fits_nowhere(p, err);
    free(slower);
    if (rc) tn_planner_free(out);
    return rc;
}
