/* The backward rules of the operations, and what they are made of. Every contribution to a gradient is a tensor of its own; the
 * second and later ones are added by ADD nodes. A saved activation that the policy says to recompute is made again by cloning the
 * nodes that made it. The rows are reached through tn_autodiff: they name these rules. */
#include "autodiff.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool trains(const tn_autodiff *p, int slot)
{
    return slot >= 0 && p->trained(p->user, slot);
}

static bool needs(const tn_autodiff *p, int t)
{
    return t >= 0 && p->g->t[t].needs_grad;
}

/* The finished gradient of a node's output. */
static int grad_of(const tn_autodiff *p, const tn_gnode *f)
{
    return p->g->t[f->out[0]].grad;
}

/* ---- what the forward pass made: kept or made again ---- */

/* Is t the input of the layer, or of a later one? Then it is kept whatever the policy. */
static bool is_boundary(const tn_graph *g, int t)
{
    for (int i = 0; i < g->n_forward; i++)
        if (g->n[i].layer != g->t[t].layer && tn_node_reads(&g->n[i], t)) return true;
    return false;
}

/* Does the forward pass read t once, in a cheap operation? */
static bool is_activated(const tn_autodiff *p, int t)
{
    int readers = 0, cheap = 0;
    for (int i = 0; i < p->g->n_forward; i++) {
        if (!tn_node_reads(&p->g->n[i], t)) continue;
        readers++;
        cheap += p->rows[p->g->n[i].op].again == TN_AGAIN_CHEAP;
    }
    return readers == 1 && cheap == 1;
}

static bool recomputes(const tn_autodiff *p, int t)
{
    const tn_graph *g = p->g;
    const tn_recompute level = g->layers[g->t[t].layer].recompute;
    const int at = tn_graph_writer(g, t);
    if (!level || at < 0 || g->t[t].kind != TN_G_ACT || is_boundary(g, t)) return false;
    switch (p->rows[g->n[at].op].again) {
    case TN_AGAIN_NEVER: return false;
    case TN_AGAIN_CHEAP: return true;
    case TN_AGAIN_DEAR: return level >= TN_RECOMPUTE_PRODUCTS || (level == TN_RECOMPUTE_ACTIVATED && is_activated(p, t));
    case TN_AGAIN_DEAREST: return level == TN_RECOMPUTE_ALL;
    }
    return false;
}

static int autodiff_copy_of(tn_graph *g, int t)
{
    if (t < 0) return -1;
    if (g->t[t].clone < 0) {
        const tn_gtensor o = g->t[t];
        char name[48];
        snprintf(name, sizeof name, "%.40s.again", o.name);
        const int id = tn_graph_tensor(g, TN_G_ACT, o.dtype, o.rows, o.cols, name);
        g->t[t].clone = id;
    }
    return g->t[t].clone;
}

/* The id under which t can be read now: itself, or a copy whose nodes are emitted here once. */
static int need(tn_autodiff *p, int t)
{
    tn_graph *g = p->g;
    if (t < 0 || !recomputes(p, t)) return t;
    if (g->t[t].clone >= 0) return g->t[t].clone;
    tn_gnode src = g->n[tn_graph_writer(g, t)];
    for (int k = 0; k < TN_NODE_IN; k++) src.in[k] = need(p, src.in[k]);
    for (int k = 0; k < TN_NODE_OUT; k++) src.out[k] = autodiff_copy_of(g, src.out[k]);
    if ((src.op == TN_OP_NORM2D || src.op == TN_OP_NORM2D_FEW) && src.a.norm2d.stats == TN_STATS_TRACKED)
        src.a.norm2d.stats = TN_STATS_OWN;
    tn_gnode *n = tn_graph_node(g, src.op);
    src.layer = g->layer;
    *n = src;
    n->backward = true;
    return g->t[t].clone;
}

/* A small by-product of a node (statistics): the copy's where the node ran again, else what was kept. */
static int by_product(const tn_autodiff *p, int t)
{
    return p->g->t[t].clone >= 0 ? p->g->t[t].clone : t;
}

/* ---- contributions ---- */

static int like_tensor(tn_autodiff *p, int t, const char *prefix)
{
    const tn_gtensor o = p->g->t[t];
    char name[48];
    snprintf(name, sizeof name, "%s%.40s", prefix, o.name);
    return tn_graph_tensor(p->g, TN_G_ACT, o.dtype, o.rows, o.cols, name);
}

/* `part` is one contribution to the gradient of t. */
static void contribute(tn_autodiff *p, int t, int part)
{
    tn_graph *g = p->g;
    if (!needs(p, t)) return;
    const int before = g->t[t].grad;
    if (before < 0) {
        g->t[t].grad = part;
        return;
    }
    const int sum = like_tensor(p, t, "d.sum.");
    tn_gnode *n = tn_graph_node(g, TN_OP_ADD);
    n->in[0] = before, n->in[1] = part, n->out[0] = sum;
    g->t[t].grad = sum;
}

/* The node's output is a contribution to the gradient of t. */
static void gives(tn_autodiff *p, tn_gnode *n, int t)
{
    const int part = n->out[0] = like_tensor(p, t, "d.");
    contribute(p, t, part);
}

/* A node with the forward node's attributes and slots, and up to three inputs. */
static tn_gnode *like(tn_autodiff *p, const tn_gnode *f, tn_opcode op, int a, int b, int c)
{
    tn_gnode *n = tn_graph_node(p->g, op);
    memcpy(n->w, f->w, sizeof n->w);
    memcpy(n->part, f->part, sizeof n->part);
    n->n_parts = f->n_parts;
    n->a = f->a;
    n->in[0] = a, n->in[1] = b, n->in[2] = c;
    return n;
}

int tn_autodiff_rule(tn_autodiff *p, int i, tn_error *err)
{
    const int layer = p->g->layer;
    p->done[i] = true;
    p->g->layer = p->g->n[i].layer;
    const int rc = p->rows[p->g->n[i].op].backward(p, i, err);
    p->g->layer = layer;
    return rc;
}

/* Runs the rule of the node that made t now, if every reader of t has given its share. */
static int autodiff_finish(tn_autodiff *p, int t, tn_error *err)
{
    const int at = tn_graph_writer(p->g, t);
    if (at < 0 || p->done[at] || p->g->t[t].grad < 0) return 0;
    for (int i = 0; i < p->g->n_forward; i++)
        if (!p->done[i] && tn_node_reads(&p->g->n[i], t)) return 0;
    return tn_autodiff_rule(p, at, err);
}

/* ---- rules ---- */

TN_DECLARE_BACKWARD(none)
{
    return tn_fail(err, TN_ERR_ARGUMENT, "operation %s has no backward", tn_opcode_name(p->g->n[i].op));
}

TN_DECLARE_BACKWARD(loss)
{
    (void)err;
    contribute(p, p->g->n[i].in[0], p->g->n[i].out[0]);
    return 0;
}

/* The adapters' side goes first: their input is then free before dx needs its room. */
TN_DECLARE_BACKWARD(linear)
{
    const tn_gnode f = p->g->n[i];
    const int dy = grad_of(p, &f), t = f.in[1];
    bool weight = false, bias = false, b = false;
    for (int k = 0; k < f.n_parts; k++) {
        weight |= trains(p, f.part[k].w);
        bias |= trains(p, f.part[k].bias);
        b |= t >= 0 && trains(p, f.part[k].b);
    }
    if (needs(p, t)) gives(p, like(p, &f, TN_OP_LINEAR_DT, dy, -1, -1), t);
    if (weight || bias || b) {
        const int x = weight ? need(p, f.in[0]) : -1, saved = b ? need(p, t) : -1;
        like(p, &f, TN_OP_LINEAR_GRAD, x, dy, saved);
    }
    if (t >= 0) TN_TRY(autodiff_finish(p, t, err));
    if (needs(p, f.in[0])) gives(p, like(p, &f, TN_OP_LINEAR_DX, dy, -1, -1), f.in[0]);
    return 0;
}

TN_DECLARE_BACKWARD(linear_t)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    const int dt = grad_of(p, &f);
    bool a = false;
    for (int k = 0; k < f.n_parts; k++) a |= trains(p, f.part[k].a);
    if (a) {
        const int x = need(p, f.in[0]);
        like(p, &f, TN_OP_LINEAR_T_GRAD, x, dt, -1);
    }
    if (needs(p, f.in[0])) gives(p, like(p, &f, TN_OP_LINEAR_T_DX, dt, -1, -1), f.in[0]);
    return 0;
}

TN_DECLARE_BACKWARD(positions)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    if (trains(p, f.w[0])) like(p, &f, TN_OP_POSITIONS_GRAD, f.in[0], grad_of(p, &f), -1);
    return 0;
}

TN_DECLARE_BACKWARD(tokens)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    const int dx = grad_of(p, &f);
    if (trains(p, f.w[0]) || trains(p, f.w[1]) || needs(p, f.in[1])) {
        tn_gnode *n = like(p, &f, TN_OP_TOKENS_GRAD, dx, -1, -1);
        if (needs(p, f.in[1])) gives(p, n, f.in[1]);
    }
    if (needs(p, f.in[0])) gives(p, like(p, &f, TN_OP_TOKENS_DX, dx, -1, -1), f.in[0]);
    return 0;
}

TN_DECLARE_BACKWARD(layernorm)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    const int dy = grad_of(p, &f), x = need(p, f.in[0]), stats = by_product(p, f.out[1]);
    if (trains(p, f.w[0]) || trains(p, f.w[1])) like(p, &f, TN_OP_LAYERNORM_GRAD, x, stats, dy);
    if (needs(p, f.in[0])) gives(p, like(p, &f, TN_OP_LAYERNORM_DX, x, stats, dy), f.in[0]);
    return 0;
}

TN_DECLARE_BACKWARD(attention)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    const int d_o = grad_of(p, &f), qkv = need(p, f.in[0]), o = need(p, f.out[0]), lse = by_product(p, f.out[1]);
    const int delta = like_tensor(p, f.out[1], "delta.");
    tn_gnode *n = like(p, &f, TN_OP_ATTENTION_BACK, qkv, o, lse);
    n->in[3] = d_o, n->out[1] = delta;
    gives(p, n, f.in[0]);
    return 0;
}

TN_DECLARE_BACKWARD(levels_join)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    const tn_levels *l = &f.a.levels_join;
    for (int k = 0; k < l->n; k++) {
        if (!needs(p, f.in[k])) continue;
        tn_gnode *n = like(p, &f, TN_OP_GRID, grad_of(p, &f), -1, -1);
        n->a.grid = (tn_attr_map){tn_levels_rows(l, k), l->h[k], l->w[k]};
        gives(p, n, f.in[k]);
    }
    return 0;
}

TN_DECLARE_BACKWARD(level_positions)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    if (trains(p, f.w[0])) like(p, &f, TN_OP_LEVEL_GRAD, grad_of(p, &f), -1, -1);
    return 0;
}

TN_DECLARE_BACKWARD(add_positions)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    if (needs(p, f.in[1])) gives(p, like(p, &f, TN_OP_POSITIONS_SUM, grad_of(p, &f), -1, -1), f.in[1]);
    contribute(p, f.in[0], grad_of(p, &f));
    return 0;
}

TN_DECLARE_BACKWARD(deform_attention)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    const int d_o = grad_of(p, &f), samples = need(p, f.in[1]);
    if (needs(p, f.in[1])) {
        const int value = need(p, f.in[0]);
        gives(p, like(p, &f, TN_OP_DEFORM_DSAMPLES, value, samples, d_o), f.in[1]);
    }
    if (needs(p, f.in[0])) gives(p, like(p, &f, TN_OP_DEFORM_DVALUE, samples, d_o, -1), f.in[0]);
    return 0;
}

/* The output's gradient is the skip's as it is, and the branch's too where nothing scales it. */
TN_DECLARE_BACKWARD(residual)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    const int d_o = grad_of(p, &f), x = f.in[0], y = f.in[1];
    if (trains(p, f.w[0])) {
        const int saved = need(p, y);
        like(p, &f, TN_OP_SCALE_GRAD, d_o, saved, -1);
    }
    if (needs(p, y) && f.w[0] >= 0) gives(p, like(p, &f, TN_OP_SCALE_COLS, d_o, -1, -1), y);
    else contribute(p, y, d_o);
    contribute(p, x, d_o);
    return 0;
}

/* Operations of one input and a table or nothing else, whose backward reads only dy. */
static int linear_in_x(tn_autodiff *p, int i, tn_opcode op)
{
    const tn_gnode f = p->g->n[i];
    if (needs(p, f.in[0])) gives(p, like(p, &f, op, grad_of(p, &f), f.in[1], -1), f.in[0]);
    return 0;
}

TN_DECLARE_BACKWARD(slots_product)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    if (trains(p, f.w[0]) || trains(p, f.w[1])) like(p, &f, TN_OP_SLOTS_PRODUCT_GRAD, grad_of(p, &f), -1, -1);
    return 0;
}

/* The matrix's gradient is one contribution, in float32. */
TN_DECLARE_BACKWARD(linear_by)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    const int dy = grad_of(p, &f), m = f.in[1];
    if (needs(p, m)) {
        const int x = need(p, f.in[0]), dm = tn_graph_tensor(p->g, TN_G_ACT, TN_F32, p->g->t[m].rows, p->g->t[m].cols, "d.joined");
        tn_gnode *n = like(p, &f, TN_OP_LINEAR_BY_GRAD, x, dy, -1);
        n->out[0] = dm;
        contribute(p, m, dm);
    }
    if (needs(p, f.in[0])) gives(p, like(p, &f, TN_OP_LINEAR_BY_DX, dy, m, -1), f.in[0]);
    contribute(p, f.in[2], dy);
    return 0;
}

TN_DECLARE_BACKWARD(rope)
{
    (void)err;
    return linear_in_x(p, i, TN_OP_ROPE_BACK);
}

TN_DECLARE_BACKWARD(grid)
{
    (void)err;
    return linear_in_x(p, i, TN_OP_GRID_BACK);
}

TN_DECLARE_BACKWARD(bilinear)
{
    (void)err;
    return linear_in_x(p, i, TN_OP_BILINEAR_BACK);
}

TN_DECLARE_BACKWARD(upsample_add)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    const int dy = grad_of(p, &f);
    if (needs(p, f.in[1])) gives(p, like(p, &f, TN_OP_NEAREST_BACK, dy, -1, -1), f.in[1]);
    contribute(p, f.in[0], dy);
    return 0;
}

TN_DECLARE_BACKWARD(dropout)
{
    (void)err;
    return linear_in_x(p, i, TN_OP_DROPOUT_BACK);
}

TN_DECLARE_BACKWARD(dropout2d)
{
    (void)err;
    return linear_in_x(p, i, TN_OP_DROPOUT2D_BACK);
}

TN_DECLARE_BACKWARD(sample_mean)
{
    (void)err;
    return linear_in_x(p, i, TN_OP_SAMPLE_MEAN_BACK);
}

/* Operations of one input whose backward reads it, and writes the gradients of their slots beside its own. */
static int reads_x(tn_autodiff *p, int i, tn_opcode op)
{
    const tn_gnode f = p->g->n[i];
    const int dy = grad_of(p, &f), x = need(p, f.in[0]);
    gives(p, like(p, &f, op, x, dy, -1), f.in[0]);
    return 0;
}

TN_DECLARE_BACKWARD(act)
{
    (void)err;
    return reads_x(p, i, TN_OP_ACT_BACK);
}

TN_DECLARE_BACKWARD(glu)
{
    (void)err;
    return reads_x(p, i, TN_OP_GLU_BACK);
}

/* Both gradients are one node where the weight is trained: what reads dy once can make both. */
TN_DECLARE_BACKWARD(conv)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    const int dy = grad_of(p, &f);
    const bool weight = trains(p, f.w[0]), wanted = needs(p, f.in[0]);
    if (weight || trains(p, f.w[1])) {
        const int x = weight ? need(p, f.in[0]) : -1;
        tn_gnode *n = like(p, &f, TN_OP_CONV_GRAD, x, dy, -1);
        if (weight && wanted) gives(p, n, f.in[0]);
    }
    if (!weight && wanted) gives(p, like(p, &f, TN_OP_CONV_DX, dy, -1, -1), f.in[0]);
    return 0;
}

TN_DECLARE_BACKWARD(affine_rows)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    tn_gnode *n = like(p, &f, TN_OP_AFFINE_ROWS_BACK, f.in[0], grad_of(p, &f), -1);
    if (needs(p, f.in[0])) gives(p, n, f.in[0]);
    return 0;
}

/* dy is spread over the kernels' places once for both. */
TN_DECLARE_BACKWARD(conv_few)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    const int dy = grad_of(p, &f), x = needs(p, f.in[1]) ? need(p, f.in[0]) : -1;
    const int dx = needs(p, f.in[0]) ? like_tensor(p, f.in[0], "d.") : -1;
    const int drows = x >= 0 ? like_tensor(p, f.in[1], "d.") : -1;
    tn_gnode *n = like(p, &f, TN_OP_CONV_FEW_BACK, x, f.in[1], dy);
    n->out[0] = dx, n->out[1] = drows;
    contribute(p, f.in[0], dx);
    contribute(p, f.in[1], drows);
    return 0;
}

/* The same, of those that read statistics too. */
static int reads_stats(tn_autodiff *p, int i, tn_opcode op)
{
    const tn_gnode f = p->g->n[i];
    const int dy = grad_of(p, &f), x = need(p, f.in[0]), stats = by_product(p, f.out[1]);
    gives(p, like(p, &f, op, x, stats, dy), f.in[0]);
    return 0;
}

TN_DECLARE_BACKWARD(adapt)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    const int dy = grad_of(p, &f), t = f.in[1];
    if (trains(p, f.part[0].b)) {
        const int saved = need(p, t);
        like(p, &f, TN_OP_ADAPT_GRAD, saved, dy, -1);
    }
    if (needs(p, t)) gives(p, like(p, &f, TN_OP_ADAPT_DT, dy, -1, -1), t);
    contribute(p, f.in[0], dy);
    return 0;
}

static int check_stats(const tn_attr_norm2d *a, tn_error *err)
{
    if (a->stats != TN_STATS_RUNNING) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "a normalisation by running statistics has no backward");
}

TN_DECLARE_BACKWARD(norm2d)
{
    TN_TRY(check_stats(&p->g->n[i].a.norm2d, err));
    return reads_stats(p, i, TN_OP_NORM2D_BACK);
}

TN_DECLARE_BACKWARD(norm2d_few)
{
    const tn_gnode f = p->g->n[i];
    TN_TRY(check_stats(&f.a.norm2d_few, err));
    const int dy = grad_of(p, &f), x = need(p, f.in[0]), stats = by_product(p, f.out[1]);
    const int drows = needs(p, f.in[1]) ? like_tensor(p, f.in[1], "d.") : -1;
    tn_gnode *n = like(p, &f, TN_OP_NORM2D_FEW_BACK, x, stats, f.in[1]);
    n->in[3] = dy, n->out[1] = drows;
    gives(p, n, f.in[0]);
    contribute(p, f.in[1], drows);
    return 0;
}

TN_DECLARE_BACKWARD(grn)
{
    (void)err;
    return reads_stats(p, i, TN_OP_GRN_BACK);
}

TN_DECLARE_BACKWARD(scale_channels)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    const int dy = grad_of(p, &f);
    if (needs(p, f.in[1])) {
        const int x = need(p, f.in[0]);
        gives(p, like(p, &f, TN_OP_SCALE_CHANNELS_DZ, x, dy, -1), f.in[1]);
    }
    if (needs(p, f.in[0])) {
        const int z = need(p, f.in[1]);
        gives(p, like(p, &f, TN_OP_SCALE_CHANNELS_DX, dy, z, -1), f.in[0]);
    }
    return 0;
}

TN_DECLARE_BACKWARD(dora)
{
    (void)err;
    const tn_gnode f = p->g->n[i];
    const int dy = grad_of(p, &f);
    bool magnitude = false, bias = false;
    for (int k = 0; k < f.n_parts; k++) {
        magnitude |= trains(p, f.part[k].m);
        bias |= trains(p, f.part[k].bias);
    }
    if (magnitude || bias) {
        const int u = magnitude ? need(p, f.in[0]) : -1;
        like(p, &f, TN_OP_DORA_GRAD, dy, u, f.in[3]);
    }
    if (needs(p, f.in[0])) gives(p, like(p, &f, TN_OP_DORA_DU, dy, f.in[1], -1), f.in[0]);
    contribute(p, f.in[2], dy);
    return 0;
}
