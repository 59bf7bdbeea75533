/* What adapters see is dropped out in three places: in the forward product, and in both gradients. A layer's masks are drawn once,
 * as bits: where its activations are kept for all three, and else for the gradients alone. */
#include "graph.h"

#include <stdlib.h>

/* Does a norm make its reader's product? */
static bool makes_t(const tn_gnode *n)
{
    return n->op == TN_OP_LAYERNORM && n->out[2] >= 0;
}

/* The mask that a node asks for, where bits can stand for it; NULL: none. */
static tn_attr_lora *mask_of(tn_gnode *n)
{
    if (n->op == TN_OP_LINEAR_T) return &n->a.linear_t;
    if (makes_t(n)) return &n->a.layernorm.adapters;
    if (n->op == TN_OP_LINEAR_T_GRAD) return &n->a.linear_t_grad;
    return n->op == TN_OP_LINEAR_DX && n->in[1] >= 0 ? &n->a.linear_dx.adapters : NULL;
}

/* Which of the node's inputs they are then. */
static int bits_input(tn_opcode op)
{
    return op == TN_OP_LINEAR_T || op == TN_OP_LAYERNORM ? 1 : op == TN_OP_LINEAR_T_GRAD ? 2 : 3;
}

/* The mask that a node of the forward pass begins with, and what it falls on; NULL: none. */
static const tn_attr_lora *source_of(const tn_gnode *n, int *x)
{
    const bool norm = makes_t(n);
    if (n->backward || (n->op != TN_OP_LINEAR_T && !norm)) return NULL;
    *x = norm ? n->out[0] : n->in[0];
    const tn_attr_lora *a = norm ? &n->a.layernorm.adapters : &n->a.linear_t;
    return a->dropout > 0 ? a : NULL;
}

static bool fits(const tn_gtensor *x, float p, const tn_attr_bits *b)
{
    return x->rows > TN_FEW_ROWS && x->cols % 32 == 0 && b->n < TN_BITS_MOST && (!b->n || (b->rows == x->rows && b->p == p));
}

/* The masks of a layer's forward pass; *first: the node before which they must be drawn. Returns their words. */
static size_t masks_of(const tn_graph *g, int layer, tn_attr_bits *b, int *first)
{
    size_t words = 0;
    for (int i = 0, x; i < g->n_n; i++) {
        const tn_attr_lora *a = g->n[i].layer == layer ? source_of(&g->n[i], &x) : NULL;
        if (!a || !fits(&g->t[x], a->dropout, b)) continue;
        if (!b->n) *first = i, b->rows = g->t[x].rows, b->p = a->dropout;
        b->cols[b->n] = g->t[x].cols, b->salt[b->n] = a->salt, b->at[b->n++] = (int)words;
        words += tn_bits_words(b->rows, g->t[x].cols);
    }
    return words;
}

/* The first node of the layer's backward pass that asks for a mask, or n_n. */
static int first_gradient(const tn_graph *g, int layer)
{
    int i = g->n_forward;
    while (i < g->n_n && (g->n[i].layer != layer || !mask_of(&g->n[i]) || mask_of(&g->n[i])->dropout <= 0)) i++;
    return i;
}

/* Everybody in the layer who asks for one of the masks, from the node `first` on, reads `bits`. */
static void give_bits(tn_graph *g, int layer, const tn_attr_bits *b, int first, int bits)
{
    for (int i = first; i < g->n_n; i++) {
        tn_attr_lora *a = g->n[i].layer == layer ? mask_of(&g->n[i]) : NULL;
        for (int k = 0; a && k < b->n; k++)
            if (a->salt == b->salt[k] && a->dropout == b->p) g->n[i].in[bits_input(g->n[i].op)] = bits, a->bits_at = b->at[k];
    }
}

int tn_graph_draw_bits(tn_graph *g, tn_error *err)
{
    for (int l = 0; l < g->n_layers; l++) {
        tn_attr_bits b = {0};
        int first = 0;
        const size_t words = masks_of(g, l, &b, &first);
        if (g->layers[l].recompute) first = first_gradient(g, l);
        if (!b.n || first == g->n_n || words > INT32_MAX) continue;
        const int bits = tn_graph_tensor(g, TN_G_ACT, TN_I32, (int)(words / 2), 1, "dropout.bits");
        if (g->oom) return tn_oom(err);
        g->t[bits].layer = l;
        tn_gnode *n = tn_graph_insert(g, TN_OP_DROPOUT_BITS, first);
        n->out[0] = bits, n->a.dropout_bits = b;
        give_bits(g, l, &b, first, bits);
    }
    return g->oom ? tn_oom(err) : tn_graph_check(g, err);
}
