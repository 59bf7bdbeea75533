/* ConvNeXt's slots and forward graph, shared by every family (Liu et al. 2022). Maps are channels last throughout, so that
 * each of its norms is a layernorm of rows and each of its pointwise convolutions a linear layer. */
#include "emit.h"

#include <stdio.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
/* A family's name in stage s, and there of block i. */
static const char *at(char *buf, size_t n, const char *format, int s, int i)
{
    snprintf(buf, n, format, s, i);
    return buf;
}
#pragma GCC diagnostic pop
#define AT(format) at(buf, sizeof buf, format, s, i)

enum { KERNEL = 7, SHRINK = 2, WIDER = 4 }; /* of the depthwise convolutions; of the downsampling; of the hidden layer */

/* ---- slots ---- */

static int grn_slots(const tn_parts *p, const char *module, int n)
{
    char name[160];
    snprintf(name, sizeof name, "%s.weight", module);
    TN_TRY(tn_parts_add(p, name, 4, (int[]){1, 1, 1, n}, TN_INIT_ZERO));
    snprintf(name, sizeof name, "%s.bias", module);
    return tn_parts_add(p, name, 4, (int[]){1, 1, 1, n}, TN_INIT_ZERO);
}

static int block_slots(const tn_parts *p, const tn_convnext *v, int s, int i)
{
    char buf[128];
    const tn_convnext_names *k = v->names;
    const int c = v->width[s];
    TN_TRY(tn_parts_kernel(p, AT(k->depthwise), c, 1, KERNEL));
    TN_TRY(tn_parts_norm(p, AT(k->norm), c));
    TN_TRY(tn_parts_linear(p, AT(k->up), WIDER * c, c, true, false));
    if (v->grn) TN_TRY(grn_slots(p, AT(k->grn), WIDER * c));
    TN_TRY(tn_parts_linear(p, AT(k->down), c, WIDER * c, true, false));
    if (!v->layer_scale) return 0;
    TN_TRY(tn_parts_vector(p, AT(k->scale), c, TN_INIT_CONSTANT));
    p->m->slots[p->m->n_slots - 1].init_std = v->scale_init;
    return 0;
}

static int stage_slots(const tn_parts *p, const tn_convnext *v, int s, int *layer)
{
    char buf[128];
    for (int i = 0; i < v->depth[s]; i++) {
        const int first = p->m->n_slots;
        if (s && !i) {
            TN_TRY(tn_parts_norm(p, AT(v->names->shrink_norm), v->width[s - 1]));
            TN_TRY(tn_parts_kernel(p, AT(v->names->shrink), v->width[s], v->width[s - 1], SHRINK));
        }
        TN_TRY(block_slots(p, v, s, i));
        ++*layer;
        for (int k = first; k < p->m->n_slots; k++) p->m->slots[k].layer = *layer;
    }
    return 0;
}

static int convnext_slots(tn_model *m, tn_error *err)
{
    const tn_convnext *v = &m->backbone.convnext;
    const tn_parts p = {m, TN_GROUP_BACKBONE, "", err};
    int layer = 0;
    TN_TRY(tn_parts_pixels(&p, v->names->stem, v->width[0], v->patch));
    TN_TRY(tn_parts_norm(&p, v->names->stem_norm, v->width[0]));
    for (int s = 0; s < v->n_stages; s++) TN_TRY(stage_slots(&p, v, s, &layer));
    if (!m->backbone.whole) return 0;
    const int first = m->n_slots;
    TN_TRY(tn_parts_norm(&p, v->names->last_norm, v->width[v->n_stages - 1]));
    for (int i = first; i < m->n_slots; i++) m->slots[i].trainable = false; /* no decoder reads it */
    return 0;
}

/* ---- forward ---- */

static int stem(tn_emitter *e)
{
    const tn_convnext *v = &e->m->backbone.convnext;
    const int x = tn_emit_module(e, tn_emit_patches(e, v->patch), v->names->stem, "stem.patches");
    return tn_emit_layernorm(e, x, v->names->stem_norm, v->eps, v->tokens ? "stem" : "hidden_states.0");
}

static tn_feature shrunk(tn_emitter *e, const tn_feature *x, int s)
{
    char buf[128];
    const int i = 0;
    const tn_convnext *v = &e->m->backbone.convnext;
    tn_feature y = *x;
    y.tensor = tn_emit_layernorm(e, x->tensor, AT(v->names->shrink_norm), v->eps, "shrink.norm");
    return tn_emit_conv(e, &y, AT(v->names->shrink), SHRINK, 0, "shrink");
}

/* Global response normalisation (Woo et al. 2023) over maps of `rows`. */
static int grn(tn_emitter *e, int x, const char *module, int rows)
{
    const int norms = tn_graph_tensor(e->g, TN_G_ACT, TN_F32, 2 * e->p->batch, e->g->t[x].cols, "norms");
    tn_gnode *n = tn_emit_like(e, TN_OP_GRN, x, "grn");
    const int y = n->out[0];
    n->out[1] = norms, n->a.grn.rows = rows;
    n->w[0] = tn_emit_slot(e, module, "weight"), n->w[1] = tn_emit_slot(e, module, "bias");
    tn_emit_mark(e, n);
    return y;
}

static int block(tn_emitter *e, const tn_feature *x, int s, int i)
{
    char buf[128], name[48];
    const tn_convnext *v = &e->m->backbone.convnext;
    const tn_convnext_names *k = v->names;
    int y = tn_emit_conv(e, x, AT(k->depthwise), 1, KERNEL / 2, "depthwise").tensor;
    y = tn_emit_layernorm(e, y, AT(k->norm), v->eps, "norm");
    y = tn_emit_act(e, tn_emit_module(e, y, AT(k->up), "mlp.up"), v->act, "mlp.act");
    if (v->grn) y = grn(e, y, AT(k->grn), x->h * x->w);
    y = tn_emit_module(e, y, AT(k->down), "mlp.out");
    if (i == v->depth[s] - 1) snprintf(name, sizeof name, "hidden_states.%d", s + 1);
    else snprintf(name, sizeof name, "x");
    return tn_emit_residual(e, x->tensor, y, v->layer_scale ? tn_emit_slot(e, AT(k->scale), NULL) : -1, name);
}

/* hidden_states.<state>, which is x. */
static void hand_out(const tn_emitter *e, tn_feature_list *out, int state, const tn_feature *x)
{
    const tn_backbone *b = &e->m->backbone;
    if (e->p->hidden) e->g->t[x->tensor].kind = TN_G_OUTPUT;
    for (int i = 0; i < b->n_returned; i++)
        if (b->returned[i] == state) out->f[i] = *x;
}

/* What the library makes of the last stage besides. */
static void last_norm(tn_emitter *e, const tn_feature *x)
{
    const tn_convnext *v = &e->m->backbone.convnext;
    int y = tn_emit_sample_mean(e, x->tensor, x->h * x->w, "mean");
    y = tn_emit_layernorm(e, y, v->names->last_norm, v->last_eps, "pooler_output");
    e->g->t[y].kind = TN_G_OUTPUT;
    if (!v->tokens) return;
    y = tn_emit_layernorm(e, x->tensor, v->names->last_norm, v->last_eps, "last_hidden_state");
    e->g->t[y].kind = TN_G_OUTPUT;
}

static int convnext_emit(tn_graph *g, const tn_model *m, const tn_pass *p, tn_feature_list *out, tn_error *err)
{
    tn_emitter e = tn_emit_begin(g, m, p);
    const tn_convnext *v = &m->backbone.convnext;
    int layer = 0;
    tn_graph_layer(g, "embeddings", p->recompute);
    tn_feature x = {
        .h = m->image_h / v->patch, .w = m->image_w / v->patch, .channels = v->width[0], .stride = v->patch, .tensor = stem(&e)};
    *out = (tn_feature_list){.n = m->backbone.n_returned};
    if (!v->tokens) hand_out(&e, out, 0, &x);
    for (int s = 0; s < v->n_stages; s++) {
        for (int i = 0; i < v->depth[s]; i++, layer++) {
            char name[32];
            snprintf(name, sizeof name, "layer.%d", layer);
            tn_graph_layer(g, name, tn_emit_policy(p, layer));
            if (s && !i) x = shrunk(&e, &x, s);
            x.tensor = block(&e, &x, s, i);
            if (g->oom) return tn_oom(err);
        }
        hand_out(&e, out, s + 1, &x);
    }
    if (p->hidden && m->backbone.whole) last_norm(&e, &x);
    return g->oom ? tn_oom(err) : 0;
}

/* ---- the row ---- */

static void convnext_features(const tn_model *m, tn_feature_list *out)
{
    const tn_backbone *b = &m->backbone;
    const tn_convnext *v = &b->convnext;
    *out = (tn_feature_list){.n = b->n_returned};
    for (int i = 0; i < out->n; i++) {
        const int s = TN_MAX(b->returned[i] - 1, 0), stride = v->patch << s;
        out->f[i] = (tn_feature){
            .tensor = -1, .h = m->image_h / stride, .w = m->image_w / stride, .channels = v->width[s], .stride = stride};
    }
}

/* Any but one that has no pixel left in the end. */
static int convnext_fits(const tn_model *m, tn_error *err)
{
    const tn_convnext *v = &m->backbone.convnext;
    const int least = v->patch << (v->n_stages - 1);
    if (m->image_h >= least && m->image_w >= least) return 0;
    return tn_fail(
        err, TN_ERR_CONFIG,
        "data.preprocess.resize [%d, %d] is too small for this backbone: its last map has a pixel for %d of the image's, "
        "so both sides must be at least %d",
        m->image_w, m->image_h, least, least);
}

static void convnext_states(tn_backbone *b)
{
    b->first_state = b->convnext.tokens;
    b->last_state = b->n_returned = b->convnext.n_stages;
    for (int i = 0; i < b->n_returned; i++) b->returned[i] = i + 1;
}

static void convnext_end(tn_backbone *b, int state)
{
    b->convnext.n_stages = state;
    b->layers = 0;
    for (int s = 0; s < state; s++) b->layers += b->convnext.depth[s];
}

/* No two stages are alike, and a block's work depends on its stage: it stays as it is. */
static void convnext_shorten(tn_backbone *b, int n)
{
    (void)b;
    (void)n;
}

const tn_architecture tn_convnext_architecture = {
    convnext_fits, convnext_slots, convnext_features, convnext_emit, convnext_states, convnext_end, convnext_shorten, NULL, NULL};
