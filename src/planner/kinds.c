#include "kinds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One device while kinds are being told apart. */
typedef struct {
    int index, host, set; /* set: hosts of one set hold the same */
    double slower;
    const tn_planner_device *d;
} unit;

static bool is_alike(const unit *a, const unit *b)
{
    const tn_planner_device *x = a->d, *y = b->d;
    return x->time == y->time && x->memory == y->memory && x->bandwidth == y->bandwidth && x->latency == y->latency &&
           x->update.fixed == y->update.fixed && x->update.image == y->update.image && a->slower == b->slower;
}

/* The units of a host, which stand together. */
static int host_length(const unit *u, int n)
{
    int k = 1;
    while (k < n && u[k].host == u[0].host) k++;
    return k;
}

static bool hosts_alike(const unit *a, int n, const unit *b, int m)
{
    bool alike = n == m;
    for (int i = 0; alike && i < n; i++) alike = is_alike(&a[i], &b[i]);
    return alike;
}

static int by_host(const void *a, const void *b)
{
    const unit *x = a, *y = b;
    return x->host != y->host ? (x->host < y->host ? -1 : 1) : x->index - y->index;
}

/* Sets of hosts; returns how many hosts there are. */
static int find_sets(unit *u, int n)
{
    int hosts = 0;
    for (int i = 0, len; i < n; i += len, hosts++) {
        len = host_length(&u[i], n - i);
        int set = hosts;
        for (int k = 0, other; k < i; k += other) {
            other = host_length(&u[k], n - k);
            if (!hosts_alike(&u[k], other, &u[i], len)) continue;
            set = u[k].set;
            break;
        }
        for (int k = i; k < i + len; k++) u[k].set = set;
    }
    return hosts;
}

static double seconds_of(const tn_planner_problem *p, const tn_kind *k)
{
    double sum = 0;
    for (int i = 0; i < p->n_layers; i++) {
        const tn_layer_time *t = &k->d->time[i];
        sum += tn_line_at(t->forward, p->batch) + tn_line_at(t->backward, p->batch);
    }
    return k->slower * sum;
}

/* `from` goes into `into`: the slower one stands for both. */
static void merge(tn_kinds *k, const tn_planner_problem *p, int into, int from)
{
    tn_kind *a = &k->kind[into], *b = &k->kind[from];
    tn_planner_device *d = &k->stands[into], *e = &k->stands[from];
    if (seconds_of(p, b) > seconds_of(p, a)) d->time = e->time, a->slower = b->slower;
    d->memory = fmin(d->memory, e->memory);
    d->bandwidth = fmin(d->bandwidth, e->bandwidth);
    d->latency = fmax(d->latency, e->latency);
    d->update = d->update.image > e->update.image ? d->update : e->update;
    a->n += b->n;
    a->per_host = 1;
    a->hosts = a->n;
    for (int i = from; i + 1 < k->n; i++) {
        k->kind[i] = k->kind[i + 1];
        k->stands[i] = k->stands[i + 1];
        k->kind[i].d = &k->stands[i];
    }
    k->n--;
}

/* The two neighbours in speed that are closest; members of neighbours stand together, since kinds are sorted by speed. */
static void merge_closest(tn_kinds *k, const tn_planner_problem *p)
{
    int best = 0;
    double least = INFINITY;
    for (int i = 0; i + 1 < k->n; i++) {
        const double a = seconds_of(p, &k->kind[i]), b = seconds_of(p, &k->kind[i + 1]), ratio = fmax(a, b) / fmin(a, b);
        if (ratio < least) least = ratio, best = i;
    }
    merge(k, p, best, best + 1);
}

static double states(const tn_kinds *k)
{
    double n = (double)k->n * k->n;
    for (int i = 0; i < k->n; i++) n *= k->cap[i] + 1;
    return n;
}

static void lower_largest(tn_kinds *k)
{
    int at = 0;
    for (int i = 1; i < k->n; i++)
        if (k->cap[i] > k->cap[at]) at = i;
    k->cap[at]--;
}

static int most(const int *v, int n)
{
    int m = 0;
    for (int i = 0; i < n; i++) m = TN_MAX(m, v[i]);
    return m;
}

static void find_caps(tn_kinds *k, const tn_planner_problem *p)
{
    for (;; merge_closest(k, p)) {
        for (int i = 0; i < k->n; i++) k->cap[i] = TN_MIN(TN_MIN(k->kind[i].n, p->n_layers), TN_MAX_STAGES);
        while (states(k) > TN_PLANNER_STATES && most(k->cap, k->n) > 1) lower_largest(k);
        if (states(k) <= TN_PLANNER_STATES || k->n == 1) return;
    }
}

/* ---- kinds of the units ---- */

typedef struct {
    tn_kind k;
    const unit *u; /* the first one */
    double seconds;
} found;

static int by_speed(const void *a, const void *b)
{
    const found *x = a, *y = b;
    if (x->seconds != y->seconds) return x->seconds < y->seconds ? -1 : 1;
    return x->u->index - y->u->index;
}

static bool same_kind(const unit *a, const unit *b)
{
    return a->set == b->set && is_alike(a, b);
}

static int find_kinds(found *f, const unit *u, int n, const tn_planner_problem *p)
{
    int kinds = 0;
    for (int i = 0; i < n; i++) {
        int k = 0;
        while (k < kinds && !same_kind(f[k].u, &u[i])) k++;
        if (k == kinds) f[kinds++] = (found){.k = {.d = u[i].d, .slower = u[i].slower, .set = u[i].set}, .u = &u[i]};
        f[k].k.n++;
        f[k].k.per_host += u[i].host == f[k].u->host;
    }
    for (int k = 0; k < kinds; k++) {
        f[k].k.hosts = f[k].k.n / f[k].k.per_host;
        f[k].seconds = seconds_of(p, &f[k].k);
    }
    qsort(f, (size_t)kinds, sizeof *f, by_speed);
    return kinds;
}

/* Members of the kinds in their order, and the first TN_PLANNER_KINDS of them; slower ones beyond go into the last. */
static void take(tn_kinds *k, const found *f, int kinds, const unit *u, int n, const tn_planner_problem *p)
{
    int at = 0;
    for (int i = 0; i < kinds; i++) {
        int *first = &k->member[at];
        for (int j = 0; j < n; j++)
            if (same_kind(f[i].u, &u[j])) k->member[at++] = u[j].index;
        if (k->n == TN_PLANNER_KINDS) merge(k, p, k->n - 2, k->n - 1);
        tn_kind *to = &k->kind[k->n];
        *to = f[i].k;
        to->member = first;
        k->stands[k->n] = *f[i].k.d;
        to->d = &k->stands[k->n++];
    }
}

static int count_choices(tn_kinds *k, tn_error *err)
{
    k->choices = 1;
    for (int i = 0; i < k->n; i++) k->choices *= k->cap[i] + 1;
    k->count = calloc((size_t)TN_MAX(k->choices, 1) * (size_t)TN_MAX(k->n, 1), sizeof *k->count);
    if (!k->count) return tn_oom(err);
    for (int c = 0; c < k->choices; c++)
        for (int i = 0, rest = c; i < k->n; rest /= k->cap[i++] + 1) k->count[c * k->n + i] = rest % (k->cap[i] + 1);
    return 0;
}

int tn_choice_devices(const tn_kinds *k, int choice)
{
    int n = 0;
    for (int i = 0; i < k->n; i++) n += tn_choice_count(k, choice, i);
    return n;
}

int tn_kinds_new(tn_kinds *k, const tn_planner_problem *p, const double *slower, tn_error *err)
{
    *k = (tn_kinds){0};
    const size_t all = (size_t)p->n_devices + 1;
    unit *u = calloc(all, sizeof *u);
    found *f = calloc(all, sizeof *f);
    k->member = calloc(all, sizeof *k->member);
    int rc = u && f && k->member ? 0 : tn_oom(err);
    int n = 0;
    for (int i = 0; !rc && i < p->n_devices; i++)
        if (slower[i] > 0) u[n++] = (unit){i, p->device[i].host, 0, slower[i], &p->device[i]};
    if (!rc) {
        qsort(u, (size_t)n, sizeof *u, by_host);
        k->hosts = find_sets(u, n);
        take(k, f, find_kinds(f, u, n, p), u, n, p);
        find_caps(k, p);
        rc = count_choices(k, err);
    }
    free(u);
    free(f);
    if (rc) tn_kinds_free(k);
    return rc;
}

void tn_kinds_free(tn_kinds *k)
{
    free(k->member);
    free(k->count);
    *k = (tn_kinds){0};
}

bool tn_kinds_cross(const tn_kinds *kinds, int k, int n, int next)
{
    const tn_kind *a = &kinds->kind[k], *b = &kinds->kind[next];
    if (kinds->hosts < 2) return false;
    if (k != next) return a->set != b->set || a->hosts > 1;
    return (n - 1) / a->per_host != (n - 2) / a->per_host;
}
