#include "model.h"

#include <stdlib.h>
#include <string.h>

static int check_sizes(const tn_model *m, tn_error *err)
{
    if (m->with_decoder && (m->heat_h < 1 || m->heat_w < 1))
        return tn_fail(err, TN_ERR_CONFIG, "model.heatmap.size [%d, %d] must be positive", m->heat_w, m->heat_h);
    if (m->with_decoder && (m->heat_h > m->image_h || m->heat_w > m->image_w))
        return tn_fail(err, TN_ERR_CONFIG, "model.heatmap.size [%d, %d] is larger than the image [%d, %d]; make it smaller",
                       m->heat_w, m->heat_h, m->image_w, m->image_h);
    return m->backbone.family->architecture->fits(m, err);
}

static int decoder_slots(tn_model *m, tn_error *err)
{
    tn_feature_list in;
    m->backbone.family->architecture->features(m, &in);
    if (m->dec.kind->scales) tn_scales_of(&in);
    TN_TRY(m->dec.kind->slots(m, &in, err));
    return tn_head_slots(m, err);
}

/* A stored backbone takes RGB, of one frame or already of as many as this model. */
static int check_channels(const tn_model *m, tn_error *err)
{
    const int have = m->backbone.channels;
    if (have == 3 || have == 3 * m->frames) return 0;
    if (have % 3 || have < 3)
        return tn_fail(err, TN_ERR_FORMAT, "config.json: num_channels %d; only 3 (RGB), or 3 for each frame of a window, is known",
                       have);
    return tn_fail(err, TN_ERR_CONFIG,
                   "config.json: num_channels %d is of %d frames, and this configuration gives the backbone %d; set "
                   "model.frames=concat, data.sequence.enabled=true and data.sequence.length=%d",
                   have, have / 3, m->frames, have / 3);
}

/* What reads several frames is new, and so trained, whoever freezes the rest: with the head, or where there are adapters kept with
 * them, as PEFT keeps modules that are trained whole. */
static int train_pixels(tn_model *m, tn_error *err)
{
    for (int i = 0; i < m->n_slots; i++) {
        tn_slot *s = &m->slots[i];
        if (s->frames < 2 || m->train_backbone) continue;
        const int bias = tn_model_beside(m, s, "bias");
        s->trainable = true, s->group = TN_GROUP_HEAD;
        if (bias >= 0) m->slots[bias].trainable = true, m->slots[bias].group = TN_GROUP_HEAD;
        char *module = m->lora.enabled ? tn_strf("%.*s", (int)(strlen(s->name) - strlen(".weight")), s->name) : NULL;
        const bool kept =
            module && (tn_strs_has(&m->lora.modules_to_save, module) || tn_strs_add(&m->lora.modules_to_save, module));
        free(module);
        if (m->lora.enabled && !kept) return tn_oom(err);
    }
    return 0;
}

static int lora_slots(tn_model *m, const tn_lora *lora, const tn_log *log, tn_error *err)
{
    const bool wanted = lora && lora->enabled;
    if (wanted && !tn_lora_copy(&m->lora, lora)) return tn_oom(err);
    TN_TRY(train_pixels(m, err));
    return wanted ? tn_lora_slots(m, log, err) : 0;
}

int tn_model_new(tn_model **out, const tn_model_spec *spec, const tn_log *log, tn_error *err)
{
    tn_model *m = calloc(1, sizeof *m);
    if (!m) return tn_oom(err);
    m->backbone = *spec->backbone;
    m->image_h = spec->image_h, m->image_w = spec->image_w, m->heat_h = spec->heat_h, m->heat_w = spec->heat_w;
    m->frames = TN_MAX(spec->frames, 1), m->heats = TN_MAX(spec->heats, 1);
    m->train_backbone = spec->train_backbone;
    m->with_decoder = spec->dec != NULL;
    if (spec->dec) m->dec = *spec->dec;
    int rc = check_sizes(m, err);
    if (!rc) rc = check_channels(m, err);
    if (!rc) rc = m->backbone.family->architecture->slots(m, err);
    if (!rc) rc = lora_slots(m, spec->lora, log, err);
    if (!rc && spec->dec) rc = decoder_slots(m, err);
    if (rc) {
        tn_model_free(m);
        m = NULL;
    }
    *out = m;
    return rc;
}

void tn_model_free(tn_model *m)
{
    if (!m) return;
    for (int i = 0; i < m->n_slots; i++) free(m->slots[i].name);
    free(m->slots);
    tn_lora_free(&m->lora);
    free(m);
}

/* Drawn right before it is read, so that it takes room only there. */
static void target_emit(tn_graph *g, const tn_model *m, const tn_pass *p)
{
    g->labels = tn_graph_tensor(g, TN_G_INPUT, TN_F32, p->batch * m->heats, 3, "labels");
    tn_gnode *n = tn_graph_node(g, TN_OP_TARGET);
    n->in[0] = g->labels, n->out[0] = g->target, n->out[1] = g->mask;
    n->a.target = (tn_attr_target){m->heat_h, m->heat_w, p->sigma, p->negative};
}

static void loss_emit(tn_graph *g, const tn_model *m, const tn_pass *p)
{
    const int n = p->batch * m->heat_h * m->heat_w;
    const tn_gkind kind = p->frames ? TN_G_ACT : TN_G_INPUT;
    g->target = tn_graph_tensor(g, kind, TN_F32, n, m->heats, "target");
    g->mask = tn_graph_tensor(g, kind, TN_F32, p->batch, m->heats, "mask");
    if (p->frames) target_emit(g, m, p);
    int dheat = tn_graph_tensor(g, TN_G_ACT, TN_F32, n, m->heats, "d.heatmap");
    g->loss = tn_graph_tensor(g, TN_G_OUTPUT, TN_F32, TN_PARTIALS, 1, "loss");
    tn_gnode *l = tn_graph_node(g, TN_OP_LOSS);
    l->in[0] = g->heat, l->in[1] = g->target, l->in[2] = g->mask;
    l->out[0] = dheat, l->out[1] = g->loss;
}

int tn_model_graph(tn_graph *g, const tn_model *m, const tn_pass *p, tn_error *err)
{
    const tn_architecture *body = m->backbone.family->architecture;
    tn_feature_list f;
    tn_map_list maps;
    tn_graph_init(g, p->batch);
    tn_trained trained = {m, p->groups};
    const bool decodes = p->heat || p->loss;
    if (p->stretch != TN_STRETCH_FROM_FEATURES) TN_TRY(body->emit(g, m, p, &f, err));
    else body->features(m, &f);
    if (decodes || p->stretch == TN_STRETCH_TO_FEATURES) tn_features_emit(g, m, p, &f);
    if (decodes && m->dec.kind->scales) tn_scales_of(&f);
    if (decodes) TN_TRY(m->dec.kind->emit(g, m, p, &f, &maps, err));
    if (decodes) TN_TRY(tn_head_emit(g, m, p, &maps, err));
    if (p->loss) loss_emit(g, m, p);
    g->n_forward = g->n_n;
    if (p->loss && p->groups) TN_TRY(tn_graph_backward(g, tn_is_trained, &trained, err));
    return g->oom ? tn_oom(err) : 0;
}

size_t tn_model_drawn(const tn_model *m)
{
    const tn_architecture *a = m->backbone.family->architecture;
    return a->drawn ? a->drawn(m) : 0;
}

void tn_model_draw(const tn_model *m, uint32_t seed, float *table)
{
    m->backbone.family->architecture->draw(m, seed, table);
}
