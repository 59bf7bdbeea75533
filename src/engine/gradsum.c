#include "gradsum.h"

#include <stdlib.h>
#include <string.h>

/* A run of the arena's floats, and where it lies in the staging. */
typedef struct {
    size_t off, n, at;
} range;

typedef struct {
    int first_slot, n_slots; /* of `slots` */
    int first_range, n_ranges;
    size_t at, n; /* floats of the staging */
    tn_event *there;
} part;

struct tn_gradsum {
    tn_engine *e;
    bool *stop;
    int groups; /* that everything below is made for */
    int *slots, n_slots;
    range *ranges; /* room for one a slot */
    part *parts;
    int n_parts;
    int *last; /* [slots of the model] the last node that may write a slot's gradient; -1: none */
    tn_staging staging;
    tn_sums *sums;
    bool played;
};

/* ---- parts ---- */

static int by_place(const void *a, const void *b)
{
    const range *x = a, *y = b;
    return (x->off > y->off) - (x->off < y->off);
}

/* In the order of the arena's groups; in a group the last slot first, which is the order of a backward pass. */
static void list_slots(tn_gradsum *g)
{
    static const int groups[] = {TN_GROUP_HEAD, TN_GROUP_LORA, TN_GROUP_BACKBONE};
    const tn_model *m = g->e->model;
    const tn_trained trained = {m, g->groups};
    g->n_slots = 0;
    for (size_t k = 0; k < TN_COUNT(groups); k++)
        for (int i = m->n_slots - 1; i >= 0; i--)
            if ((int)m->slots[i].group == groups[k] && tn_is_trained(&trained, i)) g->slots[g->n_slots++] = i;
}

/* The part's slots as runs: neighbours are one, with the gap between them. */
static void find_ranges(tn_gradsum *g, part *p, int first)
{
    const tn_store *st = g->e->session->store;
    range *r = g->ranges + first;
    for (int i = 0; i < p->n_slots; i++) {
        const tn_stored *s = &st->s[g->slots[p->first_slot + i]];
        r[i] = (range){.off = s->off, .n = (size_t)s->t.rows * (size_t)s->t.cols};
    }
    qsort(r, (size_t)p->n_slots, sizeof *r, by_place);
    p->first_range = first;
    p->n_ranges = 1;
    for (int i = 1; i < p->n_slots; i++) {
        range *end = &r[p->n_ranges - 1];
        if (r[i].off - (end->off + end->n) < st->dev->align / 4) end->n = r[i].off + r[i].n - end->off;
        else r[p->n_ranges++] = r[i];
    }
    for (int i = 0; i < p->n_ranges; i++) {
        r[i].at = p->at + p->n;
        p->n += r[i].n;
    }
}

/* Of the slot at place i of the list. */
static size_t floats_of(const tn_gradsum *g, int i)
{
    const tn_tensor *t = &g->e->session->store->s[g->slots[i]].t;
    return (size_t)t->rows * (size_t)t->cols;
}

/* About eight of them, of 64 KiB to 64 MiB: the first is to leave early, and none to be all wait. */
static void deal_out(tn_gradsum *g)
{
    size_t all = 0, at = 0;
    int ranges = 0;
    for (int i = 0; i < g->n_slots; i++) all += floats_of(g, i);
    const size_t aim = TN_MIN(TN_MAX(all / 8, (size_t)1 << 14), (size_t)1 << 24);
    g->n_parts = 0;
    for (int i = 0; i < g->n_slots;) {
        part *p = &g->parts[g->n_parts++];
        *p = (part){.first_slot = i, .at = at};
        for (size_t n = 0; i < g->n_slots && n < aim; i++, p->n_slots++) n += floats_of(g, i);
        find_ranges(g, p, ranges);
        ranges += p->n_ranges;
        at += p->n;
    }
}

/* What a failure left on its way is left to it: the job is about to end. */
static void forget_parts(tn_gradsum *g)
{
    if (g->sums && tn_sums_busy(g->sums)) {
        g->sums = NULL;
        g->staging = (tn_staging){0};
    }
    for (int i = 0; i < g->n_parts; i++) tn_event_free(g->parts[i].there);
    g->n_parts = 0;
    tn_sums_free(g->sums);
    g->sums = NULL;
    tn_staging_free(&g->staging);
    g->groups = 0;
}

static int make_sums(tn_gradsum *g, tn_error *err)
{
    tn_sums_part *v = malloc(sizeof *v * (size_t)TN_MAX(g->n_parts, 1));
    if (!v) return tn_oom(err);
    for (int i = 0; i < g->n_parts; i++) v[i] = (tn_sums_part){(float *)g->staging.host + g->parts[i].at, (int)g->parts[i].n};
    const int rc = tn_sums_new(&g->sums, g->e->ranks, v, g->n_parts, err);
    free(v);
    return rc;
}

/* Once a run, or twice where its backbone was frozen at first. */
static int make_parts(tn_gradsum *g, int groups, tn_error *err)
{
    if (groups == g->groups) return 0;
    TN_TRY(tn_dev_finish(g->e->dev, err)); /* sums of the last step are still on their way to the device */
    forget_parts(g);
    g->groups = groups;
    list_slots(g);
    deal_out(g);
    const part *end = &g->parts[g->n_parts - 1];
    TN_TRY(tn_staging_new(&g->staging, g->e->dev, (end->at + end->n) * sizeof(float), err));
    return make_sums(g, err);
}

int tn_gradsum_new(tn_gradsum **out, tn_engine *e, bool *stop, tn_error *err)
{
    const size_t n = (size_t)e->model->n_slots + 1;
    tn_gradsum *g = *out = calloc(1, sizeof *g);
    if (!g) return tn_oom(err);
    *g = (tn_gradsum){.e = e, .stop = stop};
    g->slots = malloc(n * sizeof *g->slots);
    g->ranges = malloc(n * sizeof *g->ranges);
    g->parts = calloc(n, sizeof *g->parts);
    g->last = malloc(n * sizeof *g->last);
    return g->slots && g->ranges && g->parts && g->last ? 0 : tn_oom(err);
}

void tn_gradsum_free(tn_gradsum *g)
{
    if (!g) return;
    forget_parts(g);
    free(g->slots);
    free(g->ranges);
    free(g->parts);
    free(g->last);
    free(g);
}

/* ---- on the way out ---- */

static void note_last(int *last, int slot, int node)
{
    if (slot >= 0) last[slot] = node;
}

/* The last node of node i's layer in the backward pass: within a layer gradients may wait for each other (tn_node_run). */
static int end_of_layer(const tn_graph *graph, int i)
{
    while (i + 1 < graph->n_n && graph->n[i + 1].layer == graph->n[i].layer) i++;
    return i;
}

/* A node of the backward pass that names a slot may write its gradient, by the end of its layer; that some only read its values
 * costs little. */
static void find_last(tn_gradsum *g, const tn_graph *graph)
{
    for (int i = 0; i < g->e->model->n_slots; i++) g->last[i] = -1;
    for (int i = 0; i < graph->n_n; i++) {
        const tn_gnode *n = &graph->n[i];
        if (!n->backward) continue;
        const int end = end_of_layer(graph, i);
        for (int k = 0; k < TN_NODE_SLOTS; k++) note_last(g->last, n->w[k], end);
        for (int k = 0; k < n->n_parts; k++) {
            const int slots[] = {n->part[k].w, n->part[k].bias, n->part[k].a, n->part[k].b, n->part[k].m};
            for (size_t j = 0; j < TN_COUNT(slots); j++) note_last(g->last, slots[j], end);
        }
    }
}

/* The first of the tape's entries, from `at` on, of a node behind all that write the part's gradients. */
static int end_of(const tn_gradsum *g, const part *p, const tn_tape *tape, int at)
{
    const tn_note *note;
    int node = -1;
    for (int i = 0; i < p->n_slots; i++) node = TN_MAX(node, g->last[g->slots[p->first_slot + i]]);
    for (; at < tn_tape_count(tape); at++) {
        (void)tn_tape_entry(tape, at, &note);
        if (note->node > node) break;
    }
    return at;
}

/* Behind what is enqueued now, while the main queue goes on. */
static int read_part(tn_gradsum *g, part *p, tn_error *err)
{
    tn_event *passed;
    int rc = tn_queue_mark(g->e->dev, TN_QUEUE_MAIN, &passed, err);
    for (int i = 0; !rc && i < p->n_ranges; i++) {
        const range *r = &g->ranges[p->first_range + i];
        rc = tn_buffer_read_async(g->e->session->store->grads, TN_QUEUE_COPY, r->off * 4, (float *)g->staging.host + r->at,
                                  r->n * 4, passed, i == p->n_ranges - 1 ? &p->there : NULL, err);
    }
    tn_event_free(passed);
    return rc;
}

static int gradsum_play(void *user, tn_exec *x, tn_error *err)
{
    tn_gradsum *g = user;
    int at = 0;
    TN_TRY(make_parts(g, x->pass.groups, err));
    TN_TRY(tn_session_record(g->e->session, x, err));
    find_last(g, &x->g);
    for (int i = 0; i < g->n_parts; i++) {
        const int from = at;
        at = end_of(g, &g->parts[i], x->tape, from);
        TN_TRY(tn_tape_play_part(x->tape, from, at, err));
        TN_TRY(read_part(g, &g->parts[i], err));
    }
    g->played = true;
    return tn_tape_play_part(x->tape, at, tn_tape_count(x->tape), err);
}

/* ---- the sum ---- */

static int write_part(tn_gradsum *g, const part *p, tn_error *err)
{
    for (int i = 0; i < p->n_ranges; i++) {
        const range *r = &g->ranges[p->first_range + i];
        TN_TRY(tn_buffer_write_async(g->e->session->store->grads, TN_QUEUE_MAIN, r->off * 4, (const float *)g->staging.host + r->at,
                                     r->n * 4, NULL, NULL, err));
    }
    return 0;
}

/* Parts that were read leave; *begun counts them. */
static int begin_parts(tn_gradsum *g, int *begun, tn_error *err)
{
    for (; *begun < g->n_parts; ++*begun) {
        const int there = tn_event_done(g->parts[*begun].there, err);
        if (there <= 0) return there;
        TN_TRY(tn_sums_begin(g->sums, err));
    }
    return 0;
}

/* Where nothing is on its way, the device is waited for, else the others, with a look at the device now and then. */
static int gradsum_rest(tn_gradsum *g, int begun, int done, tn_error *err)
{
    return begun == done ? tn_event_wait(g->parts[begun].there, err) : tn_sums_rest(g->sums, err);
}

static int add_parts(tn_gradsum *g, tn_error *err)
{
    int begun = 0, done = 0, written = 0;
    tn_sums_restart(g->sums);
    while (written < g->n_parts) {
        const int before = begun + done;
        TN_TRY(begin_parts(g, &begun, err));
        TN_TRY(tn_sums_move(g->sums, &done, err));
        for (; written < done; written++) TN_TRY(write_part(g, &g->parts[written], err));
        if (written < g->n_parts && begun + done == before) TN_TRY(gradsum_rest(g, begun, done, err));
    }
    return 0;
}

static int gradsum_sum(void *user, int groups, tn_error *err)
{
    tn_gradsum *g = user;
    TN_TRY(make_parts(g, groups, err));
    if (!g->played) {
        TN_TRY(tn_dev_finish(g->e->dev, err)); /* the last step's sums lie where the zeros go */
        memset(g->staging.host, 0, g->staging.bytes);
    }
    const int rc = add_parts(g, err);
    g->played = false;
    for (int i = 0; i < g->n_parts; i++) {
        tn_event_free(g->parts[i].there);
        g->parts[i].there = NULL;
    }
    return rc;
}

static int gradsum_total(void *user, double *loss, tn_error *err)
{
    tn_gradsum *g = user;
    double v[] = {*loss, *g->stop};
    TN_TRY(tn_ranks_add(g->e->ranks, v, TN_COUNT(v), err));
    *loss = v[0];
    *g->stop = v[1] > 0;
    return 0;
}

tn_step_others tn_gradsum_others(tn_gradsum *g)
{
    return (tn_step_others){gradsum_play, gradsum_sum, gradsum_total, g};
}
