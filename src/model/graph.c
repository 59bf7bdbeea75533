#include "graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *tn_opcode_name(tn_opcode op)
{
#define TN_OPERATION_NAME(ID, name, ...) [TN_OP_##ID] = #name,
    static const char *const names[TN_OP_COUNT] = {TN_OPERATIONS(TN_OPERATION_NAME)};
    return names[op];
}

void tn_graph_init(tn_graph *g, int batch)
{
    *g = (tn_graph){.batch = batch, .pixels = -1, .labels = -1, .target = -1, .mask = -1, .heat = -1, .loss = -1, .rope_table = -1};
}

void tn_graph_free(tn_graph *g)
{
    for (int i = 0; i < g->n_t; i++) free(g->t[i].host);
    free(g->t);
    free(g->n);
    free(g->layers);
    free(g->edges);
    *g = (tn_graph){0};
}

tn_recompute tn_recompute_less(tn_recompute r)
{
    return r == TN_RECOMPUTE_ALL ? TN_RECOMPUTE_PRODUCTS : r == TN_RECOMPUTE_PRODUCTS ? TN_RECOMPUTE_ACTIVATED : TN_RECOMPUTE_NONE;
}

void tn_graph_layer(tn_graph *g, const char *name, tn_recompute recompute)
{
    tn_glayer *v = realloc(g->layers, sizeof *v * (size_t)(g->n_layers + 1));
    if (!v) {
        g->oom = true;
        return;
    }
    g->layers = v;
    v[g->n_layers] = (tn_glayer){.recompute = recompute};
    snprintf(v[g->n_layers].name, sizeof v->name, "%s", name);
    g->layer = g->n_layers++;
}

int tn_graph_tensor(tn_graph *g, tn_gkind kind, tn_dtype dt, int rows, int cols, const char *name)
{
    if (g->n_t == g->cap_t) {
        int cap = g->cap_t ? 2 * g->cap_t : 256;
        tn_gtensor *v = realloc(g->t, sizeof *v * (size_t)cap);
        if (!v) {
            g->oom = true;
            return 0;
        }
        g->t = v;
        g->cap_t = cap;
    }
    g->t[g->n_t] = (tn_gtensor){
        .kind = kind, .dtype = dt, .rows = rows, .cols = cols, .layer = g->layer, .grad = -1, .clone = -1, .storage = g->n_t};
    snprintf(g->t[g->n_t].name, sizeof g->t->name, "%s", name);
    return g->n_t++;
}

static void blank(tn_gnode *n, tn_opcode op, int layer, bool backward)
{
    *n = (tn_gnode){.op = op, .layer = layer, .backward = backward, .onto = -1};
    for (int i = 0; i < TN_NODE_IN; i++) n->in[i] = -1;
    for (int i = 0; i < TN_NODE_OUT; i++) n->out[i] = -1;
    for (int i = 0; i < TN_NODE_SLOTS; i++) n->w[i] = -1;
    for (int i = 0; i < TN_NODE_PARTS; i++) n->part[i] = (tn_gpart){.w = -1, .bias = -1, .a = -1, .b = -1, .m = -1};
}

tn_gnode *tn_graph_node(tn_graph *g, tn_opcode op)
{
    if (g->n_n == g->cap_n) {
        int cap = g->cap_n ? 2 * g->cap_n : 256;
        tn_gnode *v = realloc(g->n, sizeof *v * (size_t)cap);
        if (!v) {
            g->oom = true;
            blank(&g->spare, op, g->layer, g->in_backward);
            return &g->spare;
        }
        g->n = v;
        g->cap_n = cap;
    }
    tn_gnode *n = &g->n[g->n_n++];
    blank(n, op, g->layer, g->in_backward);
    return n;
}

void tn_graph_mark(tn_graph *g, const tn_gnode *n, tn_trainable_fn trained, const void *user)
{
    bool need = false;
    for (int i = 0; i < TN_NODE_IN; i++) need |= n->in[i] >= 0 && g->t[n->in[i]].needs_grad;
    for (int i = 0; i < TN_NODE_SLOTS; i++) need |= n->w[i] >= 0 && trained(user, n->w[i]);
    for (int i = 0; i < n->n_parts; i++) {
        const tn_gpart *p = &n->part[i];
        const int slots[] = {p->w, p->bias, p->a, p->b, p->m};
        for (size_t k = 0; k < TN_COUNT(slots); k++) need |= slots[k] >= 0 && trained(user, slots[k]);
    }
    for (int i = 0; i < TN_NODE_OUT; i++)
        if (n->out[i] >= 0) g->t[n->out[i]].needs_grad |= need;
}

bool tn_node_reads(const tn_gnode *n, int t)
{
    bool reads = n->onto == t;
    for (int k = 0; k < TN_NODE_IN; k++) reads |= n->in[k] == t;
    return t >= 0 && reads;
}

static bool node_writes(const tn_gnode *n, int t)
{
    bool writes = false;
    for (int k = 0; k < TN_NODE_OUT; k++) writes |= n->out[k] == t;
    return t >= 0 && writes;
}

int tn_graph_writer(const tn_graph *g, int t)
{
    for (int i = 0; i < g->n_n; i++)
        if (node_writes(&g->n[i], t)) return i;
    return -1;
}

int tn_graph_readers(const tn_graph *g, int t, int *last)
{
    int n = 0, at = -1;
    for (int i = 0; i < g->n_n; i++)
        if (tn_node_reads(&g->n[i], t)) n++, at = i;
    if (last) *last = at;
    return n;
}

int tn_graph_only_reader(const tn_graph *g, int t)
{
    int last;
    return g->t[t].kind == TN_G_ACT && tn_graph_readers(g, t, &last) == 1 ? last : -1;
}

void tn_graph_remove(tn_graph *g, int i)
{
    g->n_n--;
    if (i < g->n_forward) g->n_forward--;
    memmove(&g->n[i], &g->n[i + 1], sizeof *g->n * (size_t)(g->n_n - i));
}

tn_gnode *tn_graph_insert(tn_graph *g, tn_opcode op, int i)
{
    const int layer = g->n[i].layer;
    const bool backward = g->n[i].backward;
    if (tn_graph_node(g, op) == &g->spare) return &g->spare;
    memmove(&g->n[i + 1], &g->n[i], sizeof *g->n * (size_t)(g->n_n - 1 - i));
    if (i < g->n_forward) g->n_forward++;
    blank(&g->n[i], op, layer, backward);
    return &g->n[i];
}

size_t tn_gtensor_bytes(const tn_gtensor *t)
{
    return (size_t)t->rows * (size_t)t->cols * tn_dtype_size(t->dtype);
}

/* Is it there before the graph runs? */
static bool is_given(const tn_gtensor *t)
{
    return t->kind == TN_G_INPUT || t->kind == TN_G_CONST || t->kind == TN_G_ARRIVES;
}

static int unwritten(const tn_graph *g, const tn_gnode *n, int t, tn_error *err)
{
    return tn_fail(err, TN_ERR_ARGUMENT, "layer %s, %s reads '%s', which nothing has written", g->layers[n->layer].name,
                   tn_opcode_name(n->op), g->t[t].name);
}

int tn_graph_check(const tn_graph *g, tn_error *err)
{
    bool *written = calloc((size_t)g->n_t + 1, sizeof *written);
    int rc = written ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < g->n_t; i++) written[i] = is_given(&g->t[i]);
    for (int i = 0; !rc && i < g->n_n; i++) {
        const tn_gnode *n = &g->n[i];
        if (n->onto >= 0 && !written[n->onto]) rc = unwritten(g, n, n->onto, err);
        for (int k = 0; !rc && k < TN_NODE_IN; k++)
            if (n->in[k] >= 0 && !written[n->in[k]]) rc = unwritten(g, n, n->in[k], err);
        for (int k = 0; !rc && k < TN_NODE_OUT; k++) {
            if (n->out[k] < 0) continue;
            if (written[n->out[k]])
                rc = tn_fail(err, TN_ERR_ARGUMENT, "layer %s, %s writes '%s' a second time", g->layers[n->layer].name,
                             tn_opcode_name(n->op), g->t[n->out[k]].name);
            written[n->out[k]] = true;
        }
    }
    free(written);
    return rc;
}
