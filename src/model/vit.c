/* The Vision Transformer's slots and forward graph, shared by every family (Dosovitskiy et al. 2021; DINOv3 facts). */
#include "model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int vit_add(tn_model *m, const char *name, int ndim, const int *shape, tn_init init, bool linear, tn_error *err)
{
    tn_slot s = {
        .ndim = ndim, .group = TN_GROUP_BACKBONE, .trainable = m->train_backbone, .init = init, .linear = linear, .backbone = true};
    memcpy(s.shape, shape, sizeof *shape * (size_t)ndim);
    s.init_fan = s.ndim > 1 ? s.shape[1] : 1;
    return tn_model_add(m, s, name) < 0 ? tn_oom(err) : 0;
}

static int add_vector(tn_model *m, const char *name, int n, tn_init init, tn_error *err)
{
    return vit_add(m, name, 1, &n, init, false, err);
}

/* <module>.weight [out, in] and, when wanted, <module>.bias. joins: of the operation of the linear before it. */
static int add_linear(tn_model *m, const char *module, int out, int in, bool bias, bool joins, tn_error *err)
{
    char name[160];
    snprintf(name, sizeof name, "%s.weight", module);
    TN_TRY(vit_add(m, name, 2, (int[]){out, in}, TN_INIT_TRUNC, true, err));
    m->slots[m->n_slots - 1].joins = joins;
    if (!bias) return 0;
    snprintf(name, sizeof name, "%s.bias", module);
    return add_vector(m, name, out, TN_INIT_ZERO, err);
}

static int add_norm(tn_model *m, const char *module, int n, tn_error *err)
{
    char name[160];
    snprintf(name, sizeof name, "%s.weight", module);
    TN_TRY(add_vector(m, name, n, TN_INIT_ONE, err));
    snprintf(name, sizeof name, "%s.bias", module);
    return add_vector(m, name, n, TN_INIT_ZERO, err);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
/* A family's name for layer i. */
static const char *at(char *buf, size_t n, const char *format, int i)
{
    snprintf(buf, n, format, i);
    return buf;
}
#pragma GCC diagnostic pop
#define AT(format) at(buf, sizeof buf, format, i)

static int block_slots(tn_model *m, int i, tn_error *err)
{
    char buf[128];
    const tn_vit *v = &m->vit;
    const tn_vit_names *k = v->names;
    const int d = v->hidden;
    TN_TRY(add_norm(m, AT(k->norm1), d, err));
    TN_TRY(add_linear(m, AT(k->query), d, d, v->q_bias, false, err));
    TN_TRY(add_linear(m, AT(k->key), d, d, v->k_bias, true, err));
    TN_TRY(add_linear(m, AT(k->value), d, d, v->v_bias, true, err));
    TN_TRY(add_linear(m, AT(k->output), d, d, v->o_bias, false, err));
    if (v->layer_scale) TN_TRY(add_vector(m, AT(k->scale1), d, TN_INIT_ONE, err));
    TN_TRY(add_norm(m, AT(k->norm2), d, err));
    const bool beside = v->gated && !v->fused_gate;
    if (beside) TN_TRY(add_linear(m, AT(k->gate), v->inner, d, v->mlp_bias, false, err));
    TN_TRY(add_linear(m, AT(k->up), v->fused_gate ? 2 * v->inner : v->inner, d, v->mlp_bias, beside, err));
    TN_TRY(add_linear(m, AT(k->down), d, v->inner, v->mlp_bias, false, err));
    if (v->layer_scale) TN_TRY(add_vector(m, AT(k->scale2), d, TN_INIT_ONE, err));
    return 0;
}

/* Of several frames it is new, and so trained, whoever freezes the rest: with the adapters (tn_model_new), or else with the head.
 */
static int patch_slots(tn_model *m, tn_error *err)
{
    char name[128];
    const tn_vit *v = &m->vit;
    const int first = m->n_slots;
    snprintf(name, sizeof name, "%s.weight", v->names->patch);
    TN_TRY(vit_add(m, name, 4, (int[]){v->hidden, 3 * m->frames, v->patch, v->patch}, TN_INIT_TRUNC, false, err));
    m->slots[first].frames = m->frames;
    snprintf(name, sizeof name, "%s.bias", v->names->patch);
    TN_TRY(add_vector(m, name, v->hidden, TN_INIT_ZERO, err));
    for (int i = first; m->frames > 1 && !m->train_backbone && i < m->n_slots; i++) {
        m->slots[i].trainable = true;
        m->slots[i].group = TN_GROUP_HEAD;
    }
    return 0;
}

int tn_vit_slots(tn_model *m, tn_error *err)
{
    const tn_vit *v = &m->vit;
    const tn_vit_names *k = v->names;
    TN_TRY(vit_add(m, k->cls, 3, (int[]){1, 1, v->hidden}, TN_INIT_TRUNC, false, err));
    if (v->registers) TN_TRY(vit_add(m, k->registers, 3, (int[]){1, v->registers, v->hidden}, TN_INIT_TRUNC, false, err));
    if (v->pos_mode) TN_TRY(vit_add(m, k->positions, 3, (int[]){1, 1 + v->pos_h * v->pos_w, v->hidden}, TN_INIT_TRUNC, false, err));
    TN_TRY(patch_slots(m, err));
    for (int i = 0; i < v->layers; i++) {
        const int first = m->n_slots;
        TN_TRY(block_slots(m, i, err));
        for (int s = first; s < m->n_slots; s++) m->slots[s].layer = i + 1;
    }
    return add_norm(m, k->norm, v->hidden, err);
}

/* ---- forward ---- */

typedef struct {
    tn_graph *g;
    const tn_model *m;
    const tn_pass *p;
    tn_trained trained;
    uint32_t salt;
} vit_emitter;

static int vit_slot_of(const tn_model *m, const char *module, const char *suffix)
{
    char name[200];
    snprintf(name, sizeof name, "%s.%s", module, suffix);
    return tn_model_slot(m, name);
}

static tn_gpart part_of(const vit_emitter *e, const char *module)
{
    const tn_model *m = e->m;
    const bool beside = !e->p->merged;
    tn_gpart p = {.w = vit_slot_of(m, module, "weight"),
                  .bias = vit_slot_of(m, module, "bias"),
                  .a = beside ? vit_slot_of(m, module, "lora_A.weight") : -1,
                  .b = beside ? vit_slot_of(m, module, "lora_B.weight") : -1};
    p.cols = m->slots[p.w].rows;
    p.in = m->slots[p.w].cols;
    p.r = p.a >= 0 ? m->slots[p.a].rows : 0;
    p.scale = p.a >= 0 ? m->slots[p.a].lora_scale : 0;
    p.m = beside && m->lora.dora ? vit_slot_of(m, module, "lora_magnitude_vector") : -1;
    return p;
}

static int act_tensor(vit_emitter *e, int rows, int cols, const char *name)
{
    return tn_graph_tensor(e->g, TN_G_ACT, e->p->act, rows, cols, name);
}

static void vit_mark(vit_emitter *e, const tn_gnode *n)
{
    tn_gnode copy = *n;
    tn_graph_mark(e->g, &copy, tn_is_trained, &e->trained);
}

/* t [rows, sum of ranks] of the adapted parts; -1 where none is. */
static int vit_adapters(vit_emitter *e, int x, const tn_gpart *parts, int n_parts, float dropout, uint32_t salt)
{
    int rank = 0;
    for (int i = 0; i < n_parts; i++) rank += parts[i].r;
    if (!rank) return -1;
    const int t = act_tensor(e, e->g->t[x].rows, rank, "lora");
    tn_gnode *n = tn_graph_node(e->g, TN_OP_LINEAR_T);
    n->in[0] = x, n->out[0] = t, n->n_parts = n_parts;
    n->a.linear_t = (tn_attr_lora){dropout, salt};
    for (int i = 0; i < n_parts; i++) {
        n->part[i].a = parts[i].a;
        n->part[i].r = parts[i].r;
    }
    vit_mark(e, n);
    return t;
}

static int plain_linear(vit_emitter *e, int x, const tn_gpart *parts, int n_parts, const char *name)
{
    const bool drop = e->p->training && (e->p->groups & TN_GROUP_LORA) && !e->m->lora.dora; /* DoRA drops before */
    const int t = vit_adapters(e, x, parts, n_parts, drop ? e->m->lora.dropout : 0, e->salt++);
    int cols = 0;
    for (int i = 0; i < n_parts; i++) cols += parts[i].cols;
    const int y = act_tensor(e, e->g->t[x].rows, cols, name);
    tn_gnode *n = tn_graph_node(e->g, TN_OP_LINEAR);
    n->in[0] = x, n->in[1] = t, n->out[0] = y, n->n_parts = n_parts;
    memcpy(n->part, parts, sizeof *parts * (size_t)n_parts);
    vit_mark(e, n);
    return y;
}

/* vit_dropout(x), or with `rest` what it took away. */
static int vit_dropout(vit_emitter *e, int x, uint32_t salt, bool rest)
{
    int y = act_tensor(e, e->g->t[x].rows, e->g->t[x].cols, rest ? "dropped" : "kept");
    tn_gnode *n = tn_graph_node(e->g, TN_OP_DROPOUT);
    n->in[0] = x, n->out[0] = y;
    n->a.dropout = (tn_attr_dropout){e->m->lora.dropout, salt, rest};
    vit_mark(e, n);
    return y;
}

/* DoRA (Liu et al. 2024, as PEFT computes it): y = W (x - x') + g (W x' + s B A x') + b with x' = vit_dropout(x), g = m / n
 * and n the row norms of W + s B A, which get no gradient. */
static int dora_linear(vit_emitter *e, int x, const tn_gpart *parts, int n_parts, const char *name)
{
    tn_gpart bare[TN_NODE_PARTS], frozen[TN_NODE_PARTS];
    int cols = 0, v = -1, kept = x;
    for (int i = 0; i < n_parts; i++) {
        bare[i] = frozen[i] = parts[i];
        bare[i].bias = bare[i].m = frozen[i].bias = frozen[i].m = -1;
        frozen[i].a = frozen[i].b = -1, frozen[i].r = 0;
        cols += parts[i].cols;
    }
    if (e->p->training && (e->p->groups & TN_GROUP_LORA) && e->m->lora.dropout > 0) {
        const uint32_t salt = e->salt++;
        kept = vit_dropout(e, x, salt, false);
        v = plain_linear(e, vit_dropout(e, x, salt, true), frozen, n_parts, "dora.rest");
    }
    const int u = plain_linear(e, kept, bare, n_parts, "dora.u");
    const int scale = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, 1, cols, "dora.scale");
    const int inv = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, 1, cols, "dora.1/norm");
    tn_gnode *n = tn_graph_node(e->g, TN_OP_DORA_SCALE);
    n->out[0] = scale, n->out[1] = inv, n->n_parts = n_parts;
    memcpy(n->part, parts, sizeof *parts * (size_t)n_parts);
    const int y = act_tensor(e, e->g->t[x].rows, cols, name);
    n = tn_graph_node(e->g, TN_OP_DORA);
    n->in[0] = u, n->in[1] = scale, n->in[2] = v, n->in[3] = inv, n->out[0] = y, n->n_parts = n_parts;
    memcpy(n->part, parts, sizeof *parts * (size_t)n_parts);
    vit_mark(e, n);
    return y;
}

static int vit_linear(vit_emitter *e, int x, const tn_gpart *parts, int n_parts, const char *name)
{
    bool dora = false;
    for (int i = 0; i < n_parts; i++) dora |= parts[i].m >= 0;
    return dora ? dora_linear(e, x, parts, n_parts, name) : plain_linear(e, x, parts, n_parts, name);
}

static int vit_layernorm(vit_emitter *e, int x, const char *module, const char *name)
{
    int rows = e->g->t[x].rows, cols = e->g->t[x].cols;
    int y = act_tensor(e, rows, cols, name), stats = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, rows, 2, "stats");
    tn_gnode *n = tn_graph_node(e->g, TN_OP_LAYERNORM);
    n->in[0] = x, n->out[0] = y, n->out[1] = stats;
    n->w[0] = vit_slot_of(e->m, module, "weight"), n->w[1] = vit_slot_of(e->m, module, "bias");
    n->a.layernorm.eps = e->m->vit.eps;
    vit_mark(e, n);
    return y;
}

static int vit_residual(vit_emitter *e, int x, int y, int scale, const char *name)
{
    int o = act_tensor(e, e->g->t[x].rows, e->g->t[x].cols, name);
    tn_gnode *n = tn_graph_node(e->g, TN_OP_RESIDUAL);
    n->in[0] = x, n->in[1] = y, n->out[0] = o, n->w[0] = scale;
    vit_mark(e, n);
    return o;
}

static int vit_attention(vit_emitter *e, int h, int i)
{
    char buf[128];
    const tn_vit *v = &e->m->vit;
    const tn_vit_names *k = v->names;
    tn_graph *g = e->g;
    tn_gpart qkv_parts[3] = {part_of(e, AT(k->query)), part_of(e, AT(k->key)), part_of(e, AT(k->value))};
    int qkv = vit_linear(e, h, qkv_parts, 3, "qkv"), rows = g->t[h].rows;
    if (v->rope) {
        const int turned = act_tensor(e, rows, g->t[qkv].cols, "qkv.turned");
        tn_gnode *n = tn_graph_node(g, TN_OP_ROPE);
        n->in[0] = qkv, n->in[1] = g->rope_table, n->out[0] = turned;
        n->a.rope = (tn_attr_rope){v->heads, 1 + v->registers};
        vit_mark(e, n);
        qkv = turned;
    }
    int o = act_tensor(e, rows, v->hidden, "attention");
    int lse = tn_graph_tensor(g, TN_G_ACT, TN_F32, e->p->batch * v->heads, rows / e->p->batch, "lse");
    tn_gnode *n = tn_graph_node(g, TN_OP_ATTENTION);
    n->in[0] = qkv, n->out[0] = o, n->out[1] = lse, n->a.attention.heads = v->heads;
    vit_mark(e, n);
    tn_gpart out = part_of(e, AT(k->output));
    return vit_linear(e, o, &out, 1, "attention.out");
}

static int vit_mlp(vit_emitter *e, int h, int i)
{
    char buf[128];
    const tn_vit *v = &e->m->vit;
    const tn_vit_names *k = v->names;
    tn_gpart in[2];
    int n_in = 0;
    if (v->gated && !v->fused_gate) in[n_in++] = part_of(e, AT(k->gate));
    in[n_in++] = part_of(e, AT(k->up));
    int u = vit_linear(e, h, in, n_in, "mlp.up"), a = act_tensor(e, e->g->t[h].rows, v->inner, "mlp.act");
    tn_gnode *n = tn_graph_node(e->g, v->gated ? TN_OP_GLU : TN_OP_ACT);
    n->in[0] = u, n->out[0] = a, n->a.act.fn = v->act;
    vit_mark(e, n);
    tn_gpart down = part_of(e, AT(k->down));
    return vit_linear(e, a, &down, 1, "mlp.out");
}

static int vit_block(vit_emitter *e, int x, int i)
{
    char buf[128], name[48];
    const tn_vit_names *k = e->m->vit.names;
    const bool ls = e->m->vit.layer_scale;
    int h = vit_layernorm(e, x, AT(k->norm1), "norm1");
    int y = vit_attention(e, h, i);
    int x1 = vit_residual(e, x, y, ls ? tn_model_slot(e->m, AT(k->scale1)) : -1, "x.attention");
    h = vit_layernorm(e, x1, AT(k->norm2), "norm2");
    y = vit_mlp(e, h, i);
    snprintf(name, sizeof name, "hidden_states.%d", i + 1);
    return vit_residual(e, x1, y, ls ? tn_model_slot(e->m, AT(k->scale2)) : -1, name);
}

static int vit_positions(vit_emitter *e, int gh, int gw, tn_error *err)
{
    const tn_vit *v = &e->m->vit;
    if (!v->pos_mode) return -1;
    const int in = v->pos_h * v->pos_w, out = gh * gw;
    float *R = calloc((size_t)(1 + in) * (size_t)(1 + out), sizeof *R), *grid = calloc((size_t)in * (size_t)out, sizeof *R);
    if (!R || !grid || tn_bicubic_matrix(grid, v->pos_h, v->pos_w, gh, gw, v->pos_mode == TN_POS_BICUBIC_AA)) {
        free(R);
        free(grid);
        tn_oom(err);
        return -2;
    }
    const bool same = gh == v->pos_h && gw == v->pos_w;
    R[0] = 1;
    for (int o = 0; o < out; o++)
        for (int i = 0; i < in; i++)
            R[(size_t)(1 + o) * (size_t)(1 + in) + 1 + (size_t)i] =
                same || v->pos_mode == TN_POS_FIXED ? (float)(o == i) : grid[(size_t)o * (size_t)in + (size_t)i];
    free(grid);
    int r = tn_graph_tensor(e->g, TN_G_CONST, TN_F32, 1 + out, 1 + in, "positions.matrix");
    e->g->t[r].host = R;
    int pos = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, 1 + out, v->hidden, "positions");
    tn_gnode *n = tn_graph_node(e->g, TN_OP_POSITIONS);
    n->in[0] = r, n->out[0] = pos, n->w[0] = tn_model_slot(e->m, v->names->positions);
    vit_mark(e, n);
    return pos;
}

static int vit_embed(vit_emitter *e, int *out, tn_error *err)
{
    const tn_model *m = e->m;
    const tn_vit *v = &m->vit;
    tn_graph *g = e->g;
    const int B = e->p->batch, gh = m->image_h / v->patch, gw = m->image_w / v->patch, P = gh * gw;
    const int N = 1 + v->registers + P, k = m->frames * 3 * v->patch * v->patch, lines = B * m->frames * m->image_h;
    g->pixels = e->p->frames ? tn_graph_tensor(g, TN_G_INPUT, TN_U8, lines, 3 * m->image_w, "frames")
                             : tn_graph_tensor(g, TN_G_INPUT, TN_F32, 3 * lines, m->image_w, "pixel_values");
    if (v->rope) {
        g->rope_table = tn_graph_tensor(g, TN_G_CONST, TN_F32, P, v->hidden / v->heads, "rope");
        float *table = malloc(sizeof *table * (size_t)P * (size_t)(v->hidden / v->heads));
        if (!table) return tn_oom(err);
        tn_rope_table(v, gh, gw, NULL, table);
        g->t[g->rope_table].host = table;
    }
    int cols = act_tensor(e, B * P, k, "patches");
    tn_gnode *n = tn_graph_node(g, TN_OP_PATCHIFY);
    n->in[0] = g->pixels, n->out[0] = cols;
    n->a.patchify = (tn_attr_patchify){m->image_h, m->image_w, v->patch, e->p->normalize, m->frames};
    tn_gpart patch = part_of(e, v->names->patch);
    int patches = vit_linear(e, cols, &patch, 1, "patch.embeddings");
    int pos = vit_positions(e, gh, gw, err);
    if (pos == -2) return TN_ERR_MEMORY;
    int x = act_tensor(e, B * N, v->hidden, "hidden_states.0");
    n = tn_graph_node(g, TN_OP_TOKENS);
    n->in[0] = patches, n->in[1] = pos, n->out[0] = x;
    n->w[0] = tn_model_slot(m, v->names->cls);
    n->w[1] = v->registers ? tn_model_slot(m, v->names->registers) : -1;
    n->a.tokens.registers = v->registers;
    vit_mark(e, n);
    *out = x;
    return 0;
}

/* The policy of layer.i; those that the mask has no bit for are made again. */
static int vit_policy(const tn_pass *p, int i)
{
    return i < 64 && p->kept >> i & 1 ? 0 : p->recompute;
}

static void vit_keep(vit_emitter *e, int t)
{
    if (e->p->hidden) e->g->t[t].kind = TN_G_OUTPUT;
}

int tn_vit_emit(tn_graph *g, const tn_model *m, const tn_pass *p, int *tokens, tn_error *err)
{
    vit_emitter e = {g, m, p, {m, p->groups}, 1};
    const tn_vit *v = &m->vit;
    int x = 0;
    tn_graph_layer(g, "embeddings", p->recompute);
    TN_TRY(vit_embed(&e, &x, err));
    vit_keep(&e, x);
    for (int i = 0; i < v->layers; i++) {
        char name[32];
        snprintf(name, sizeof name, "layer.%d", i);
        tn_graph_layer(g, name, vit_policy(p, i));
        x = vit_block(&e, x, i);
        vit_keep(&e, x);
        if (g->oom) return tn_oom(err);
    }
    tn_graph_layer(g, "norm", p->recompute);
    *tokens = vit_layernorm(&e, x, v->names->norm, "last_hidden_state");
    vit_keep(&e, *tokens);
    return g->oom ? tn_oom(err) : 0;
}
