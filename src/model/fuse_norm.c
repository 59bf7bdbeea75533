/* The slope of an activation behind a norm is not kept: the norm's backward works it out again, twice, from what it reads anyway.
 * That spares a write and a read of the whole map, and its storage from the forward to the backward pass. */
#include "graph.h"

static bool is_product(const tn_gnode *n)
{
    return n->op == TN_OP_LINEAR_DX || n->op == TN_OP_LINEAR_BY_DX;
}

/* Does node b take the gradient d of what node n normalised, and in no other type? */
static bool takes_back(const tn_graph *g, const tn_gnode *n, int b, int d)
{
    if (b < 0 || g->n[b].op != TN_OP_NORM2D_BACK || g->n[b].a.norm2d_back.act) return false;
    return g->n[b].in[0] == n->in[0] && g->n[b].in[1] == n->out[1] && g->n[b].in[2] == d && g->t[d].dtype == g->t[n->in[0]].dtype;
}

/* Node i keeps what a product or an activation's backward alone multiplies by, whose result the norm's backward alone reads. */
static void leave_slope(tn_graph *g, int i)
{
    const tn_gnode n = g->n[i];
    const int u = n.out[2], k = u >= 0 ? tn_graph_only_reader(g, u) : -1;
    if (!n.a.norm2d.act || k < 0) return;
    const bool product = is_product(&g->n[k]) && g->n[k].in[2] == u, alone = g->n[k].op == TN_OP_ACT_BACK && g->n[k].in[0] == u;
    const int d = g->n[k].out[0], b = product || alone ? tn_graph_only_reader(g, d) : -1;
    if (!takes_back(g, &n, b, d)) return;
    g->n[b].a.norm2d_back.act = true;
    g->n[b].a.norm2d_back.fn = n.a.norm2d.fn;
    g->n[i].out[2] = -1;
    g->n[i].a.norm2d.keeps_slope = false;
    if (product) {
        g->n[k].in[2] = -1;
        g->n[k].a.linear_dx.slope_kept = false;
        return;
    }
    g->n[b].in[2] = g->n[k].in[1];
    tn_graph_remove(g, k);
}

int tn_graph_fuse_norm_back(tn_graph *g, tn_error *err)
{
    for (int i = 0; i < g->n_n; i++)
        if (g->n[i].op == TN_OP_NORM2D) leave_slope(g, i);
    return tn_graph_check(g, err);
}
