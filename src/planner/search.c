/* The search over replicas, and what is told of its outcome. */
#include "pipeline.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_MICROS = 64, MOST_SHARING = 6, FEW = 4, FEW_KINDS = 2, MANY_MICRO = 16, LEAST_DEPTH = 4 };
/* With more than FEW devices, pipelines deeper than LEAST_DEPTH are tried while that gains as much as this. */
#define WORTH_DEEPER 0.04
/* And what a stage may lose by the search. */
#define NEAR 0.01

/* The best replica of a choice of devices that takes a number of images. */
typedef struct {
    double seconds;
    int micro;
    bool alone;
} part;

/* The most images that a stock of devices takes within some time: those of a replica of `choice`, and what the rest takes. */
typedef struct {
    int images, choice;
} most;

typedef struct {
    const tn_planner_problem *p;
    tn_kinds kinds;
    tn_costs costs;
    tn_pipelines *pipes;
    int choices, stocks; /* stocks: how many ways there are to have devices left */
    part *part;          /* [choices][batch + 1] */
    int *useful;         /* choices that fewer devices do not match for every number of images */
    int n_useful;
    double *exchange; /* [choices] */
    int *stock_of;    /* [choices]: the stock that a choice takes */
    int *holds;       /* [stocks][kinds] */
    int *within;      /* [n_useful]: images that it takes within the time in question */
    most *best;       /* [stocks] */
    double *times;    /* of replicas that pay for the sum of gradients, sorted: a plan takes one of them */
    int n_times;
    int micro[MOST_MICROS], n_micros;
    bool desperate; /* nothing else fits: with many devices too, pipelines that hold one micro-batch's activations are tried */
} search;

/* ---- what is tried ---- */

static bool is_few(const search *s)
{
    return s->p->n_devices <= (s->kinds.n <= FEW_KINDS ? 2 * FEW : FEW);
}

/* Every size to 16, then steps of an eighth; with many devices powers of two and what lies half-way. */
static void find_micros(search *s)
{
    const tn_planner_problem *p = s->p;
    const int last = p->max_micro > 0 ? TN_MIN(p->max_micro, p->batch) : p->batch;
    for (int m = 1, step = 1; m < last && s->n_micros < MOST_MICROS - 1; m += step) {
        s->micro[s->n_micros++] = m;
        if (is_few(s)) step = TN_MAX(1, m / 8);
        else step = m < 2 ? 1 : m & (m - 1) ? m / 3 : m / 2;
    }
    s->micro[s->n_micros++] = last;
}

static int stock_weight(const tn_kinds *k, int kind)
{
    int n = 1;
    for (int i = 0; i < kind; i++) n *= k->kind[i].n + 1;
    return n;
}

static int stocks_of(const tn_kinds *k)
{
    double n = 1;
    for (int i = 0; i < k->n; i++) n *= k->kind[i].n + 1;
    return n < 1 << 20 ? (int)n : -1;
}

static part *part_at(const search *s, int choice, int images)
{
    return &s->part[(size_t)choice * (size_t)(s->p->batch + 1) + (size_t)images];
}

/* ---- replicas ---- */

static void take_part(search *s, int choice, int images, int micro, bool alone, double seconds)
{
    part *best = part_at(s, choice, images);
    if (micro < s->p->min_micro && micro < images) return;
    if (seconds < best->seconds) *best = (part){seconds, TN_MIN(micro, images), alone};
}

/* From the costs at hand, which are those of a micro-batch with others behind it, or of one alone. */
static void take_parts(search *s, int micro, bool alone)
{
    const int batch = s->p->batch;
    for (int choice = 1; choice < s->choices; choice++) {
        if (alone) {
            const double t = tn_pipeline_seconds(s->pipes, choice, 1);
            for (int n = 1; n <= TN_MIN(micro, batch); n++) take_part(s, choice, n, micro, true, t);
        }
        for (int n = micro + 1, micros = 2; !alone && n <= batch; micros++) {
            const double t = tn_pipeline_seconds(s->pipes, choice, micros);
            for (; n <= TN_MIN(micros * micro, batch); n++) take_part(s, choice, n, micro, false, t);
        }
    }
}

/* Is the micro-batch tried in pipelines? With many devices those near the one of the best plan so far (0: there is none). */
static bool in_pipelines(const search *s, int micro, int near)
{
    const bool power = !(micro & (micro - 1));
    if (is_few(s)) return micro <= MANY_MICRO || power || micro == s->p->max_micro;
    near = TN_MIN(near, MANY_MICRO);
    return micro <= MANY_MICRO && power && (!near || (micro <= near && 4 * micro >= near));
}

static int find_parts(search *s, int depth, int near, tn_error *err)
{
    for (int i = 0; i < s->n_micros; i++) {
        bool short_of;
        const int m = s->micro[i], d = in_pipelines(s, m, near) ? depth : 1;
        TN_TRY(tn_pipelines_at(s->pipes, m, false, d, &short_of, err));
        take_parts(s, m, false);
        if (short_of && (is_few(s) || d == 1 || s->desperate)) TN_TRY(tn_pipelines_at(s->pipes, m, true, d, NULL, err));
        take_parts(s, m, true);
    }
    return 0;
}

static bool is_within(const search *s, int less, int more)
{
    for (int i = 0; i < s->kinds.n; i++)
        if (tn_choice_count(&s->kinds, less, i) > tn_choice_count(&s->kinds, more, i)) return false;
    return true;
}

static bool beats(const search *s, int a, int b)
{
    const double near = is_few(s) ? 1 : 1 + NEAR;
    if (s->exchange[a] > s->exchange[b]) return false;
    for (int n = s->p->batch; n >= 1; n--)
        if (part_at(s, a, n)->seconds > part_at(s, b, n)->seconds * near) return false;
    return true;
}

static bool is_useful(const search *s, int choice)
{
    if (!isfinite(part_at(s, choice, 1)->seconds)) return false;
    for (int i = 0; i < s->n_useful; i++)
        if (is_within(s, s->useful[i], choice) && beats(s, s->useful[i], choice)) return false;
    return true;
}

/* A choice within another has the smaller number. */
static void find_useful(search *s)
{
    s->n_useful = 0;
    for (int c = 1; c < s->choices; c++)
        if (is_useful(s, c)) s->useful[s->n_useful++] = c;
}

static double with_exchange(const search *s, int choice, int images)
{
    return part_at(s, choice, images)->seconds + s->exchange[choice];
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The largest of those that are near each other: in each a plan fits that fits in one of the others. */
static void thin_times(search *s)
{
    int n = 0;
    for (int i = 0; i < s->n_times; i++) {
        if (i + 1 < s->n_times && n && s->times[i + 1] <= s->times[n - 1] * (1 + NEAR / 2)) continue;
        s->times[n++] = s->times[i];
    }
    s->n_times = n;
}

static void find_times(search *s)
{
    s->n_times = 0;
    for (int i = 0; i < s->n_useful; i++)
        for (int n = 1; n <= s->p->batch; n++) {
            const double t = with_exchange(s, s->useful[i], n);
            if (isfinite(t)) s->times[s->n_times++] = t;
        }
    qsort(s->times, (size_t)s->n_times, sizeof *s->times, by_value);
    if (!is_few(s)) thin_times(s);
}

/* ---- what a stock does within a time ---- */

/* Seconds grow with the images. */
static int images_within(const search *s, int choice, double seconds)
{
    int low = 0, high = s->p->batch;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (with_exchange(s, choice, middle) <= seconds) low = middle;
        else high = middle - 1;
    }
    return low;
}

static bool stock_has(const search *s, int stock, int choice)
{
    for (int i = 0; i < s->kinds.n; i++)
        if (s->holds[stock * s->kinds.n + i] < tn_choice_count(&s->kinds, choice, i)) return false;
    return true;
}

/* What the useful choices take within a time; 0 for those that a part of their devices does as well. */
static void fill_within(search *s, double seconds)
{
    for (int i = 0; i < s->n_useful; i++) s->within[i] = images_within(s, s->useful[i], seconds);
    for (int i = s->n_useful - 1; i >= 0; i--)
        for (int k = 0; k < i && s->within[i]; k++)
            if (s->within[k] >= s->within[i] && is_within(s, s->useful[k], s->useful[i])) s->within[i] = 0;
}

/* Stocks within another have smaller numbers; those that are not within `last` are filled too, and not asked for. */
static void fill_stocks(search *s, int last, double seconds)
{
    fill_within(s, seconds);
    for (int stock = 0; stock <= last; stock++) s->best[stock] = (most){0, 0};
    for (int i = 0; i < s->n_useful; i++) {
        const int c = s->useful[i], n = s->within[i], takes = s->stock_of[c];
        for (int stock = takes; n && stock <= last; stock++) {
            const int images = n + s->best[stock - takes].images;
            if (images > s->best[stock].images && stock_has(s, stock, c)) s->best[stock] = (most){images, c};
        }
    }
}

/* The most images of a plan with devices of a kind in it (-1: any), when the stocks are filled. */
static int images_with(const search *s, int stock, int kind)
{
    int images = 0;
    if (kind < 0) return s->best[stock].images;
    for (int i = 0; i < s->n_useful; i++) {
        const int c = s->useful[i];
        if (tn_choice_count(&s->kinds, c, kind) && s->within[i] && stock_has(s, stock, c))
            images = TN_MAX(images, s->within[i] + s->best[stock - s->stock_of[c]].images);
    }
    return images;
}

/* How many of the times are below one. */
static int times_below(const search *s, double seconds)
{
    int n = 0;
    while (n < s->n_times && s->times[n] < seconds) n++;
    return n;
}

/* The least time, below `bound`, in which the replicas of a stock take the batch; the stocks are filled for it. */
static double least_time(search *s, int stock, int kind, double bound)
{
    const int end = times_below(s, bound);
    int low = 0, high = end;
    while (low < high) {
        const int middle = (low + high) / 2;
        fill_stocks(s, stock, s->times[middle]);
        if (images_with(s, stock, kind) >= s->p->batch) high = middle;
        else low = middle + 1;
    }
    if (low == end) return INFINITY;
    fill_stocks(s, stock, s->times[low]);
    return s->times[low];
}

/* ---- the whole ---- */

/* A plan as choices of devices. */
typedef struct {
    double seconds, limit; /* limit: of a replica */
    int stock;             /* replicas out of it; -1: one replica of `choice` */
    int choice;
} outcome;

/* All that one host has, of the hosts of a set. */
static int stock_of_host(const search *s, int set)
{
    int stock = 0;
    for (int i = 0; i < s->kinds.n; i++)
        if (s->kinds.kind[i].set == set)
            stock += TN_MIN(s->kinds.kind[i].per_host, s->kinds.kind[i].n) * stock_weight(&s->kinds, i);
    return stock;
}

static void try_stock(search *s, outcome *o, int stock, double hosts)
{
    const double t = least_time(s, stock, -1, o->seconds - hosts);
    if (t + hosts < o->seconds) *o = (outcome){t + hosts, t, stock, 0};
}

/* The better one of *o and what there is now. */
static outcome best_outcome(search *s, outcome o)
{
    for (int c = 1; c < s->choices; c++) {
        const double t = part_at(s, c, s->p->batch)->seconds;
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

static int search_room(search *s, tn_error *err)
{
    const size_t choices = (size_t)s->choices, stocks = (size_t)s->stocks, batch = (size_t)s->p->batch + 1,
                 kinds = (size_t)s->kinds.n;
    s->part = calloc(choices * batch, sizeof *s->part);
    s->times = calloc(choices * batch, sizeof *s->times);
    s->useful = calloc(choices, sizeof *s->useful);
    s->within = calloc(choices, sizeof *s->within);
    s->exchange = calloc(choices, sizeof *s->exchange);
    s->stock_of = calloc(choices, sizeof *s->stock_of);
    s->holds = calloc(stocks * kinds, sizeof *s->holds);
    s->best = calloc(stocks, sizeof *s->best);
    return s->part && s->times && s->useful && s->within && s->exchange && s->stock_of && s->holds && s->best ? 0 : tn_oom(err);
}

/* What choices take of a stock and pay, and what stocks hold. */
static void know_choices(search *s)
{
    const int kinds = s->kinds.n;
    for (int c = 1; c < s->choices; c++)
        for (int i = 0; i < kinds; i++) {
            const int n = tn_choice_count(&s->kinds, c, i);
            s->stock_of[c] += n * stock_weight(&s->kinds, i);
            if (n) s->exchange[c] = fmax(s->exchange[c], tn_cost_of_exchange(&s->costs, i));
        }
    for (int i = 0; i < kinds; i++)
        for (int stock = 0; stock < s->stocks; stock++)
            s->holds[stock * kinds + i] = stock / stock_weight(&s->kinds, i) % (s->kinds.kind[i].n + 1);
}

static int search_new(search *s, const tn_planner_problem *p, const double *slower, tn_error *err)
{
    *s = (search){.p = p};
    TN_TRY(tn_kinds_new(&s->kinds, p, slower, err));
    s->choices = s->kinds.choices;
    s->stocks = stocks_of(&s->kinds);
    if (s->stocks < 0)
        return tn_fail(err, TN_ERR_ARGUMENT, "%d devices of %d kinds are more than can be planned with", p->n_devices, s->kinds.n);
    find_micros(s);
    TN_TRY(search_room(s, err));
    TN_TRY(tn_costs_new(&s->costs, p, s->kinds.kind, s->kinds.n, err));
    know_choices(s);
    return tn_pipelines_new(&s->pipes, &s->kinds, &s->costs, is_few(s) ? 0 : NEAR, err);
}

static void search_free(search *s)
{
    tn_pipelines_free(s->pipes);
    tn_costs_free(&s->costs);
    free(s->part);
    free(s->times);
    free(s->useful);
    free(s->within);
    free(s->exchange);
    free(s->stock_of);
    free(s->holds);
    free(s->best);
    tn_kinds_free(&s->kinds);
}

static int run_to(search *s, outcome *o, int depth, int near, tn_error *err)
{
    TN_TRY(find_parts(s, depth, near, err));
    find_useful(s);
    find_times(s);
    *o = best_outcome(s, *o);
    return 0;
}

/* Of the first replica. */
static int micro_of(search *s, const outcome *o)
{
    if (!isfinite(o->seconds)) return 0;
    if (o->stock < 0) return part_at(s, o->choice, s->p->batch)->micro;
    fill_stocks(s, o->stock, o->limit);
    const int choice = s->best[o->stock].choice;
    return part_at(s, choice, images_within(s, choice, o->limit))->micro;
}

static int run(search *s, outcome *o, tn_error *err)
{
    const int deepest = tn_pipelines_depth(s->pipes);
    for (size_t i = 0; i < (size_t)s->choices * (size_t)(s->p->batch + 1); i++) s->part[i].seconds = INFINITY;
    for (int depth = is_few(s) ? deepest : 1;;) {
        const double before = o->seconds;
        TN_TRY(run_to(s, o, depth, micro_of(s, o), err));
        if (depth >= LEAST_DEPTH && isfinite(before) && o->seconds >= before * (1 - WORTH_DEEPER)) return 0;
        if (depth == deepest && (isfinite(o->seconds) || is_few(s) || s->desperate)) return 0;
        s->desperate |= depth == deepest;
        depth = depth == deepest ? 1 : TN_MIN(depth < 4 ? 2 * depth : depth + 2, deepest);
    }
}

/* ---- from choices to devices ---- */

/* used[kind]: of its members so far. */
static int add_replica(search *s, tn_split *to, int choice, int images, int *used, tn_error *err)
{
    const part *v = part_at(s, choice, images);
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
static int deal(search *s, const outcome *o, int *choice, int *images)
{
    int n = 0, sum = 0;
    if (o->stock < 0) return choice[0] = o->choice, images[0] = s->p->batch, 1;
    fill_stocks(s, o->stock, o->limit);
    for (int stock = o->stock; s->best[stock].choice; n++) {
        choice[n] = s->best[stock].choice;
        images[n] = images_within(s, choice[n], o->limit);
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

static int split_of(search *s, const outcome *o, tn_split *out, tn_error *err)
{
    int used[TN_PLANNER_KINDS] = {0}, rc = 0;
    int *choice = calloc(2 * (size_t)s->p->n_devices + 2, sizeof *choice), *images = choice + s->p->n_devices + 1;
    *out = (tn_split){0};
    if (!choice) return tn_oom(err);
    const int n = deal(s, o, choice, images);
    for (int i = 0; !rc && i < n; i++)
        if (images[i]) rc = add_replica(s, out, choice[i], images[i], used, err);
    free(choice);
    if (rc) tn_split_free(out);
    return rc;
}

/* ---- devices left out ---- */

static int kind_of(const search *s, int device)
{
    for (int k = 0; k < s->kinds.n; k++)
        for (int i = 0; i < s->kinds.kind[k].n; i++)
            if (s->kinds.kind[k].member[i] == device) return k;
    return -1;
}

/* The least step time of a plan that a kind takes part in. */
static double with_kind(search *s, int kind)
{
    double least = least_time(s, s->stocks - 1, kind, INFINITY) + tn_cost_of_hosts(s->p, s->kinds.hosts);
    for (int c = 1; c < s->choices; c++)
        if (tn_choice_count(&s->kinds, c, kind)) least = fmin(least, part_at(s, c, s->p->batch)->seconds);
    return least;
}

static int used_of_kind(const search *s, const tn_planner_result *r, int kind)
{
    int n = 0;
    for (int i = 0; i < r->n_replicas; i++)
        for (int k = 0; k < r->replica[i].n_stages; k++) n += kind_of(s, r->replica[i].stage[k].device) == kind;
    return n;
}

static void say_why(search *s, const tn_planner_result *r, tn_planner_left *left)
{
    const int kind = kind_of(s, left->device);
    const tn_planner_device *d = &s->p->device[left->device];
    char *why = left->why;
    const size_t n = sizeof left->why;
    if (kind < 0) {
        snprintf(why, n, "it computes on the cores of a device that the plan uses, and the two together are no faster");
        return;
    }
    const int used = used_of_kind(s, r, kind);
    const double with = used ? INFINITY : with_kind(s, kind);
    if (used) snprintf(why, n, "%d of its kind are used; another one would not make a step shorter", used);
    else if (!isfinite(with)) snprintf(why, n, "its %.0f MiB hold no part of the model in any plan", d->memory / 1048576);
    else snprintf(why, n, "the best plan with it takes %.4g ms a step, without it %.4g ms", 1e3 * with, 1e3 * r->seconds);
}

static bool is_used(const tn_planner_result *r, int device)
{
    for (int i = 0; i < r->n_replicas; i++)
        for (int k = 0; k < r->replica[i].n_stages; k++)
            if (r->replica[i].stage[k].device == device) return true;
    return false;
}

static int list_left(search *s, tn_planner_result *r, tn_error *err)
{
    r->left = calloc((size_t)s->p->n_devices + 1, sizeof *r->left);
    if (!r->left) return tn_oom(err);
    for (int i = 0; i < s->p->n_devices; i++) {
        if (is_used(r, i)) continue;
        r->left[r->n_left].device = i;
        say_why(s, r, &r->left[r->n_left++]);
    }
    return 0;
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
    search s;
    outcome o = {INFINITY, INFINITY, -1, 0};
    tn_split split = {0};
    tn_planner_result r = {0};
    int rc = search_new(&s, p, slower, err);
    if (!rc) rc = run(&s, &o, err);
    if (!rc && o.seconds < out->seconds) {
        rc = split_of(&s, &o, &split, err);
        if (!rc) rc = tn_planner_judge(&r, p, &split, err);
        if (!rc) rc = list_left(&s, &r, err);
        if (!rc) {
            tn_planner_free(out);
            *out = r;
        } else {
            tn_planner_free(&r);
        }
    }
    tn_split_free(&split);
    search_free(&s);
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
