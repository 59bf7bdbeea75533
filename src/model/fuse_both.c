/* What reads a gradient once instead of twice: an adapter's dt and its dB. */
#include "graph.h"

#include <string.h>

/* The gradient of B alone that belongs to the dt that node i makes; -1: none. */
static int gradient_of(const tn_graph *g, int i)
{
    const tn_gnode *d = &g->n[i];
    for (int k = i + 1; k < g->n_n && g->n[k].layer == d->layer; k++) {
        const tn_gnode *n = &g->n[k];
        if (n->op != TN_OP_LINEAR_GRAD || n->in[0] >= 0 || n->in[1] != d->in[0] || n->in[2] < 0) continue;
        if (n->n_parts == d->n_parts && !memcmp(n->part, d->part, sizeof *n->part * (size_t)n->n_parts)) return k;
    }
    return -1;
}

int tn_graph_fuse_both(tn_graph *g, tn_error *err)
{
    for (int i = g->n_forward; i < g->n_n; i++) {
        const int k = g->n[i].op == TN_OP_LINEAR_DT && g->t[g->n[i].in[0]].rows > TN_FEW_ROWS ? gradient_of(g, i) : -1;
        if (k < 0) continue;
        g->n[i].in[1] = g->n[k].in[2];
        tn_graph_remove(g, k);
    }
    return tn_graph_check(g, err);
}
