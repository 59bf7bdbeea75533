/* Maps that are enlarged by 2 for a depthwise 3x3 convolution alone are not stored: the convolution enlarges what it reads, and its
 * gradient is that of the smaller map. Where a GroupNorm follows, such a convolution leaves its statistics too. */
#include "graph.h"

static bool doubles(const tn_attr_resize *a)
{
    return 2 * a->in_h == a->out_h && 2 * a->in_w == a->out_w && a->sy == 0.5f && a->sx == 0.5f;
}

/* t: a tensor of the convolution's channels. */
static bool can_double(const tn_graph *g, const tn_gnode *n, int t)
{
    const tn_attr_conv *a = &n->a.conv;
    return a->kernel == 3 && a->stride == 1 && a->pad == 1 && a->groups > 1 && a->groups == g->t[t].cols && !a->doubled;
}

/* The node that takes d, the gradient of the map that n reads, back to the smaller one, where nobody else wants it; or -1. */
static int back_of(const tn_graph *g, const tn_gnode *n, int d)
{
    int k;
    if (g->t[d].kind != TN_G_ACT || tn_graph_readers(g, d, &k) != 1) return -1;
    const tn_gnode *b = &g->n[k];
    const bool alone = b->op == TN_OP_BILINEAR_BACK && b->in[1] < 0 && b->layer == n->layer && doubles(&b->a.bilinear_back);
    return alone && g->t[d].dtype == g->t[b->out[0]].dtype ? k : -1;
}

/* Can this reader of u, the map that node i enlarges, do so itself? */
static bool reader_can(const tn_graph *g, const tn_gnode *n, int u, int i)
{
    if (n->op != TN_OP_CONV && n->op != TN_OP_CONV_GRAD) return false;
    if (n->in[0] != u || n->onto == u || n->layer != g->n[i].layer || !can_double(g, n, u)) return false;
    const int y = n->op == TN_OP_CONV ? n->out[0] : n->in[1];
    if (n->in[1] == u || g->t[y].cols != g->t[u].cols) return false;
    return n->op == TN_OP_CONV || n->out[0] < 0 || back_of(g, n, n->out[0]) >= 0;
}

/* Node k, which makes the gradient of an enlarged map, makes that of the smaller one. */
static void fold_back(tn_graph *g, int k)
{
    const int b = back_of(g, &g->n[k], g->n[k].out[0]);
    g->n[k].out[0] = g->n[b].out[0];
    tn_graph_remove(g, b);
}

/* BILINEAR node i goes into all that read its map. */
static bool fold_readers(tn_graph *g, int i)
{
    const int u = g->n[i].out[0], x = g->n[i].in[0];
    int readers = 0;
    if (!doubles(&g->n[i].a.bilinear) || g->t[u].kind != TN_G_ACT || g->t[u].dtype != g->t[x].dtype) return false;
    for (int k = 0; k < g->n_n; k++) {
        if (!tn_node_reads(&g->n[k], u)) continue;
        if (!reader_can(g, &g->n[k], u, i)) return false;
        readers++;
    }
    for (int k = i + 1; readers && k < g->n_n; k++) {
        if (!tn_node_reads(&g->n[k], u)) continue;
        g->n[k].in[0] = x;
        if (g->n[k].op == TN_OP_CONV_GRAD && g->n[k].out[0] >= 0) fold_back(g, k);
        g->n[k].a.conv.doubled = true;
    }
    if (readers) tn_graph_remove(g, i);
    return readers > 0;
}

/* The convolution that makes what normalisation node i normalises leaves its statistics. */
static void fold_stats(tn_graph *g, int i)
{
    tn_gnode *n = &g->n[i];
    const tn_attr_norm2d *a = &n->a.norm2d;
    const int k = tn_graph_writer(g, n->in[0]);
    if (k < 0 || g->n[k].op != TN_OP_CONV || a->stats != TN_STATS_OWN || g->t[n->in[0]].kind != TN_G_ACT) return;
    tn_gnode *c = &g->n[k];
    if (!c->a.conv.doubled || c->out[1] >= 0 || a->unit_rows != c->a.conv.out_h * c->a.conv.out_w) return;
    if (g->stage_of && g->stage_of[c->layer] != g->stage_of[n->layer]) return;
    c->a.conv.norm_groups = a->groups;
    c->out[1] = n->in[n->op == TN_OP_NORM2D_FEW ? 2 : 1] = n->out[1];
    n->out[1] = -1;
}

int tn_graph_fuse_doubling(tn_graph *g, tn_error *err)
{
    for (int i = 0; i < g->n_n; i++)
        if (g->n[i].op == TN_OP_BILINEAR && fold_readers(g, i)) i--;
    for (int i = 0; i < g->n_n; i++) {
        tn_gnode *n = &g->n[i];
        if (n->op != TN_OP_CONV_DX || !can_double(g, n, n->in[0]) || back_of(g, n, n->out[0]) < 0) continue;
        if (g->t[n->in[0]].cols != g->t[n->out[0]].cols) continue;
        fold_back(g, i);
        g->n[i].a.conv.doubled = true;
    }
    for (int i = 0; i < g->n_n; i++)
        if (g->n[i].op == TN_OP_NORM2D || g->n[i].op == TN_OP_NORM2D_FEW) fold_stats(g, i);
    return tn_graph_check(g, err);
}
