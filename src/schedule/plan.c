#include "plan.h"

#include <stdlib.h>
#include <string.h>

static void plan_touch(tn_plan *p, const tn_graph *g, int id, int node)
{
    if (id < 0) return;
    tn_planned *t = &p->t[g->t[id].storage];
    if (t->last < 0) t->first = node;
    t->last = node;
}

/* What arrives is there before its pass begins, what leaves is until its pass has ended and it was read. */
static void widen(tn_planned *t, const tn_graph *g, const tn_gedge *e)
{
    const int begin = e->backward ? g->n_forward : 0, end = e->backward ? g->n_n : g->n_forward;
    if (t->last < 0) *t = (tn_planned){.first = begin, .last = begin, .chunk = -1, .bytes = t->bytes};
    if (e->leaves) t->last = TN_MAX(t->last, end);
    else t->first = TN_MIN(t->first, begin);
}

static void find_lifetimes(tn_plan *p, const tn_graph *g, size_t align)
{
    for (int i = 0; i < g->n_t; i++) {
        const size_t bytes = tn_gtensor_bytes(&g->t[i]);
        p->t[i] = (tn_planned){.first = 0, .last = -1, .chunk = -1, .bytes = TN_ROUND_UP(TN_MAX(bytes, (size_t)4), align)};
    }
    for (int n = 0; n < g->n_n; n++) {
        for (int k = 0; k < TN_NODE_IN; k++) plan_touch(p, g, g->n[n].in[k], n);
        for (int k = 0; k < TN_NODE_OUT; k++) plan_touch(p, g, g->n[n].out[k], n);
    }
    for (int i = 0; i < g->n_t; i++) {
        const tn_gkind kind = g->t[i].kind;
        tn_planned *t = &p->t[g->t[i].storage];
        if (kind == TN_G_ACT || kind == TN_G_ARRIVES || kind == TN_G_LEAVES || t->last < 0) continue;
        t->first = 0;
        t->last = g->n_n;
    }
    for (int i = 0; i < g->n_edges; i++) widen(&p->t[g->t[g->edges[i].tensor].storage], g, &g->edges[i]);
}

static bool plan_together(const tn_planned *a, const tn_planned *b)
{
    return a->first <= b->last && b->first <= a->last;
}

typedef struct {
    size_t begin, end;
} span;

static int by_begin(const void *a, const void *b)
{
    const span *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

typedef struct {
    const tn_planned *t;
    int id;
} item;

static int by_size(const void *a, const void *b)
{
    const item *x = a, *y = b;
    if (x->t->bytes != y->t->bytes) return x->t->bytes > y->t->bytes ? -1 : 1;
    return x->id - y->id;
}

/* The lowest address where `bytes` fit beside the spans, crossing no chunk border. */
static size_t plan_lowest(span *used, int n, size_t bytes, size_t largest)
{
    if (n > 1) qsort(used, (size_t)n, sizeof *used, by_begin);
    size_t at = 0;
    for (int i = 0; i <= n; i++) {
        if (at / largest != (at + bytes - 1) / largest) at = TN_ROUND_UP(at, largest);
        if (i == n || at + bytes <= used[i].begin) break;
        at = TN_MAX(at, used[i].end);
    }
    return at;
}

static void find_live_peak(tn_plan *p, const tn_graph *g)
{
    for (int n = 0; n < g->n_n; n++) {
        size_t live = 0;
        for (int i = 0; i < g->n_t; i++)
            if (g->t[i].kind != TN_G_CONST && p->t[i].last >= 0 && p->t[i].first <= n && n <= p->t[i].last) live += p->t[i].bytes;
        p->live_peak = TN_MAX(p->live_peak, live);
    }
}

static int plan_place(tn_plan *p, const tn_graph *g, size_t largest, tn_error *err)
{
    item *order = malloc(sizeof *order * (size_t)(g->n_t + 1));
    span *used = malloc(sizeof *used * (size_t)(g->n_t + 1));
    int n = 0, rc = order && used ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < g->n_t; i++)
        if (p->t[i].last >= 0 && g->t[i].kind != TN_G_CONST) order[n++] = (item){&p->t[i], i};
    if (n > 1) qsort(order, (size_t)n, sizeof *order, by_size);
    for (int i = 0; !rc && i < n; i++) {
        tn_planned *t = &p->t[order[i].id];
        if (t->bytes > largest) {
            rc = tn_fail(err, TN_ERR_MEMORY,
                         "activation '%s' needs %zu MiB, more than the device gives at once (%zu MiB); use a "
                         "smaller micro_batch_size",
                         g->t[order[i].id].name, t->bytes >> 20, largest >> 20);
            break;
        }
        int k = 0;
        for (int j = 0; j < i; j++)
            if (plan_together(order[j].t, t)) {
                size_t at = (size_t)order[j].t->chunk * largest + order[j].t->offset;
                used[k++] = (span){at, at + order[j].t->bytes};
            }
        size_t at = plan_lowest(used, k, t->bytes, largest);
        t->chunk = (int)(at / largest);
        t->offset = at % largest;
        if (t->chunk >= TN_MAX_CHUNKS) {
            rc = tn_fail(err, TN_ERR_MEMORY,
                         "activations need more than %d of the device's largest allocations; use a smaller "
                         "micro_batch_size",
                         TN_MAX_CHUNKS);
            break;
        }
        p->n_chunks = TN_MAX(p->n_chunks, t->chunk + 1);
        p->chunk_bytes[t->chunk] = TN_MAX(p->chunk_bytes[t->chunk], t->offset + t->bytes);
    }
    free(order);
    free(used);
    return rc;
}

int tn_plan_make(tn_plan *p, const tn_graph *g, size_t align, size_t largest, tn_error *err)
{
    memset(p, 0, sizeof *p);
    p->t = calloc((size_t)g->n_t + 1, sizeof *p->t);
    if (!p->t) return tn_oom(err);
    find_lifetimes(p, g, align);
    largest = largest / align * align;
    int rc = plan_place(p, g, largest, err);
    for (int i = 0; i < p->n_chunks; i++) p->total += p->chunk_bytes[i];
    find_live_peak(p, g);
    for (int i = 0; i < g->n_t; i++) p->t[i] = p->t[g->t[i].storage];
    if (rc) tn_plan_free(p);
    return rc;
}

void tn_plan_free(tn_plan *p)
{
    free(p->t);
    memset(p, 0, sizeof *p);
}
