#include "graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    *g = (tn_graph){0};
}

void tn_graph_layer(tn_graph *g, const char *name, int recompute)
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
    g->t[g->n_t] = (tn_gtensor){.kind = kind, .dtype = dt, .rows = rows, .cols = cols, .layer = g->layer, .grad = -1, .clone = -1};
    snprintf(g->t[g->n_t].name, sizeof g->t->name, "%s", name);
    return g->n_t++;
}

tn_gnode *tn_graph_node(tn_graph *g, tn_opcode op)
{
    static tn_gnode sink; /* written only after an allocation failed; g->oom is reported by the caller */
    if (g->n_n == g->cap_n) {
        int cap = g->cap_n ? 2 * g->cap_n : 256;
        tn_gnode *v = realloc(g->n, sizeof *v * (size_t)cap);
        if (!v) {
            g->oom = true;
            return &sink;
        }
        g->n = v;
        g->cap_n = cap;
    }
    tn_gnode *n = &g->n[g->n_n++];
    memset(n, 0, sizeof *n);
    n->op = op;
    n->layer = g->layer;
    n->backward = g->in_backward;
    for (int i = 0; i < TN_NODE_IN; i++) n->in[i] = -1;
    for (int i = 0; i < TN_NODE_OUT; i++) n->out[i] = -1;
    for (int i = 0; i < 4; i++) n->w[i] = -1;
    for (int i = 0; i < TN_NODE_PARTS; i++) n->part[i] = (tn_gpart){.w = -1, .bias = -1, .a = -1, .b = -1, .m = -1};
    return n;
}

void tn_graph_mark(tn_graph *g, const tn_gnode *n, tn_trainable_fn trained, const void *user)
{
    bool need = false;
    for (int i = 0; i < TN_NODE_IN; i++) need |= n->in[i] >= 0 && g->t[n->in[i]].needs_grad;
    for (int i = 0; i < 4; i++) need |= n->w[i] >= 0 && trained(user, n->w[i]);
    for (int i = 0; i < n->n_parts; i++) {
        const tn_gpart *p = &n->part[i];
        const int slots[] = {p->w, p->bias, p->a, p->b, p->m};
        for (size_t k = 0; k < TN_COUNT(slots); k++) need |= slots[k] >= 0 && trained(user, slots[k]);
    }
    for (int i = 0; i < TN_NODE_OUT; i++)
        if (n->out[i] >= 0) g->t[n->out[i]].needs_grad |= need;
}

const char *tn_opcode_name(tn_opcode op)
{
    static const char *const names[TN_OP_COUNT] = {"patchify",
                                                   "linear",
                                                   "positions",
                                                   "tokens",
                                                   "layernorm",
                                                   "rope",
                                                   "attention",
                                                   "residual",
                                                   "act",
                                                   "glu",
                                                   "grid",
                                                   "bilinear",
                                                   "dwconv",
                                                   "conv3",
                                                   "norm2d",
                                                   "sample_mean",
                                                   "scale_channels",
                                                   "dropout2d",
                                                   "dropout",
                                                   "dora_scale",
                                                   "dora",
                                                   "target",
                                                   "loss",
                                                   "linear_dt",
                                                   "linear_grad",
                                                   "linear_dx",
                                                   "positions_grad",
                                                   "tokens_grad",
                                                   "tokens_dx",
                                                   "layernorm_grad",
                                                   "layernorm_dx",
                                                   "rope_back",
                                                   "attention_back",
                                                   "scale_cols",
                                                   "scale_grad",
                                                   "add_into",
                                                   "act_back",
                                                   "glu_back",
                                                   "grid_back",
                                                   "bilinear_back",
                                                   "dwconv_back",
                                                   "conv3_back",
                                                   "norm2d_back",
                                                   "dropout_back",
                                                   "dora_grad",
                                                   "dora_du",
                                                   "sample_mean_back",
                                                   "scale_channels_back"};
    return names[op];
}
