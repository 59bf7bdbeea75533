/* Operations that a product can end with become part of its node: graph in, graph out, on the finished list. Every rule looks for
 * a tensor that one node makes and one other reads; a tensor that somebody else reads too is kept where the node can keep it
 * (an activation's input), and else the nodes stay as they are. */
#include "graph.h"

#include <stdlib.h>
#include <string.h>

/* Few rows are multiplied with a quantised matrix as it lies (tn_qgemv), which ends with a bias alone. */
static bool is_large(const tn_graph *g, int t)
{
    return g->t[t].rows > TN_FEW_ROWS;
}

/* A product of one part that ends with nothing yet: parts are not always multiplied at once. */
static bool is_plain(const tn_gnode *n)
{
    return n->n_parts == 1 && !n->a.linear.act && n->in[2] < 0;
}

/* The node that applies an activation to t in the forward pass or in its repetition, or -1. */
static int activation_of(const tn_graph *g, int t)
{
    for (int i = 0; i < g->n_n; i++)
        if (g->n[i].op == TN_OP_ACT && g->n[i].in[0] == t) return i;
    return -1;
}

/* y = act(x W^T + b): y's input is kept beside it where the backward pass reads it. */
static bool fuse_act(tn_graph *g, int i)
{
    tn_gnode *n = &g->n[i];
    const int u = n->out[0], k = activation_of(g, u);
    if (k < 0 || g->t[u].kind != TN_G_ACT || !is_plain(n) || !is_large(g, u) || g->t[u].dtype != g->t[g->n[k].out[0]].dtype)
        return false;
    const bool kept = tn_graph_readers(g, u, NULL) > 1;
    n->a.linear.act = true;
    n->a.linear.fn = g->n[k].a.act.fn;
    n->out[0] = g->n[k].out[0];
    n->out[1] = kept ? u : -1;
    tn_graph_remove(g, k);
    return true;
}

/* y = act(norm(x)), likewise. */
static bool fuse_norm_act(tn_graph *g, int i)
{
    tn_gnode *n = &g->n[i];
    const int u = n->out[0], k = activation_of(g, u);
    if (k < 0 || g->t[u].kind != TN_G_ACT || n->a.norm2d.act || g->t[u].dtype != g->t[g->n[k].out[0]].dtype) return false;
    const bool kept = tn_graph_readers(g, u, NULL) > 1;
    n->a.norm2d.act = true;
    n->a.norm2d.fn = g->n[k].a.act.fn;
    n->out[0] = g->n[k].out[0];
    n->out[2] = kept ? u : -1;
    tn_graph_remove(g, k);
    return true;
}

/* Node i, changed to `n`, takes the place of node k that came to read it: what k read besides may be made between them. */
static void replace(tn_graph *g, int i, int k, const tn_gnode *n)
{
    g->n[k] = *n;
    tn_graph_remove(g, i);
}

/* o = x + w0 * (y W^T + b), where nobody else wants the product. */
static bool fuse_residual(tn_graph *g, int i)
{
    tn_gnode n = g->n[i];
    const int y = n.out[0], k = tn_graph_only_reader(g, y);
    if (k < 0 || g->n[k].op != TN_OP_RESIDUAL || g->n[k].in[1] != y || g->n[k].in[0] == y || !is_plain(&n) || !is_large(g, y))
        return false;
    if (g->t[g->n[k].in[0]].dtype != g->t[y].dtype) return false;
    n.in[2] = g->n[k].in[0];
    n.w[0] = g->n[k].w[0];
    n.out[0] = g->n[k].out[0];
    replace(g, i, k, &n);
    return true;
}

/* qkv = rope(x W^T + b). */
static bool fuse_turn(tn_graph *g, int i)
{
    tn_gnode n = g->n[i];
    const int y = n.out[0], k = tn_graph_only_reader(g, y);
    if (k < 0 || g->n[k].op != TN_OP_ROPE || n.n_parts != TN_NODE_PARTS || !is_large(g, y)) return false;
    n.in[3] = g->n[k].in[1];
    n.a.linear.heads = g->n[k].a.rope.heads;
    n.a.linear.skip = g->n[k].a.rope.skip;
    n.out[0] = g->n[k].out[0];
    replace(g, i, k, &n);
    return true;
}

/* dqkv = rope_back(attention_back). */
static bool fuse_turn_back(tn_graph *g, int i)
{
    tn_gnode n = g->n[i];
    const int k = tn_graph_only_reader(g, n.out[0]);
    if (k < 0 || g->n[k].op != TN_OP_ROPE_BACK) return false;
    n.in[4] = g->n[k].in[1];
    n.a.attention_back = g->n[k].a.rope_back;
    n.out[0] = g->n[k].out[0];
    replace(g, i, k, &n);
    return true;
}

/* Do both nodes stand for the same adapters? */
static bool same_parts(const tn_gnode *a, const tn_gnode *b)
{
    bool same = a->n_parts == b->n_parts;
    for (int p = 0; same && p < a->n_parts; p++) same = a->part[p].a == b->part[p].a;
    return same;
}

/* The sum of a linear layer's gradient and of its adapters': one node reads dy and dt. */
static bool fuse_adapters(tn_graph *g, int i)
{
    tn_gnode n = g->n[i];
    const int d = n.out[0], sum = tn_graph_only_reader(g, d);
    if (n.in[1] >= 0 || sum < 0 || g->n[sum].op != TN_OP_ADD || !is_large(g, d)) return false;
    const int other = g->n[sum].in[g->n[sum].in[0] == d], k = tn_graph_writer(g, other);
    if (k < 0 || g->n[k].op != TN_OP_LINEAR_T_DX || tn_graph_only_reader(g, other) != sum || !same_parts(&n, &g->n[k]))
        return false;
    n.in[1] = g->n[k].in[0];
    n.a.linear_dx.adapters = g->n[k].a.linear_t_dx;
    n.out[0] = g->n[sum].out[0];
    g->n[sum] = n;
    tn_graph_remove(g, TN_MAX(i, k));
    tn_graph_remove(g, TN_MIN(i, k));
    return true;
}

/* dx * act'(u) at the product's end. A product of several parts is not always one kernel, and the slope comes last. */
static bool fuse_slope(tn_graph *g, int i)
{
    tn_gnode n = g->n[i];
    const int d = n.out[0], k = tn_graph_only_reader(g, d);
    if (k < 0 || g->n[k].op != TN_OP_ACT_BACK || g->n[k].in[1] != d || n.n_parts > 1 || n.in[2] >= 0 || !is_large(g, d))
        return false;
    const int u = g->n[k].in[0];
    if (g->t[u].dtype != g->t[d].dtype || g->t[d].dtype != g->t[g->n[k].out[0]].dtype) return false;
    n.in[2] = u;
    n.a.linear_dx.fn = g->n[k].a.act_back.fn;
    n.out[0] = g->n[k].out[0];
    replace(g, i, k, &n);
    return true;
}

/* The gradient of what was enlarged, where that is a sum of two that nobody else wants. */
static bool fuse_sum(tn_graph *g, int i)
{
    tn_gnode n = g->n[i];
    const int sum = n.out[0], k = tn_graph_only_reader(g, sum);
    if (k < 0 || g->n[k].op != TN_OP_BILINEAR_BACK || g->n[k].in[1] >= 0 || g->n[k].layer != n.layer) return false;
    for (int x = 0; x < 2; x++)
        if (tn_graph_only_reader(g, n.in[x]) != i || g->t[n.in[x]].dtype != g->t[sum].dtype || n.in[0] == n.in[1]) return false;
    g->n[k].in[0] = n.in[0];
    g->n[k].in[1] = n.in[1];
    tn_graph_remove(g, i);
    return true;
}

/* t = dropout(y) A^T of a norm's y. What a recomputed norm makes is read by no such product: t is kept. */
static bool fuse_t(tn_graph *g, int i)
{
    tn_gnode *n = &g->n[i];
    for (int k = i + 1; n->out[2] < 0 && is_large(g, n->out[0]) && k < g->n_n; k++) {
        const tn_gnode *t = &g->n[k];
        if (t->op != TN_OP_LINEAR_T || t->in[0] != n->out[0] || t->layer != n->layer) continue;
        n->a.layernorm.adapters = t->a.linear_t;
        n->n_parts = t->n_parts;
        memcpy(n->part, t->part, sizeof n->part);
        n->out[2] = t->out[0];
        tn_graph_remove(g, k);
        return true;
    }
    return false;
}

static bool fuse_at(tn_graph *g, int i)
{
    if (g->n[i].op == TN_OP_LAYERNORM) return fuse_t(g, i);
    if (g->n[i].op == TN_OP_LINEAR) return fuse_act(g, i) || fuse_residual(g, i) || fuse_turn(g, i);
    if (g->n[i].op == TN_OP_NORM2D) return fuse_norm_act(g, i);
    if (g->n[i].op == TN_OP_ADD) return fuse_sum(g, i);
    if (g->n[i].op == TN_OP_ATTENTION_BACK) return fuse_turn_back(g, i);
    if (g->n[i].op == TN_OP_LINEAR_BY_DX) return fuse_slope(g, i);
    return g->n[i].op == TN_OP_LINEAR_DX && (fuse_adapters(g, i) || fuse_slope(g, i));
}

static bool on_one_device(const tn_graph *g, const tn_gnode *a, const tn_gnode *b)
{
    return !g->stage_of || g->stage_of[a->layer] == g->stage_of[b->layer];
}

/* dx, and w1 * dx beside it for the branch that was scaled. Where the scaling took dx's own storage, dx goes: nothing to spare. */
static void fuse_scaled(tn_graph *g, int i)
{
    for (int k = i + 1; k < g->n_n; k++) {
        const tn_gnode s = g->n[k];
        if (s.op != TN_OP_SCALE_COLS || s.in[0] != g->n[i].out[0]) continue;
        if (g->t[s.out[0]].storage != s.out[0] || g->t[s.out[0]].dtype != g->t[s.in[0]].dtype) return;
        if (!on_one_device(g, &g->n[i], &s)) return; /* the scale lies where the branch does */
        g->n[i].w[1] = s.w[0];
        g->n[i].out[1] = s.out[0];
        tn_graph_remove(g, k);
        return;
    }
}

/* dt = scale * dy B of the branch below, which reads what the norm's gradient wrote for it. */
static void fuse_dt(tn_graph *g, int i)
{
    tn_gnode *n = &g->n[i];
    const int dy = n->out[1] >= 0 ? n->out[1] : n->out[0];
    for (int k = i + 1; k < g->n_n; k++) {
        const tn_gnode d = g->n[k];
        if (d.op != TN_OP_LINEAR_DT || d.in[0] != dy) continue;
        if (d.n_parts != 1 || !is_large(g, dy) || g->t[d.out[0]].storage != d.out[0] || !on_one_device(g, n, &d)) return;
        n->n_parts = 1;
        n->part[0].b = d.part[0].b, n->part[0].cols = d.part[0].cols, n->part[0].r = d.part[0].r;
        n->part[0].scale = d.part[0].scale; /* no weight: what streams is not wanted yet */
        n->out[2] = d.out[0];
        tn_graph_remove(g, k);
        return;
    }
}

int tn_graph_fuse_merged(tn_graph *g, tn_error *err)
{
    for (int i = 0; i < g->n_n; i++) {
        if (g->n[i].op != TN_OP_LAYERNORM_DX) continue;
        fuse_scaled(g, i);
        fuse_dt(g, i);
    }
    return tn_graph_check(g, err);
}

/* What is kept for its slope alone: the slope is kept, which is computed beside the activation. */
static void keep_slope(tn_graph *g, int i)
{
    tn_gnode *n = &g->n[i];
    const bool linear = n->op == TN_OP_LINEAR && n->a.linear.act, norm = n->op == TN_OP_NORM2D && n->a.norm2d.act;
    const int u = linear ? n->out[1] : norm ? n->out[2] : -1, k = u >= 0 ? tn_graph_only_reader(g, u) : -1;
    if (k < 0 || (g->n[k].op != TN_OP_LINEAR_DX && g->n[k].op != TN_OP_LINEAR_BY_DX) || g->n[k].in[2] != u) return;
    if (linear) n->a.linear.keeps_slope = true;
    else n->a.norm2d.keeps_slope = true;
    g->n[k].a.linear_dx.slope_kept = true;
}

int tn_graph_fuse(tn_graph *g, tn_error *err)
{
    for (int i = 0; i < g->n_n; i++)
        if (fuse_at(g, i)) i = TN_MAX(i - 3, -1); /* nodes up to here have gone, moved, or have more to take */
    for (int i = 0; i < g->n_n; i++) keep_slope(g, i);
    return tn_graph_check(g, err);
}

/* Gradients of nothing but adapters write slots alone: nobody in the pass waits for them. */
static bool can_wait(const tn_gnode *n)
{
    return n->op == TN_OP_LINEAR_T_GRAD || (n->op == TN_OP_LINEAR_GRAD && n->in[0] < 0 && n->in[2] >= 0);
}

int tn_graph_gather(tn_graph *g, tn_error *err)
{
    tn_gnode *late = malloc(sizeof *late * (size_t)TN_MAX(g->n_n, 1));
    if (!late) return tn_oom(err);
    for (int i = g->n_forward, end; i < g->n_n; i = end) {
        int to = i, n = 0;
        for (end = i; end < g->n_n && g->n[end].layer == g->n[i].layer; end++) {
            if (can_wait(&g->n[end])) late[n++] = g->n[end];
            else g->n[to++] = g->n[end];
        }
        memcpy(g->n + to, late, sizeof *late * (size_t)n);
    }
    free(late);
    return tn_graph_check(g, err);
}
