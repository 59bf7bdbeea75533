#include "model.h"

#include <stdlib.h>
#include <string.h>

static int check_sizes(const tn_model *m, tn_error *err)
{
    const int p = m->vit.patch;
    if (m->image_h % p || m->image_w % p || m->image_h < p || m->image_w < p)
        return tn_fail(err, TN_ERR_CONFIG,
                       "data.preprocess.resize [%d, %d] does not fit patches of %d: both must be multiples "
                       "of %d, for example [%d, %d]",
                       m->image_w, m->image_h, p, p, TN_MAX(p, m->image_w / p * p), TN_MAX(p, m->image_h / p * p));
    if (m->with_decoder && (m->heat_h < 1 || m->heat_w < 1))
        return tn_fail(err, TN_ERR_CONFIG, "model.heatmap.size [%d, %d] must be positive", m->heat_w, m->heat_h);
    if (m->with_decoder && (m->heat_h > m->image_h || m->heat_w > m->image_w))
        return tn_fail(err, TN_ERR_CONFIG, "model.heatmap.size [%d, %d] is larger than the image [%d, %d]; make it smaller",
                       m->heat_w, m->heat_h, m->image_w, m->image_h);
    if (m->vit.pos_mode == TN_POS_FIXED && (m->image_h / p != m->vit.pos_h || m->image_w / p != m->vit.pos_w))
        return tn_fail(err, TN_ERR_CONFIG,
                       "this backbone has positions for [%d, %d] images only; set data.preprocess.resize "
                       "to that",
                       m->vit.pos_w * p, m->vit.pos_h * p);
    return 0;
}

/* A stored backbone takes RGB, of one frame or already of as many as this model. */
static int check_channels(const tn_model *m, tn_error *err)
{
    const int have = m->vit.channels;
    if (have == 3 || have == 3 * m->frames) return 0;
    if (have % 3 || have < 3)
        return tn_fail(err, TN_ERR_FORMAT, "config.json: num_channels %d; only 3 (RGB), or 3 for each frame of a window, is known",
                       have);
    return tn_fail(
        err, TN_ERR_CONFIG,
        "config.json: num_channels %d is of %d frames, and this configuration gives the backbone %d; set model.frames=concat, "
        "data.sequence.enabled=true and data.sequence.length=%d",
        have, have / 3, m->frames, have / 3);
}

/* Adapters keep the patch embedding of several frames as PEFT keeps modules that are trained whole. */
static int save_patches(tn_model *m, tn_error *err)
{
    tn_strs *whole = &m->lora.modules_to_save;
    const char *module = m->vit.names->patch;
    if (m->frames < 2 || tn_strs_has(whole, module)) return 0;
    return tn_strs_add(whole, module) ? 0 : tn_oom(err);
}

int tn_model_new(tn_model **out, const tn_model_spec *spec, const tn_log *log, tn_error *err)
{
    tn_model *m = calloc(1, sizeof *m);
    if (!m) return tn_oom(err);
    m->vit = *spec->vit;
    m->image_h = spec->image_h, m->image_w = spec->image_w, m->heat_h = spec->heat_h, m->heat_w = spec->heat_w;
    m->frames = TN_MAX(spec->frames, 1), m->heats = TN_MAX(spec->heats, 1);
    m->train_backbone = spec->train_backbone;
    m->with_decoder = spec->dec != NULL;
    if (spec->dec) m->dec = *spec->dec;
    int rc = check_sizes(m, err);
    if (!rc) rc = check_channels(m, err);
    if (!rc) rc = tn_vit_slots(m, err);
    if (!rc && spec->lora && spec->lora->enabled) {
        rc = tn_lora_copy(&m->lora, spec->lora) ? save_patches(m, err) : tn_oom(err);
        if (!rc) rc = tn_lora_slots(m, log, err);
    }
    if (!rc && spec->dec) rc = tn_decoder_slots(m, err);
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
    int tokens = -1;
    tn_graph_init(g, p->batch);
    tn_trained trained = {m, p->groups};
    const bool decodes = p->heat || p->loss;
    if (p->stretch != TN_STRETCH_FROM_GRID) TN_TRY(tn_vit_emit(g, m, p, &tokens, err));
    const int grid = decodes || p->stretch == TN_STRETCH_TO_GRID ? tn_grid_emit(g, m, p, tokens) : -1;
    if (decodes) TN_TRY(tn_decoder_emit(g, m, p, grid, err));
    if (p->loss) loss_emit(g, m, p);
    g->n_forward = g->n_n;
    if (p->loss && p->groups) TN_TRY(tn_graph_backward(g, tn_is_trained, &trained, err));
    return g->oom ? tn_oom(err) : 0;
}
