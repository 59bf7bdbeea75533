/* Storage sharing, decided by liveness on the finished node list: graph in, graph out. */
#include "graph.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of what node k reads that nobody else reads from node `to` on: they are kept for longer where k runs there. */
static size_t kept_longer(const tn_graph *g, int k, int to)
{
    size_t bytes = 0;
    for (int j = 0; j < TN_NODE_IN; j++) {
        const int t = g->n[k].in[j];
        int last;
        if (t < 0 || g->t[t].kind != TN_G_ACT) continue;
        tn_graph_readers(g, t, &last);
        if (last < to) bytes += tn_gtensor_bytes(&g->t[t]);
    }
    return bytes;
}

/* May node k wait for what node i adds its result, all it makes, to? In its layer, and where what it reads takes no more memory
 * than the result would. A product of depth one is left: there are kernels for those which only write. */
static bool may_wait(const tn_graph *g, int k, int i)
{
    const tn_gnode *n = &g->n[k];
    const bool thin = n->op == TN_OP_LINEAR_DX && g->t[n->in[0]].cols == 1;
    if (thin || n->layer != g->n[i].layer || n->out[1] >= 0 || n->out[2] >= 0) return false;
    return kept_longer(g, k, i) <= tn_gtensor_bytes(&g->t[n->out[0]]);
}

/* Node i adds `part` to `base` and is the only one to read `part`, which a node before it makes and could as well have
 * added to `base` at once, or late, where node i stands: is base there by then, and does nobody else read it later, or that node
 * itself? */
static bool could_add(const tn_graph *g, int i, int base, int part, bool late, int *maker)
{
    if (base == part || g->t[base].kind != TN_G_ACT || g->t[part].kind != TN_G_ACT) return false;
    const int k = *maker = tn_graph_writer(g, part), from = tn_graph_writer(g, base);
    if (k < 0 || from < 0 || (late ? from <= k : from >= k) || g->n[k].out[0] != part || g->n[k].onto >= 0) return false;
    if (!(tn_operations[g->n[k].op].flags & TN_OPERATION_ADDS) || tn_graph_readers(g, part, NULL) != 1) return false;
    if (late && !may_wait(g, k, i)) return false;
    for (int j = late ? i : k; j < g->n_n; j++)
        if (j != i && tn_node_reads(&g->n[j], base)) return false;
    return true;
}

/* Node k comes to stand where the later node i does, and those between them a place earlier. */
static void put_off(tn_graph *g, int k, int i)
{
    const tn_gnode n = g->n[k];
    memmove(&g->n[k], &g->n[k + 1], sizeof n * (size_t)(i - k));
    g->n[i] = n;
}

/* Turns the addition of node i into an accumulation by the node that makes one of its terms. */
static bool fold_add(tn_graph *g, int i)
{
    const int a = g->n[i].in[0], b = g->n[i].in[1], sum = g->n[i].out[0];
    for (int way = 0; way < 4; way++) {
        const int base = way % 2 ? b : a, part = way % 2 ? a : b;
        const bool late = way >= 2;
        int maker;
        if (!could_add(g, i, base, part, late, &maker)) continue;
        g->n[maker].onto = base;
        g->n[maker].out[0] = sum;
        if (late) put_off(g, maker, i - 1);
        tn_graph_remove(g, i);
        return true;
    }
    return false;
}

static void fold_adds(tn_graph *g)
{
    for (int i = 0; i < g->n_n; i++)
        if (g->n[i].op == TN_OP_ADD && g->n[i].onto < 0 && fold_add(g, i)) i--;
}

/* May `out` take the place of `in` at node i, which reads it? */
static bool can_take(const tn_graph *g, int i, int in, int out)
{
    int last;
    if (in < 0 || g->t[in].kind != TN_G_ACT || tn_graph_writer(g, in) < 0) return false;
    tn_graph_readers(g, in, &last);
    return last == i && g->t[in].dtype == g->t[out].dtype && tn_gtensor_bytes(&g->t[in]) == tn_gtensor_bytes(&g->t[out]);
}

/* What only works in place gets a copy of an input that is still wanted. */
static void add_copies(tn_graph *g)
{
    for (int i = 0; i < g->n_n; i++) {
        if (!(tn_operations[g->n[i].op].flags & TN_OPERATION_IN_PLACE)) continue;
        const int in = g->n[i].in[0];
        if (can_take(g, i, in, g->n[i].out[0])) continue;
        const tn_gtensor t = g->t[in];
        const int copy = tn_graph_tensor(g, TN_G_ACT, t.dtype, t.rows, t.cols, t.name);
        tn_gnode *c = tn_graph_insert(g, TN_OP_COPY, i);
        c->in[0] = in, c->out[0] = copy;
        g->n[++i].in[0] = copy;
    }
}

/* The input whose storage node i's first output takes, or -1. */
static int taken_by(const tn_graph *g, int i, bool share)
{
    const tn_gnode *n = &g->n[i];
    const tn_operation *op = &tn_operations[n->op];
    if (n->onto >= 0) return n->onto;
    if (op->flags & TN_OPERATION_IN_PLACE) return n->in[0];
    if (!share || n->out[0] < 0 || g->t[n->out[0]].kind != TN_G_ACT) return -1;
    for (int k = 0; k < TN_NODE_IN; k++)
        if ((op->overwrites >> k & 1) && can_take(g, i, n->in[k], n->out[0])) return n->in[k];
    return -1;
}

int tn_graph_merge(tn_graph *g, bool share, tn_error *err)
{
    TN_TRY(tn_graph_check(g, err));
    if (share) fold_adds(g);
    add_copies(g);
    if (g->oom) return tn_oom(err);
    for (int i = 0; i < g->n_n; i++) {
        const int from = taken_by(g, i, share);
        if (from >= 0) g->t[g->n[i].out[0]].storage = g->t[from].storage;
    }
    return tn_graph_check(g, err);
}
