/* Linear modules with what stands beside their matrices: LoRA (Hu et al. 2021) and DoRA (Liu et al. 2024). */
#include "emit.h"

#include <string.h>

tn_gpart tn_emit_part(const tn_emitter *e, const char *module)
{
    const tn_model *m = e->m;
    const int w = tn_emit_slot(e, module, "weight");
    const bool beside = !e->p->merged || tn_slot_groups(&m->slots[w]) > 1;
    tn_gpart p = {.w = w,
                  .bias = tn_emit_slot(e, module, "bias"),
                  .a = beside ? tn_emit_slot(e, module, "lora_A.weight") : -1,
                  .b = beside ? tn_emit_slot(e, module, "lora_B.weight") : -1};
    p.cols = m->slots[p.w].rows;
    p.in = m->slots[p.w].cols;
    p.r = p.a >= 0 ? m->slots[p.a].rows : 0;
    p.scale = p.a >= 0 ? m->slots[p.a].lora_scale : 0;
    p.m = beside && m->lora.dora ? tn_emit_slot(e, module, "lora_magnitude_vector") : -1;
    return p;
}

/* t [rows, sum of ranks] of the adapted parts; -1 where none is. */
static int adapters(tn_emitter *e, int x, const tn_gpart *parts, int n_parts, float dropout, uint32_t salt)
{
    int rank = 0;
    for (int i = 0; i < n_parts; i++) rank += parts[i].r;
    if (!rank) return -1;
    const int t = tn_emit_tensor(e, e->g->t[x].rows, rank, "lora");
    tn_gnode *n = tn_graph_node(e->g, TN_OP_LINEAR_T);
    n->in[0] = x, n->out[0] = t, n->n_parts = n_parts;
    n->a.linear_t = (tn_attr_lora){.dropout = dropout, .salt = salt};
    for (int i = 0; i < n_parts; i++) {
        n->part[i].a = parts[i].a;
        n->part[i].r = parts[i].r;
    }
    tn_emit_mark(e, n);
    return t;
}

static int plain_linear(tn_emitter *e, int x, const tn_gpart *parts, int n_parts, const char *name)
{
    const bool drop = tn_emit_drops(e) && !e->m->lora.dora; /* DoRA drops before */
    const int t = adapters(e, x, parts, n_parts, drop ? e->m->lora.dropout : 0, e->salt++);
    int cols = 0;
    for (int i = 0; i < n_parts; i++) cols += parts[i].cols;
    const int y = tn_graph_tensor(e->g, TN_G_ACT, e->g->t[x].dtype, e->g->t[x].rows, cols, name);
    tn_gnode *n = tn_graph_node(e->g, TN_OP_LINEAR);
    n->in[0] = x, n->in[1] = t, n->out[0] = y, n->n_parts = n_parts;
    memcpy(n->part, parts, sizeof *parts * (size_t)n_parts);
    tn_emit_mark(e, n);
    return y;
}

int tn_emit_dora(tn_emitter *e, int u, int v, const tn_gpart *parts, int n_parts, const char *name)
{
    const int rows = e->g->t[u].rows, cols = e->g->t[u].cols;
    const int scale = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, 1, cols, "dora.scale");
    const int inv = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, 1, cols, "dora.1/norm");
    tn_gnode *n = tn_graph_node(e->g, TN_OP_DORA_SCALE);
    n->out[0] = scale, n->out[1] = inv, n->n_parts = n_parts;
    memcpy(n->part, parts, sizeof *parts * (size_t)n_parts);
    const int y = tn_emit_tensor(e, rows, cols, name);
    n = tn_graph_node(e->g, TN_OP_DORA);
    n->in[0] = u, n->in[1] = scale, n->in[2] = v, n->in[3] = inv, n->out[0] = y, n->n_parts = n_parts;
    memcpy(n->part, parts, sizeof *parts * (size_t)n_parts);
    tn_emit_mark(e, n);
    return y;
}

/* DoRA as PEFT computes it: y = W (x - x') + g (W x' + s B A x') + b with x' = dropout(x), g = m / n and n the row norms of
 * W + s B A, which get no gradient. */
static int dora_linear(tn_emitter *e, int x, const tn_gpart *parts, int n_parts, const char *name)
{
    tn_gpart bare[TN_NODE_PARTS], frozen[TN_NODE_PARTS];
    int v = -1, kept = x;
    for (int i = 0; i < n_parts; i++) {
        bare[i] = frozen[i] = parts[i];
        bare[i].bias = bare[i].m = frozen[i].bias = frozen[i].m = -1;
        frozen[i].a = frozen[i].b = -1, frozen[i].r = 0;
    }
    if (tn_emit_drops(e)) {
        const uint32_t salt = e->salt++;
        kept = tn_emit_dropout(e, x, salt, false);
        v = plain_linear(e, tn_emit_dropout(e, x, salt, true), frozen, n_parts, "dora.rest");
    }
    return tn_emit_dora(e, plain_linear(e, kept, bare, n_parts, "dora.u"), v, parts, n_parts, name);
}

int tn_emit_linear(tn_emitter *e, int x, const tn_gpart *parts, int n_parts, const char *name)
{
    bool dora = false;
    for (int i = 0; i < n_parts; i++) dora |= parts[i].m >= 0;
    return dora ? dora_linear(e, x, parts, n_parts, name) : plain_linear(e, x, parts, n_parts, name);
}

int tn_emit_module(tn_emitter *e, int x, const char *module, const char *name)
{
    const tn_gpart part = tn_emit_part(e, module);
    return tn_emit_linear(e, x, &part, 1, name);
}

/* A 1x1 convolution commutes with bilinear resizing, whose weights sum to 1, and comes first: the map it came from is the smaller.
 */
tn_feature tn_emit_project(tn_emitter *e, const tn_feature *f, const char *module, const char *name)
{
    tn_feature y = *f;
    y.tensor = tn_emit_module(e, f->tensor, module, name);
    y.channels = e->g->t[y.tensor].cols, y.own_h = y.own_w = 0;
    if (!f->own_h || (f->own_h == f->h && f->own_w == f->w)) return y;
    tn_feature own = y;
    own.h = f->own_h, own.w = f->own_w;
    y.tensor = tn_emit_resize(e, &own, f->h, f->w, -1, name);
    return y;
}
