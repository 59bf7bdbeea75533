#include "cut.h"

#include <stdlib.h>
#include <string.h>

enum { NOBODY = -1 };

typedef struct {
    const tn_graph *g;
    const tn_cut *cut;
    tn_graph *part;
    int *here;   /* id in the part of a tensor of the whole, or -1 */
    int *writer; /* node of the whole that writes a tensor, or -1 */
    tn_error *err;
} cutter;

static int stage_of_node(const cutter *c, int n)
{
    return c->cut->stage_of[c->g->n[n].layer];
}

/* The stage that makes tensor t; NOBODY for what is given. */
static int stage_of_tensor(const cutter *c, int t)
{
    return c->writer[t] < 0 ? NOBODY : stage_of_node(c, c->writer[t]);
}

/* The tensor in the part, made when it is first met. */
static int bring_in(cutter *c, int t)
{
    if (t < 0 || c->here[t] >= 0) return t < 0 ? -1 : c->here[t];
    const tn_gtensor *from = &c->g->t[t];
    c->part->layer = from->layer;
    const int id = c->here[t] = tn_graph_tensor(c->part, from->kind, from->dtype, from->rows, from->cols, from->name);
    if (c->part->oom || !from->host) return id;
    const size_t bytes = tn_gtensor_bytes(from);
    float *host = c->part->t[id].host = malloc(bytes);
    if (host) memcpy(host, from->host, bytes);
    else c->part->oom = true;
    return id;
}

static void add_edge(cutter *c, int t, int stage, bool leaves)
{
    tn_graph *p = c->part;
    for (int i = 0; i < p->n_edges; i++)
        if (p->edges[i].tag == t && p->edges[i].stage == stage) return;
    tn_gedge *v = realloc(p->edges, sizeof *v * (size_t)(p->n_edges + 1));
    if (!v) {
        p->oom = true;
        return;
    }
    p->edges = v;
    const bool down = leaves ? stage < c->cut->stage : stage > c->cut->stage;
    v[p->n_edges++] = (tn_gedge){.tensor = c->here[t], .tag = t, .stage = stage, .leaves = leaves, .backward = down};
    tn_gtensor *here = &p->t[c->here[t]];
    if (!leaves) here->kind = TN_G_ARRIVES;
    else if (here->kind == TN_G_ACT) here->kind = TN_G_LEAVES; /* an output stays longer still */
}

/* What node n of this stage reads comes from another stage, or does not. */
static int read_tensor(cutter *c, int n, int t)
{
    const int from = t < 0 ? NOBODY : stage_of_tensor(c, t), own = c->cut->stage;
    (void)bring_in(c, t);
    if (from == NOBODY || from == own) return 0;
    const bool too_late = from > own ? n < c->g->n_forward : c->writer[t] >= c->g->n_forward;
    if (too_late)
        return tn_fail(c->err, TN_ERR_ARGUMENT, "layer %s reads '%s' of layer %s, which is made later",
                       c->g->layers[c->g->n[n].layer].name, c->g->t[t].name, c->g->layers[c->g->n[c->writer[t]].layer].name);
    add_edge(c, t, from, false);
    return 0;
}

/* What this stage writes goes to all that read it. */
static void write_tensor(cutter *c, int t)
{
    if (t < 0) return;
    (void)bring_in(c, t);
    for (int n = 0; n < c->g->n_n; n++)
        if (stage_of_node(c, n) != c->cut->stage && tn_node_reads(&c->g->n[n], t)) add_edge(c, t, stage_of_node(c, n), true);
}

static int take_node(cutter *c, int i)
{
    const tn_gnode *n = &c->g->n[i];
    for (int k = 0; k < TN_NODE_IN; k++) TN_TRY(read_tensor(c, i, n->in[k]));
    TN_TRY(read_tensor(c, i, n->onto));
    for (int k = 0; k < TN_NODE_OUT; k++) write_tensor(c, n->out[k]);
    if (c->part->oom) return tn_oom(c->err);
    tn_gnode *copy = tn_graph_node(c->part, n->op);
    *copy = *n;
    for (int k = 0; k < TN_NODE_IN; k++) copy->in[k] = bring_in(c, n->in[k]);
    for (int k = 0; k < TN_NODE_OUT; k++) copy->out[k] = bring_in(c, n->out[k]);
    copy->onto = bring_in(c, n->onto);
    c->part->n_forward += i < c->g->n_forward;
    return c->part->oom ? tn_oom(c->err) : 0;
}

/* Tensors of one storage share one in the part too: the first one there is its name. */
static void share_storage(cutter *c)
{
    for (int t = 0; t < c->g->n_t; t++) {
        if (c->here[t] < 0) continue;
        int first = t;
        for (int k = 0; k < t && first == t; k++)
            if (c->here[k] >= 0 && c->g->t[k].storage == c->g->t[t].storage) first = k;
        c->part->t[c->here[t]].storage = first == t ? c->here[t] : c->part->t[c->here[first]].storage;
    }
}

static int by_tag(const void *a, const void *b)
{
    const tn_gedge *x = a, *y = b;
    return x->tag != y->tag ? x->tag - y->tag : x->stage - y->stage;
}

static int local(const cutter *c, int t)
{
    return t < 0 ? -1 : c->here[t];
}

static int copy_layers(cutter *c)
{
    tn_graph *p = c->part;
    const tn_graph *g = c->g;
    for (int i = 0; i < g->n_layers; i++) tn_graph_layer(p, g->layers[i].name, g->layers[i].recompute);
    return p->oom ? tn_oom(c->err) : 0;
}

static int cut_out(cutter *c)
{
    const tn_graph *g = c->g;
    tn_graph *p = c->part;
    TN_TRY(copy_layers(c));
    for (int i = 0; i < g->n_n; i++)
        if (stage_of_node(c, i) == c->cut->stage) TN_TRY(take_node(c, i));
    if (p->n_edges > 1) qsort(p->edges, (size_t)p->n_edges, sizeof *p->edges, by_tag);
    share_storage(c);
    p->pixels = local(c, g->pixels), p->labels = local(c, g->labels);
    p->target = local(c, g->target), p->mask = local(c, g->mask), p->heat = local(c, g->heat);
    p->loss = local(c, g->loss), p->rope_table = local(c, g->rope_table);
    p->n_features = g->n_features;
    for (int i = 0; i < g->n_features; i++) p->feature[i] = local(c, g->feature[i]);
    return 0;
}

int tn_graph_cut(tn_graph *part, const tn_graph *whole, const tn_cut *cut, tn_error *err)
{
    const size_t n = (size_t)whole->n_t + 1;
    cutter c = {whole, cut, part, malloc(n * sizeof *c.here), malloc(n * sizeof *c.writer), err};
    tn_graph_init(part, whole->batch);
    int rc = c.here && c.writer ? 0 : tn_oom(err);
    if (!rc && whole->n_layers > cut->n_layers)
        rc = tn_fail(err, TN_ERR_ARGUMENT, "a pass of %d layers, of which %d have a device", whole->n_layers, cut->n_layers);
    for (int t = 0; !rc && t < whole->n_t; t++) c.here[t] = c.writer[t] = -1;
    for (int i = 0; !rc && i < whole->n_n; i++)
        for (int k = 0; k < TN_NODE_OUT; k++)
            if (whole->n[i].out[k] >= 0) c.writer[whole->n[i].out[k]] = i;
    if (!rc) rc = cut_out(&c);
    free(c.here);
    free(c.writer);
    if (rc) tn_graph_free(part);
    return rc;
}

/* ---- whose the slots are ---- */

/* A training pass of everything, from which layers and slots are told. */
static int training_graph(tn_graph *g, const tn_model *m, tn_error *err)
{
    const tn_pass p = {.batch = 1,
                       .groups = TN_GROUP_HEAD | TN_GROUP_LORA | TN_GROUP_BACKBONE,
                       .training = true,
                       .loss = true,
                       .heat = true,
                       .frames = true};
    const int rc = tn_model_graph(g, m, &p, err);
    if (rc) tn_graph_free(g);
    return rc;
}

static int claim(int *owner, const tn_model *m, const tn_graph *g, const int *stage_of, int slot, int layer, tn_error *err)
{
    if (slot < 0) return 0;
    if (owner[slot] >= 0 && stage_of[owner[slot]] != stage_of[layer])
        return tn_fail(err, TN_ERR_CONFIG, "layers %s and %s share '%s', so that they need one device", g->layers[owner[slot]].name,
                       g->layers[layer].name, m->slots[slot].name);
    if (owner[slot] < 0) owner[slot] = layer;
    return 0;
}

static int claim_all(int *owner, const tn_model *m, const tn_graph *g, const int *stage_of, const tn_gnode *n, tn_error *err)
{
    for (int k = 0; k < TN_NODE_SLOTS; k++) TN_TRY(claim(owner, m, g, stage_of, n->w[k], n->layer, err));
    for (int i = 0; i < n->n_parts; i++) {
        const tn_gpart *p = &n->part[i];
        const int slots[] = {p->w, p->bias, p->a, p->b, p->m};
        for (size_t k = 0; k < TN_COUNT(slots); k++) TN_TRY(claim(owner, m, g, stage_of, slots[k], n->layer, err));
    }
    return 0;
}

int tn_slot_layers(int *owner, const tn_model *m, const int *stage_of, int n_layers, tn_error *err)
{
    tn_graph g;
    TN_TRY(training_graph(&g, m, err));
    int rc = g.n_layers == n_layers
                 ? 0
                 : tn_fail(err, TN_ERR_ARGUMENT, "the model has %d layers, %d have a device", g.n_layers, n_layers);
    for (int i = 0; i < m->n_slots; i++) owner[i] = -1;
    for (int i = 0; !rc && i < g.n_forward; i++) rc = claim_all(owner, m, &g, stage_of, &g.n[i], err);
    for (int i = 0; i < m->n_slots; i++) owner[i] = TN_MAX(owner[i], 0);
    tn_graph_free(&g);
    return rc;
}

int tn_model_layers(char (**names)[32], int *n, const tn_model *m, tn_error *err)
{
    tn_graph g;
    TN_TRY(training_graph(&g, m, err));
    *names = malloc(sizeof **names * (size_t)(g.n_layers + 1));
    *n = g.n_layers;
    for (int i = 0; *names && i < g.n_layers; i++) memcpy((*names)[i], g.layers[i].name, sizeof g.layers[i].name);
    tn_graph_free(&g);
    return *names ? 0 : tn_oom(err);
}
