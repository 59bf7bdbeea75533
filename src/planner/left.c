/* Why a plan does not use a device. */
#include "search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static int kind_of(const tn_search *s, int device)
{
    for (int k = 0; k < s->kinds.n; k++)
        for (int i = 0; i < s->kinds.kind[k].n; i++)
            if (s->kinds.kind[k].member[i] == device) return k;
    return -1;
}

/* The least step time of a plan that a kind takes part in. */
static double with_kind(tn_search *s, int kind)
{
    double least = tn_least_time(s, s->stocks - 1, kind, INFINITY) + tn_cost_of_hosts(s->p, s->kinds.hosts);
    for (int c = 1; c < s->choices; c++)
        if (tn_choice_count(&s->kinds, c, kind)) least = fmin(least, tn_part_at(s, c, s->p->batch)->seconds);
    return least;
}

static int used_of_kind(const tn_search *s, const tn_planner_result *r, int kind)
{
    int n = 0;
    for (int i = 0; i < r->n_replicas; i++)
        for (int k = 0; k < r->replica[i].n_stages; k++) n += kind_of(s, r->replica[i].stage[k].device) == kind;
    return n;
}

static void say_why(tn_search *s, const tn_planner_result *r, tn_planner_left *left)
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

int tn_list_left(tn_search *s, tn_planner_result *r, tn_error *err)
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
