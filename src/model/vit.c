/* The Vision Transformer's slots and forward graph, shared by every family (Dosovitskiy et al. 2021; DINOv3 facts). */
#include "emit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* Matrices from slot `first` on read the norm whose gamma is slot `norm`. */
static void behind_norm(tn_model *m, int first, int norm)
{
    for (int s = first; s < m->n_slots; s++)
        if (m->slots[s].linear) m->slots[s].norm = norm;
}

static int block_slots(const tn_parts *p, const tn_vit *v, int i)
{
    char buf[128];
    const tn_vit_names *k = v->names;
    const int d = v->hidden;
    int norm = p->m->n_slots;
    TN_TRY(tn_parts_norm(p, AT(k->norm1), d));
    TN_TRY(tn_parts_linear(p, AT(k->query), d, d, v->q_bias, false));
    TN_TRY(tn_parts_linear(p, AT(k->key), d, d, v->k_bias, true));
    TN_TRY(tn_parts_linear(p, AT(k->value), d, d, v->v_bias, true));
    behind_norm(p->m, norm, norm);
    TN_TRY(tn_parts_linear(p, AT(k->output), d, d, v->o_bias, false));
    if (v->layer_scale) TN_TRY(tn_parts_vector(p, AT(k->scale1), d, TN_INIT_ONE));
    norm = p->m->n_slots;
    TN_TRY(tn_parts_norm(p, AT(k->norm2), d));
    const bool beside = v->gated && !v->fused_gate;
    if (beside) TN_TRY(tn_parts_linear(p, AT(k->gate), v->inner, d, v->mlp_bias, false));
    TN_TRY(tn_parts_linear(p, AT(k->up), v->fused_gate ? 2 * v->inner : v->inner, d, v->mlp_bias, beside));
    behind_norm(p->m, norm, norm);
    TN_TRY(tn_parts_linear(p, AT(k->down), d, v->inner, v->mlp_bias, false));
    return v->layer_scale ? tn_parts_vector(p, AT(k->scale2), d, TN_INIT_ONE) : 0;
}

static int vit_slots(tn_model *m, tn_error *err)
{
    const tn_vit *v = &m->backbone.vit;
    const tn_vit_names *k = v->names;
    const tn_parts p = {m, TN_GROUP_BACKBONE, "", err};
    const int d = v->hidden, side = m->backbone.patch;
    TN_TRY(tn_parts_add(&p, k->cls, 3, (int[]){1, 1, d}, TN_INIT_TRUNC));
    if (v->registers) TN_TRY(tn_parts_add(&p, k->registers, 3, (int[]){1, v->registers, d}, TN_INIT_TRUNC));
    if (v->pos_mode) TN_TRY(tn_parts_add(&p, k->positions, 3, (int[]){1, 1 + v->pos_h * v->pos_w, d}, TN_INIT_TRUNC));
    TN_TRY(tn_parts_pixels(&p, k->patch, d, side));
    for (int i = 0; i < m->backbone.layers; i++) {
        const int first = m->n_slots;
        TN_TRY(block_slots(&p, v, i));
        for (int s = first; s < m->n_slots; s++) m->slots[s].layer = i + 1;
    }
    return m->backbone.whole ? tn_parts_norm(&p, k->norm, d) : 0;
}

/* ---- forward ---- */

static int vit_attention(tn_emitter *e, int h, int i)
{
    char buf[128];
    const tn_vit *v = &e->m->backbone.vit;
    const tn_vit_names *k = v->names;
    tn_graph *g = e->g;
    tn_gpart qkv_parts[3] = {tn_emit_part(e, AT(k->query)), tn_emit_part(e, AT(k->key)), tn_emit_part(e, AT(k->value))};
    int qkv = tn_emit_linear(e, h, qkv_parts, 3, "qkv"), rows = g->t[h].rows;
    if (v->rope) {
        const int turned = tn_emit_tensor(e, rows, g->t[qkv].cols, "qkv.turned");
        tn_gnode *n = tn_graph_node(g, TN_OP_ROPE);
        n->in[0] = qkv, n->in[1] = g->rope_table, n->out[0] = turned;
        n->a.rope = (tn_attr_rope){v->heads, 1 + v->registers};
        tn_emit_mark(e, n);
        qkv = turned;
    }
    int o = tn_emit_tensor(e, rows, v->hidden, "attention");
    int lse = tn_graph_tensor(g, TN_G_ACT, TN_F32, e->p->batch * v->heads, rows / e->p->batch, "lse");
    tn_gnode *n = tn_graph_node(g, TN_OP_ATTENTION);
    n->in[0] = qkv, n->out[0] = o, n->out[1] = lse, n->a.attention.heads = v->heads;
    tn_emit_mark(e, n);
    tn_gpart out = tn_emit_part(e, AT(k->output));
    return tn_emit_linear(e, o, &out, 1, "attention.out");
}

static int vit_mlp(tn_emitter *e, int h, int i)
{
    char buf[128];
    const tn_vit *v = &e->m->backbone.vit;
    const tn_vit_names *k = v->names;
    tn_gpart in[2];
    int n_in = 0;
    if (v->gated && !v->fused_gate) in[n_in++] = tn_emit_part(e, AT(k->gate));
    in[n_in++] = tn_emit_part(e, AT(k->up));
    int u = tn_emit_linear(e, h, in, n_in, "mlp.up"), a = tn_emit_tensor(e, e->g->t[h].rows, v->inner, "mlp.act");
    tn_gnode *n = tn_graph_node(e->g, v->gated ? TN_OP_GLU : TN_OP_ACT);
    n->in[0] = u, n->out[0] = a, n->a.act.fn = v->act;
    tn_emit_mark(e, n);
    tn_gpart down = tn_emit_part(e, AT(k->down));
    return tn_emit_linear(e, a, &down, 1, "mlp.out");
}

static int vit_block(tn_emitter *e, int x, int i)
{
    char buf[128], name[48];
    const tn_vit_names *k = e->m->backbone.vit.names;
    const bool ls = e->m->backbone.vit.layer_scale;
    const float eps = e->m->backbone.vit.eps;
    int h = tn_emit_layernorm(e, x, AT(k->norm1), eps, "norm1");
    int y = vit_attention(e, h, i);
    int x1 = tn_emit_residual(e, x, y, ls ? tn_model_slot(e->m, AT(k->scale1)) : -1, "x.attention");
    h = tn_emit_layernorm(e, x1, AT(k->norm2), eps, "norm2");
    y = vit_mlp(e, h, i);
    snprintf(name, sizeof name, "hidden_states.%d", i + 1);
    return tn_emit_residual(e, x1, y, ls ? tn_model_slot(e->m, AT(k->scale2)) : -1, name);
}

static int vit_positions(tn_emitter *e, int gh, int gw, tn_error *err)
{
    const tn_vit *v = &e->m->backbone.vit;
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
    tn_emit_mark(e, n);
    return pos;
}

static int vit_embed(tn_emitter *e, int *out, tn_error *err)
{
    const tn_model *m = e->m;
    const tn_vit *v = &m->backbone.vit;
    const int side = m->backbone.patch;
    tn_graph *g = e->g;
    const int B = e->p->batch, gh = m->image_h / side, gw = m->image_w / side, P = gh * gw;
    const int N = 1 + v->registers + P, cols = tn_emit_patches(e, side);
    if (v->rope) {
        g->rope_table = tn_graph_tensor(g, TN_G_CONST, TN_F32, P, v->hidden / v->heads, "rope");
        float *table = malloc(sizeof *table * (size_t)P * (size_t)(v->hidden / v->heads));
        if (!table) return tn_oom(err);
        tn_rope_table(v, gh, gw, NULL, table);
        g->t[g->rope_table].host = table;
    }
    int patches = tn_emit_module(e, cols, v->names->patch, "patch.embeddings");
    int pos = vit_positions(e, gh, gw, err);
    if (pos == -2) return TN_ERR_MEMORY;
    int x = tn_emit_tensor(e, B * N, v->hidden, "hidden_states.0");
    tn_gnode *n = tn_graph_node(g, TN_OP_TOKENS);
    n->in[0] = patches, n->in[1] = pos, n->out[0] = x;
    n->w[0] = tn_model_slot(m, v->names->cls);
    n->w[1] = v->registers ? tn_model_slot(m, v->names->registers) : -1;
    n->a.tokens.registers = v->registers;
    tn_emit_mark(e, n);
    *out = x;
    return 0;
}

/* hidden_states.<state>, which lies in x. */
static void vit_state(tn_emitter *e, tn_feature_list *out, int state, int x)
{
    const tn_backbone *b = &e->m->backbone;
    if (e->p->hidden) e->g->t[x].kind = TN_G_OUTPUT;
    for (int i = 0; i < b->n_returned; i++)
        if (b->returned[i] == state) out->f[i].tensor = x;
}

static void vit_features(const tn_model *m, tn_feature_list *out)
{
    const tn_vit *v = &m->backbone.vit;
    const int side = m->backbone.patch;
    *out = (tn_feature_list){.n = m->backbone.n_returned};
    for (int i = 0; i < out->n; i++)
        out->f[i] = (tn_feature){.tensor = -1,
                                 .h = m->image_h / side,
                                 .w = m->image_w / side,
                                 .channels = v->hidden,
                                 .stride = side,
                                 .skip = 1 + v->registers};
}

static int vit_emit(tn_graph *g, const tn_model *m, const tn_pass *p, tn_feature_list *out, tn_error *err)
{
    tn_emitter e = tn_emit_begin(g, m, p);
    const tn_vit *v = &m->backbone.vit;
    const int layers = m->backbone.layers;
    int x = 0;
    vit_features(m, out);
    tn_graph_layer(g, "embeddings", p->recompute);
    TN_TRY(vit_embed(&e, &x, err));
    vit_state(&e, out, 0, x);
    for (int i = 0; i < layers; i++) {
        char name[32];
        snprintf(name, sizeof name, "layer.%d", i);
        tn_graph_layer(g, name, tn_emit_policy(p, i));
        x = vit_block(&e, x, i);
        vit_state(&e, out, i + 1, x);
        if (g->oom) return tn_oom(err);
    }
    if (!m->backbone.whole) return 0;
    tn_graph_layer(g, "norm", p->recompute);
    vit_state(&e, out, layers, tn_emit_layernorm(&e, x, v->names->norm, v->eps, "last_hidden_state"));
    return g->oom ? tn_oom(err) : 0;
}

static int vit_fits(const tn_model *m, tn_error *err)
{
    const tn_vit *v = &m->backbone.vit;
    const int p = m->backbone.patch;
    if (m->image_h % p || m->image_w % p || m->image_h < p || m->image_w < p)
        return tn_fail(err, TN_ERR_CONFIG,
                       "data.preprocess.resize [%d, %d] does not fit patches of %d: both must be multiples "
                       "of %d, for example [%d, %d]",
                       m->image_w, m->image_h, p, p, TN_MAX(p, m->image_w / p * p), TN_MAX(p, m->image_h / p * p));
    if (v->pos_mode == TN_POS_FIXED && (m->image_h / p != v->pos_h || m->image_w / p != v->pos_w))
        return tn_fail(err, TN_ERR_CONFIG,
                       "this backbone has positions for [%d, %d] images only; set data.preprocess.resize "
                       "to that",
                       v->pos_w * p, v->pos_h * p);
    return 0;
}

/* The last one is normalised. */
static void vit_states(tn_backbone *b)
{
    b->last_state = b->layers;
    b->returned[0] = b->layers, b->n_returned = 1;
}

static void vit_end(tn_backbone *b, int state)
{
    b->layers = state;
}

/* All blocks are alike. */
static void vit_shorten(tn_backbone *b, int n)
{
    b->layers = TN_MIN(b->layers, n);
    for (int i = 0; i < b->n_returned; i++) b->returned[i] = TN_MIN(b->returned[i], b->layers);
}

static size_t vit_drawn(const tn_model *m)
{
    const tn_vit *v = &m->backbone.vit;
    const int side = m->backbone.patch;
    return v->rope ? (size_t)(m->image_h / side) * (size_t)(m->image_w / side) * (size_t)(v->hidden / v->heads) : 0;
}

/* DINOv3's coordinate augmentation: one draw for each forward pass, shared by batch and layers. */
static void vit_draw(const tn_model *m, uint32_t seed, float *table)
{
    const tn_vit *v = &m->backbone.vit;
    const int side = m->backbone.patch;
    tn_rng r = tn_rng_named(seed, "rope");
    double d[4] = {0, 0, 1, 1};
    for (int i = 0; v->rope_shift > 0 && i < 2; i++) d[i] = (2 * tn_rng_uniform(&r) - 1) * v->rope_shift;
    for (int i = 2; v->rope_jitter > 0 && i < 4; i++) d[i] *= exp((2 * tn_rng_uniform(&r) - 1) * log((double)v->rope_jitter));
    if (v->rope_rescale > 0) {
        const double k = exp((2 * tn_rng_uniform(&r) - 1) * log((double)v->rope_rescale));
        d[2] *= k, d[3] *= k;
    }
    tn_rope_table(v, m->image_h / side, m->image_w / side, d, table);
}

const tn_architecture tn_vit_architecture = {vit_fits, vit_slots,   vit_features, vit_emit, vit_states,
                                             vit_end,  vit_shorten, vit_drawn,    vit_draw};
