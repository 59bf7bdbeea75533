/* The backward pass, emitted from the forward list read in reverse. Nothing is emitted that nobody needs: a tensor
 * without a trainable slot above it gets no gradient, and a saved activation that the policy says to recompute is
 * made again by cloning the nodes that made it. */
#include "graph.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    tn_graph *g;
    tn_trainable_fn trained;
    const void *user;
} pass;

static bool trains(const pass *p, int slot)
{
    return slot >= 0 && p->trained(p->user, slot);
}

static bool is_cheap(tn_opcode op)
{
    return op == TN_OP_LAYERNORM || op == TN_OP_ACT || op == TN_OP_GLU || op == TN_OP_NORM2D || op == TN_OP_DROPOUT2D;
}

static bool writes(const tn_gnode *n, int t)
{
    return n->out[0] == t || n->out[1] == t;
}

/* Is t the input of the layer, or of a later one? Then it is kept whatever the policy. */
static bool is_boundary(const tn_graph *g, int t)
{
    for (int i = 0; i < g->n_forward; i++)
        for (int k = 0; k < TN_NODE_IN; k++)
            if (g->n[i].in[k] == t && g->n[i].layer != g->t[t].layer) return true;
    return false;
}

static bool recomputes(const tn_graph *g, int t)
{
    int level = g->layers[g->t[t].layer].recompute;
    if (!level || g->t[t].kind != TN_G_ACT || is_boundary(g, t)) return false;
    for (int i = 0; i < g->n_forward; i++)
        if (writes(&g->n[i], t) && !(level == 2 || is_cheap(g->n[i].op))) return false;
    return true;
}

static int copy_of(tn_graph *g, int t)
{
    if (g->t[t].clone < 0) {
        tn_gtensor o = g->t[t];
        char name[48];
        snprintf(name, sizeof name, "%.40s.again", o.name);
        int id = tn_graph_tensor(g, TN_G_ACT, o.dtype, o.rows, o.cols, name);
        g->t[t].clone = id;
    }
    return g->t[t].clone;
}

/* The id under which t can be read now: itself, or a copy whose nodes are emitted here once. */
static int need(pass *p, int t)
{
    tn_graph *g = p->g;
    if (t < 0 || !recomputes(g, t)) return t;
    if (g->t[t].clone >= 0) return g->t[t].clone;
    const int layer = g->layer, count = g->n_forward;
    const int copy = copy_of(g, t);
    for (int i = 0; i < count; i++) {
        if (!writes(&g->n[i], t)) continue;
        tn_gnode src = g->n[i];
        for (int k = 0; k < TN_NODE_IN; k++)
            if (src.in[k] >= 0) src.in[k] = src.in[k] == t ? copy : need(p, src.in[k]);
        for (int k = 0; k < TN_NODE_OUT; k++)
            if (src.out[k] >= 0) src.out[k] = copy_of(g, src.out[k]);
        if (src.op == TN_OP_NORM2D) src.i[2] = 0; /* running statistics were already updated */
        tn_gnode *n = tn_graph_node(g, src.op);
        *n = src;
        n->backward = true;
    }
    g->layer = layer;
    return copy;
}

/* Where the gradient of t is to be written; *accumulate says whether something is there already. */
static int grad_of(pass *p, int t, bool *accumulate)
{
    tn_graph *g = p->g;
    *accumulate = g->t[t].grad >= 0;
    if (!*accumulate) {
        tn_gtensor o = g->t[t];
        char name[48];
        snprintf(name, sizeof name, "d.%.44s", o.name);
        int id = tn_graph_tensor(g, TN_G_ACT, o.dtype, o.rows, o.cols, name);
        g->t[t].grad = id;
    }
    return g->t[t].grad;
}

/* For operations that cannot add: writes to a fresh tensor and adds it. Returns the tensor to write. */
static int begin_grad(pass *p, int t, bool *accumulate)
{
    int id = grad_of(p, t, accumulate);
    if (!*accumulate) return id;
    tn_gtensor o = p->g->t[t];
    return tn_graph_tensor(p->g, TN_G_ACT, o.dtype, o.rows, o.cols, "d.part");
}

static void end_grad(pass *p, int t, int written, bool accumulate)
{
    if (!accumulate) return;
    tn_gnode *n = tn_graph_node(p->g, TN_OP_ADD_INTO);
    n->in[0] = written;
    n->out[0] = p->g->t[t].grad;
}

/* A node with the forward node's attributes and slots. */
static tn_gnode *like(pass *p, const tn_gnode *f, tn_opcode op)
{
    tn_gnode src = *f;
    tn_gnode *n = tn_graph_node(p->g, op);
    memcpy(n->w, src.w, sizeof n->w);
    memcpy(n->part, src.part, sizeof n->part);
    memcpy(n->f, src.f, sizeof n->f);
    memcpy(n->i, src.i, sizeof n->i);
    n->n_parts = src.n_parts;
    return n;
}

static void linear_back(pass *p, const tn_gnode *f)
{
    tn_graph *g = p->g;
    const int dy = g->t[f->out[0]].grad;
    const bool want_dx = g->t[f->in[0]].needs_grad;
    int rank = 0;
    bool lora = false, dense = false;
    for (int i = 0; i < f->n_parts; i++) {
        rank += f->part[i].a >= 0 ? f->part[i].r : 0;
        lora |= trains(p, f->part[i].a);
        dense |= trains(p, f->part[i].w) || trains(p, f->part[i].bias);
    }
    int dt = -1;
    if (rank && (lora || want_dx)) {
        tn_gtensor y = g->t[f->out[0]];
        dt = tn_graph_tensor(g, TN_G_ACT, y.dtype, y.rows, rank, "d.lora");
        tn_gnode *n = like(p, f, TN_OP_LINEAR_DT);
        n->in[0] = dy;
        n->out[0] = dt;
    }
    if (lora || dense) {
        bool reads_x = lora;
        for (int i = 0; i < f->n_parts; i++) reads_x |= trains(p, f->part[i].w);
        int x = reads_x ? need(p, f->in[0]) : -1, t = lora ? need(p, f->out[1]) : -1;
        tn_gnode *n = like(p, f, TN_OP_LINEAR_GRAD);
        n->in[0] = x;
        n->in[1] = dy;
        n->in[2] = t;
        n->in[3] = dt;
    }
    if (want_dx) {
        bool acc;
        int dx = grad_of(p, f->in[0], &acc);
        tn_gnode *n = like(p, f, TN_OP_LINEAR_DX);
        n->in[0] = dy;
        n->in[1] = dt;
        n->out[0] = dx;
        n->accumulate = acc;
    }
}

static void tokens_back(pass *p, const tn_gnode *f)
{
    tn_graph *g = p->g;
    const int dx = g->t[f->out[0]].grad;
    const bool want_pos = f->in[1] >= 0 && g->t[f->in[1]].needs_grad;
    if (trains(p, f->w[0]) || trains(p, f->w[1]) || want_pos) {
        bool acc = false;
        int dpos = want_pos ? grad_of(p, f->in[1], &acc) : -1;
        tn_gnode *n = like(p, f, TN_OP_TOKENS_GRAD);
        n->in[0] = dx;
        n->out[0] = dpos;
    }
    if (g->t[f->in[0]].needs_grad) {
        bool acc;
        int dp = grad_of(p, f->in[0], &acc);
        tn_gnode *n = like(p, f, TN_OP_TOKENS_DX);
        n->in[0] = dx;
        n->out[0] = dp;
        n->i[0] = 1 + f->i[0];
    }
}

static void layernorm_back(pass *p, const tn_gnode *f)
{
    tn_graph *g = p->g;
    const int dy = g->t[f->out[0]].grad, x = need(p, f->in[0]);
    int stats = g->t[f->out[1]].clone >= 0 ? g->t[f->out[1]].clone : f->out[1];
    if (trains(p, f->w[0])) {
        tn_gnode *n = like(p, f, TN_OP_LAYERNORM_GRAD);
        n->in[0] = x, n->in[1] = stats, n->in[2] = dy;
    }
    if (!g->t[f->in[0]].needs_grad) return;
    bool acc;
    int dx = grad_of(p, f->in[0], &acc);
    tn_gnode *n = like(p, f, TN_OP_LAYERNORM_DX);
    n->in[0] = x, n->in[1] = stats, n->in[2] = dy;
    n->out[0] = dx;
    n->accumulate = acc;
}

static void attention_back(pass *p, const tn_gnode *f)
{
    tn_graph *g = p->g;
    const int d_o = g->t[f->out[0]].grad;
    const int qkv = need(p, f->in[0]), o = need(p, f->out[0]), lse = need(p, f->out[1]);
    bool acc;
    const int dqkv = grad_of(p, f->in[0], &acc);
    const int delta = tn_graph_tensor(g, TN_G_ACT, TN_F32, g->t[f->out[1]].rows, g->t[f->out[1]].cols, "delta");
    tn_gnode *n = like(p, f, TN_OP_ATTENTION_BACK);
    n->in[0] = qkv, n->in[1] = o, n->in[2] = lse, n->in[3] = d_o;
    n->out[0] = dqkv, n->out[1] = delta;
}

/* The skip's gradient is the output's own buffer: later additions land in it after the branch has read it. */
static void residual_back(pass *p, const tn_gnode *f)
{
    tn_graph *g = p->g;
    const int d_o = g->t[f->out[0]].grad, x = f->in[0], y = f->in[1];
    if (trains(p, f->w[0])) {
        int saved = need(p, y);
        tn_gnode *n = like(p, f, TN_OP_SCALE_GRAD);
        n->in[0] = d_o, n->in[1] = saved;
    }
    if (g->t[y].needs_grad) {
        if (f->w[0] >= 0) {
            bool acc;
            int dy = grad_of(p, y, &acc);
            tn_gnode *n = like(p, f, TN_OP_SCALE_COLS);
            n->in[0] = d_o, n->out[0] = dy;
        } else {
            g->t[y].grad = d_o;
        }
    }
    if (!g->t[x].needs_grad) return;
    if (g->t[x].grad < 0) {
        g->t[x].grad = d_o;
    } else {
        tn_gnode *n = tn_graph_node(g, TN_OP_ADD_INTO);
        n->in[0] = d_o, n->out[0] = g->t[x].grad;
    }
}

/* Operations of one input whose backward reads at most (x, stats) and cannot add. */
static void simple_back(pass *p, const tn_gnode *f, tn_opcode op, bool reads_x, bool reads_stats)
{
    tn_graph *g = p->g;
    const int dy = g->t[f->out[0]].grad;
    const bool slots = trains(p, f->w[0]);
    if (!g->t[f->in[0]].needs_grad && !slots) return;
    const int x = reads_x ? need(p, f->in[0]) : -1;
    const int stats = !reads_stats ? -1 : need(p, f->out[1]);
    bool acc;
    const int dx = begin_grad(p, f->in[0], &acc);
    tn_gnode *n = like(p, f, op);
    int k = 0;
    if (x >= 0) n->in[k++] = x;
    if (stats >= 0) n->in[k++] = stats;
    n->in[k] = dy;
    n->out[0] = dx;
    end_grad(p, f->in[0], dx, acc);
}

/* Element-wise: the gradient of the output becomes that of the input in its own buffer. */
static void act_back(pass *p, const tn_gnode *f)
{
    tn_graph *g = p->g;
    const int dy = g->t[f->out[0]].grad, x = need(p, f->in[0]);
    const bool fresh = g->t[f->in[0]].grad < 0;
    const int dx = fresh ? dy : tn_graph_tensor(g, TN_G_ACT, g->t[dy].dtype, g->t[dy].rows, g->t[dy].cols, "d.part");
    tn_gnode *n = like(p, f, TN_OP_ACT_BACK);
    n->in[0] = x, n->in[1] = dy, n->out[0] = dx;
    if (fresh) g->t[f->in[0]].grad = dy;
    else end_grad(p, f->in[0], dx, true);
}

static void scale_channels_back(pass *p, const tn_gnode *f)
{
    tn_graph *g = p->g;
    const int dy = g->t[f->out[0]].grad, x = need(p, f->in[0]), z = need(p, f->in[1]);
    bool acc, acc_z;
    const int dx = begin_grad(p, f->in[0], &acc), dz = grad_of(p, f->in[1], &acc_z);
    tn_gnode *n = like(p, f, TN_OP_SCALE_CHANNELS_BACK);
    n->in[0] = x, n->in[1] = z, n->in[2] = dy;
    n->out[0] = dx, n->out[1] = dz;
    end_grad(p, f->in[0], dx, acc);
}

static void dropout_back(pass *p, const tn_gnode *f)
{
    bool acc;
    const int dy = p->g->t[f->out[0]].grad, dx = grad_of(p, f->in[0], &acc);
    tn_gnode *n = like(p, f, TN_OP_DROPOUT_BACK);
    n->in[0] = dy;
    n->out[0] = dx;
    n->accumulate = acc;
}

static void dora_back(pass *p, const tn_gnode *f)
{
    tn_graph *g = p->g;
    const int dy = g->t[f->out[0]].grad;
    bool reads_u = false, any = false;
    for (int i = 0; i < f->n_parts; i++) {
        reads_u |= trains(p, f->part[i].m);
        any |= trains(p, f->part[i].m) || trains(p, f->part[i].bias);
    }
    if (any) {
        const int u = reads_u ? need(p, f->in[0]) : -1, inv = need(p, f->in[3]);
        tn_gnode *n = like(p, f, TN_OP_DORA_GRAD);
        n->in[0] = dy, n->in[1] = u, n->in[2] = inv;
    }
    if (g->t[f->in[0]].needs_grad) {
        bool acc;
        const int scale = need(p, f->in[1]), du = grad_of(p, f->in[0], &acc);
        tn_gnode *n = like(p, f, TN_OP_DORA_DU);
        n->in[0] = dy, n->in[1] = scale, n->out[0] = du;
    }
    if (f->in[2] >= 0 && g->t[f->in[2]].needs_grad) g->t[f->in[2]].grad = dy; /* nobody writes dy again */
}

static void in_place_back(pass *p, const tn_gnode *f, tn_opcode op)
{
    tn_gnode *n = like(p, f, op);
    n->in[0] = n->out[0] = p->g->t[f->out[0]].grad;
    n->in[1] = f->in[1];
}

/* The gradient of a mean is spread over what it was taken from; that gradient is there already (scale_channels). */
static void sample_mean_back(pass *p, const tn_gnode *f)
{
    tn_graph *g = p->g;
    tn_gnode *n = like(p, f, TN_OP_SAMPLE_MEAN_BACK);
    n->in[0] = g->t[f->out[0]].grad;
    n->out[0] = g->t[f->in[0]].grad;
}

static void positions_back(pass *p, const tn_gnode *f)
{
    tn_gnode *n = like(p, f, TN_OP_POSITIONS_GRAD);
    n->in[0] = f->in[0];
    n->in[1] = p->g->t[f->out[0]].grad;
}

static int backward_of(pass *p, const tn_gnode *f, tn_error *err)
{
    switch (f->op) {
    case TN_OP_LINEAR: linear_back(p, f); break;
    case TN_OP_POSITIONS: positions_back(p, f); break;
    case TN_OP_TOKENS: tokens_back(p, f); break;
    case TN_OP_LAYERNORM: layernorm_back(p, f); break;
    case TN_OP_ROPE: in_place_back(p, f, TN_OP_ROPE_BACK); break;
    case TN_OP_ATTENTION: attention_back(p, f); break;
    case TN_OP_RESIDUAL: residual_back(p, f); break;
    case TN_OP_ACT: act_back(p, f); break;
    case TN_OP_GLU: simple_back(p, f, TN_OP_GLU_BACK, true, false); break;
    case TN_OP_GRID: simple_back(p, f, TN_OP_GRID_BACK, false, false); break;
    case TN_OP_BILINEAR: simple_back(p, f, TN_OP_BILINEAR_BACK, false, false); break;
    case TN_OP_DWCONV: simple_back(p, f, TN_OP_DWCONV_BACK, true, false); break;
    case TN_OP_CONV3: simple_back(p, f, TN_OP_CONV3_BACK, true, false); break;
    case TN_OP_NORM2D: simple_back(p, f, TN_OP_NORM2D_BACK, true, true); break;
    case TN_OP_DROPOUT2D: simple_back(p, f, TN_OP_DROPOUT2D, false, false); break;
    case TN_OP_DROPOUT: dropout_back(p, f); break;
    case TN_OP_DORA: dora_back(p, f); break;
    case TN_OP_SCALE_CHANNELS: scale_channels_back(p, f); break;
    case TN_OP_SAMPLE_MEAN: sample_mean_back(p, f); break;
    default: return tn_fail(err, TN_ERR_ARGUMENT, "operation %s has no backward", tn_opcode_name(f->op));
    }
    return 0;
}

int tn_graph_backward(tn_graph *g, tn_trainable_fn trained, const void *user, tn_error *err)
{
    pass p = {g, trained, user};
    g->n_forward = g->n_n;
    g->in_backward = true;
    for (int i = g->n_forward - 1; i >= 0; i--) {
        tn_gnode f = g->n[i];
        g->layer = f.layer;
        if (f.op == TN_OP_LOSS) {
            g->t[f.in[0]].grad = f.out[0];
            continue;
        }
        if (!g->t[f.out[0]].needs_grad || g->t[f.out[0]].grad < 0) continue;
        TN_TRY(backward_of(&p, &f, err));
        if (g->oom) return tn_oom(err);
    }
    return 0;
}
