/* The decoder of convnext_deformable_fpn_heatmap: the encoder of Deformable DETR (Zhu et al. 2020) over the positions of all maps,
 * a 1x1 convolution, and a feature pyramid over what comes out. Post-norm layers without dropout. */
#include "pyramid.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const float norm_eps = 1e-5f; /* of torch.nn.LayerNorm */

/* ---- slots ---- */

static int deformable_check(const tn_deformable *d, const tn_feature_list *in, tn_error *err)
{
    enum { MOST_WIDTH = 256, MOST_SAMPLES = 256 }; /* src/ops/deform.c */
    const char *section = "model.deformable_encoder";
    if (d->d_model % d->heads || d->d_model % 4)
        return tn_fail(err, TN_ERR_CONFIG, "%s.d_model is %d, which is no multiple of %s: use %d, for example", section, d->d_model,
                       d->d_model % d->heads ? "nhead" : "4, as its sine positions need", TN_ROUND_UP(d->d_model, 4 * d->heads));
    if (d->d_model / d->heads > MOST_WIDTH)
        return tn_fail(err, TN_ERR_CONFIG, "%s.nhead is %d: heads %d wide are more than %d; use at least %d", section, d->heads,
                       d->d_model / d->heads, MOST_WIDTH, TN_CEIL_DIV(d->d_model, MOST_WIDTH));
    if (d->levels && d->levels != in->n)
        return tn_fail(err, TN_ERR_CONFIG,
                       "%s.num_feature_levels is %d, but the backbone hands out %d maps: set it to %d, or leave the key out",
                       section, d->levels, in->n, in->n);
    if (d->points * in->n > MOST_SAMPLES)
        return tn_fail(err, TN_ERR_CONFIG, "%s.n_points is %d: with %d maps at most %d", section, d->points, in->n,
                       MOST_SAMPLES / in->n);
    return tn_features_check(in, d->in_channels, d->n_in, "model.deformable_encoder.in_channels", err);
}

/* The weight of the linear module that was added last starts as torch.nn.init.xavier_uniform_ draws it: the mean of both widths
 * stands for the one that is in. */
static int xavier_linear(const tn_parts *p, const char *module, int out, int in, bool joins)
{
    TN_TRY(tn_parts_linear(p, module, out, in, true, joins));
    tn_slot *weight = &p->m->slots[p->m->n_slots - 2];
    weight->init = TN_INIT_UNIFORM_IN, weight->init_fan = (in + out) / 2;
    return 0;
}

/* Offsets and logits start alike for every query: a head looks along a direction, each point a pixel farther. */
static int samples_slots(const tn_parts *p, const tn_deformable *d, int levels)
{
    const int samples = d->heads * levels * d->points;
    TN_TRY(tn_parts_linear(p, "self_attn.sampling_offsets", 2 * samples, d->d_model, true, false));
    tn_slot *weight = &p->m->slots[p->m->n_slots - 2], *bias = weight + 1;
    weight->init = TN_INIT_ZERO;
    bias->init = TN_INIT_DIRECTIONS, bias->init_fan = d->heads, bias->init_std = (float)d->points;
    TN_TRY(tn_parts_linear(p, "self_attn.attention_weights", samples, d->d_model, true, true));
    p->m->slots[p->m->n_slots - 2].init = TN_INIT_ZERO;
    return 0;
}

static int encoder_slots(tn_model *m, int layer, int levels, tn_error *err)
{
    const tn_deformable *d = &m->dec.deformable;
    const int w = d->d_model, inner = 4 * w;
    char prefix[64];
    const tn_parts p = {m, TN_GROUP_HEAD, prefix, err};
    snprintf(prefix, sizeof prefix, "decoder.encoder.layers.%d.", layer);
    TN_TRY(samples_slots(&p, d, levels));
    TN_TRY(xavier_linear(&p, "self_attn.value_proj", w, w, false));
    TN_TRY(xavier_linear(&p, "self_attn.output_proj", w, w, false));
    TN_TRY(xavier_linear(&p, "linear1", inner, w, false));
    TN_TRY(xavier_linear(&p, "linear2", w, inner, false));
    TN_TRY(tn_parts_norm(&p, "norm1", w));
    return tn_parts_norm(&p, "norm2", w);
}

static int deformable_slots(tn_model *m, const tn_feature_list *in, tn_error *err)
{
    const tn_deformable *d = &m->dec.deformable;
    const tn_parts p = {m, TN_GROUP_HEAD, "decoder.", err}, fpn = {m, TN_GROUP_HEAD, "decoder.fpn.", err};
    tn_feature_list out = *in;
    char name[32];
    TN_TRY(deformable_check(d, in, err));
    TN_TRY(tn_parts_add(&p, "level_embed", 2, (int[]){in->n, d->d_model}, TN_INIT_KAIMING_OUT));
    m->slots[m->n_slots - 1].init_std = 1;
    for (int i = 0; i < in->n; i++) {
        snprintf(name, sizeof name, "input_proj.%d", i);
        TN_TRY(tn_parts_conv(&p, name, d->d_model, in->f[i].channels, 1, true));
        tn_slot *weight = &m->slots[m->n_slots - 2], *bias = weight + 1;
        weight->init = TN_INIT_UNIFORM_IN, weight->init_fan = (in->f[i].channels + d->d_model) / 2, bias->init = TN_INIT_ZERO;
        out.f[i].channels = d->lateral;
    }
    for (int i = 0; i < d->layers; i++) TN_TRY(encoder_slots(m, i, in->n, err));
    TN_TRY(tn_parts_conv(&p, "output_proj", d->lateral, d->d_model, 1, true));
    tn_parts_plain(&p, d->d_model);
    return tn_pyramid_slots(&fpn, &out, d->lateral);
}

static int deformable_width(const tn_model *m)
{
    return m->dec.deformable.lateral;
}

/* ---- forward ---- */

typedef struct {
    tn_emitter e;
    const tn_deformable *d;
    tn_levels levels;
    int positions; /* and the levels' rows: [positions of all levels, d_model] float32 */
} encoder;

/* Column k of the i-th of n positions of an axis. */
static float sine_position(int i, int n, int k, double period)
{
    const double angle = (i + 0.5) / (n + 1e-6) * (2 * M_PI) / period;
    return (float)(k % 2 ? cos(angle) : sin(angle));
}

/* DETR's sine positions, normalised: a quarter of the columns are sines of y, a quarter its cosines, turn about, and so of x. The
 * first row and the first column have them, and the others copies, whole halves at a time: the table is large. */
static void sine_positions(float *to, int h, int w, int width)
{
    const size_t half = (size_t)width / 2, row = (size_t)width, line = row * (size_t)w;
    for (int k = 0; k < width / 2; k++) {
        const double period = pow(10000, 2 * (k / 2) / (width / 2.0));
        for (int i = 0; i < h; i++) to[(size_t)i * line + (size_t)k] = sine_position(i, h, k, period);
        for (int j = 0; j < w; j++) to[(size_t)j * row + half + (size_t)k] = sine_position(j, w, k, period);
    }
    for (int i = 0; i < h; i++)
        for (int j = 0; j < w; j++) {
            float *at = to + (size_t)i * line + (size_t)j * row;
            if (j) memcpy(at, to + (size_t)i * line, half * sizeof *at);
            if (i) memcpy(at + half, to + (size_t)j * row + half, half * sizeof *at);
        }
}

static int positions_emit(encoder *n, tn_error *err)
{
    const tn_levels *l = &n->levels;
    const int rows = tn_levels_rows(l, l->n), width = n->d->d_model;
    float *v = malloc(sizeof *v * (size_t)rows * (size_t)width);
    if (!v) return tn_oom(err);
    for (int i = 0; i < l->n; i++) sine_positions(v + (size_t)tn_levels_rows(l, i) * (size_t)width, l->h[i], l->w[i], width);
    const int sine = tn_graph_tensor(n->e.g, TN_G_CONST, TN_F32, rows, width, "sine.positions");
    n->e.g->t[sine].host = v;
    n->positions = tn_graph_tensor(n->e.g, TN_G_ACT, TN_F32, rows, width, "positions");
    tn_gnode *p = tn_graph_node(n->e.g, TN_OP_LEVEL_POSITIONS);
    p->in[0] = sine, p->out[0] = n->positions, p->w[0] = tn_emit_slot(&n->e, "level_embed", NULL);
    p->a.level_positions = n->levels;
    tn_emit_mark(&n->e, p);
    return 0;
}

/* All maps at the encoder's width in one tensor. */
static int join_emit(encoder *n, const tn_feature_list *in)
{
    tn_emitter *e = &n->e;
    int map[TN_MAX_FEATURES];
    char name[32];
    for (int i = 0; i < in->n; i++) {
        snprintf(name, sizeof name, "input_proj.%d", i);
        map[i] = tn_emit_project(e, &in->f[i], name, name).tensor;
    }
    const int x = tn_emit_tensor(e, e->p->batch * tn_levels_rows(&n->levels, in->n), n->d->d_model, "levels");
    tn_gnode *j = tn_graph_node(e->g, TN_OP_LEVELS_JOIN);
    for (int i = 0; i < in->n; i++) j->in[i] = map[i];
    j->out[0] = x, j->a.levels_join = n->levels;
    tn_emit_mark(e, j);
    return x;
}

static int query_emit(encoder *n, int x)
{
    tn_emitter *e = &n->e;
    tn_gnode *q = tn_emit_like(e, TN_OP_ADD_POSITIONS, x, "query");
    const int y = q->out[0];
    q->in[1] = n->positions;
    tn_emit_mark(e, q);
    return y;
}

static int attention_emit(encoder *n, int x)
{
    tn_emitter *e = &n->e;
    const int query = query_emit(n, x), value = tn_emit_module(e, x, "self_attn.value_proj", "value");
    const tn_gpart parts[] = {tn_emit_part(e, "self_attn.sampling_offsets"), tn_emit_part(e, "self_attn.attention_weights")};
    const int samples = tn_emit_linear(e, query, parts, 2, "samples");
    tn_gnode *a = tn_emit_like(e, TN_OP_DEFORM_ATTENTION, value, "attention");
    const int o = a->out[0];
    a->in[1] = samples, a->a.deform_attention = (tn_attr_deform){n->levels, n->d->heads, n->d->points};
    tn_emit_mark(e, a);
    return tn_emit_module(e, o, "self_attn.output_proj", "attention.out");
}

static int encoder_layer(encoder *n, int x)
{
    tn_emitter *e = &n->e;
    x = tn_emit_residual(e, x, attention_emit(n, x), -1, "x.attention");
    x = tn_emit_layernorm(e, x, "norm1", norm_eps, "norm1");
    const int h = tn_emit_act(e, tn_emit_module(e, x, "linear1", "mlp.up"), TN_RELU, "mlp.act");
    x = tn_emit_residual(e, x, tn_emit_module(e, h, "linear2", "mlp.out"), -1, "x.mlp");
    return tn_emit_layernorm(e, x, "norm2", norm_eps, "norm2");
}

/* The levels of x, each a map again. */
static void levels_out(encoder *n, int x, const tn_feature_list *in, tn_feature_list *out)
{
    tn_emitter *e = &n->e;
    *out = *in;
    for (int i = 0; i < in->n; i++) {
        tn_feature *f = &out->f[i];
        f->channels = n->d->lateral, f->own_h = f->own_w = 0;
        f->tensor = tn_emit_tensor(e, e->p->batch * f->h * f->w, f->channels, "level");
        tn_gnode *take = tn_graph_node(e->g, TN_OP_GRID);
        take->in[0] = x, take->out[0] = f->tensor;
        take->a.grid = (tn_attr_map){tn_levels_rows(&n->levels, i), f->h, f->w};
        tn_emit_mark(e, take);
    }
}

static int deformable_emit(tn_graph *g, const tn_model *m, const tn_pass *p, const tn_feature_list *in, tn_map_list *out,
                           tn_error *err)
{
    encoder n = {.e = tn_emit_begin(g, m, p), .d = &m->dec.deformable, .levels = {.n = in->n}};
    tn_feature_list levels;
    char name[32];
    for (int i = 0; i < in->n; i++) n.levels.h[i] = in->f[i].h, n.levels.w[i] = in->f[i].w;
    snprintf(n.e.prefix, sizeof n.e.prefix, "decoder.");
    tn_graph_layer(g, "input_proj", p->recompute);
    TN_TRY(positions_emit(&n, err));
    int x = join_emit(&n, in);
    for (int i = 0; i < n.d->layers; i++) {
        snprintf(name, sizeof name, "encoder.%d", i);
        tn_graph_layer(g, name, p->recompute);
        snprintf(n.e.prefix, sizeof n.e.prefix, "decoder.encoder.layers.%d.", i);
        x = encoder_layer(&n, x);
    }
    tn_graph_layer(g, "output_proj", p->recompute);
    snprintf(n.e.prefix, sizeof n.e.prefix, "decoder.");
    levels_out(&n, tn_emit_module(&n.e, x, "output_proj", "output_proj"), in, &levels);
    snprintf(n.e.prefix, sizeof n.e.prefix, "decoder.fpn.");
    tn_pyramid_emit(&n.e, &levels, out);
    return g->oom ? tn_oom(err) : 0;
}

const tn_decoder_kind tn_decoder_deformable = {"deformable_fpn", true, deformable_slots, deformable_emit, deformable_width};
