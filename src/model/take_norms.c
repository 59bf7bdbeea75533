/* Layer norms that products take in: with x' = (x - mean) / deviation and W' = W diag(gamma), W (gamma x' + beta) + b is
 * (x W'^T - mean sum(W')) / deviation + (W beta + b), so that the norm itself is never made. What W', its sums and the bias are is
 * the store's business (schedule/merged.c); the graph only has to know that they are so. */
#include "model.h"

/* The gamma that all of the product's matrices take in, or -1. */
static int norm_of(const tn_model *m, const tn_gnode *n)
{
    int gamma = n->n_parts ? tn_model_norm_of(m, n->part[0].w) : -1;
    for (int i = 1; i < n->n_parts; i++)
        if (tn_model_norm_of(m, n->part[i].w) != gamma) gamma = -1;
    return gamma;
}

/* Does node i read a norm with that gamma, which nobody else reads? Then *norm is it. */
static bool reads_norm(const tn_graph *g, int i, int gamma, int *norm)
{
    const int y = g->n[i].in[0];
    *norm = tn_graph_writer(g, y);
    return *norm >= 0 && g->n[*norm].op == TN_OP_LAYERNORM && g->n[*norm].w[0] == gamma && g->n[i].in[1] < 0 &&
           tn_graph_only_reader(g, y) == i;
}

/* The product that makes x and nothing beside it on the same device leaves the sums. */
static void sum_before(tn_graph *g, int sums)
{
    const int k = tn_graph_writer(g, g->n[sums].in[0]);
    tn_gnode *n = k >= 0 ? &g->n[k] : NULL;
    if (!n || n->op != TN_OP_LINEAR || n->in[2] < 0 || n->out[2] >= 0) return;
    if (g->stage_of && g->stage_of[n->layer] != g->stage_of[g->n[sums].layer]) return;
    n->out[2] = g->n[sums].out[0];
    tn_graph_remove(g, sums);
}

static void take(tn_graph *g, int i, int norm)
{
    const int x = g->n[norm].in[0], layer = g->n[norm].layer;
    const int sums = tn_graph_tensor(g, TN_G_ACT, TN_F32, g->t[x].cols / TN_SUM_COLUMNS, 2 * g->t[x].rows, "row.sums");
    g->n[i].a.linear.eps = g->n[norm].a.layernorm.eps;
    g->n[i].in[0] = x, g->n[i].in[4] = sums;
    tn_graph_remove(g, norm);
    tn_gnode *n = tn_graph_insert(g, TN_OP_ROW_SUMS, norm);
    n->layer = layer, n->in[0] = x, n->out[0] = sums;
    sum_before(g, norm);
}

int tn_model_take_norms(const tn_model *m, tn_graph *g, tn_error *err)
{
    for (int i = 0; i < g->n_n; i++) {
        if (g->n[i].op != TN_OP_LINEAR || g->n[i].in[4] >= 0) continue;
        const int gamma = norm_of(m, &g->n[i]);
        int norm;
        if (gamma < 0) continue;
        if (!reads_norm(g, i, gamma, &norm)) /* its matrices hold the norm's vectors: without it the pass would be wrong */
            return tn_fail(err, TN_ERR_ARGUMENT, "the product of '%s' does not read the norm '%s' alone",
                           m->slots[g->n[i].part[0].w].name, m->slots[gamma].name);
        take(g, i, norm);
        i = norm; /* what stands behind it may have moved a place */
    }
    return g->oom ? tn_oom(err) : tn_graph_check(g, err);
}
