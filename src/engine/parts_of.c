#include "parts_of.h"

#include <string.h>

static int ints_of(int *to, const tn_ints *v)
{
    memcpy(to, v->v, sizeof *to * (size_t)v->n); /* as many as a list of the schema may have */
    return v->n;
}

static void upsampling_of(tn_decoder *dec, const tn_settings *s)
{
    tn_upsampling *d = &dec->upsampling;
    *d = (tn_upsampling){.blocks = s->model.blocks,
                         .batch_norm = !strcmp(s->model.norm, "bn"),
                         .relu = !strcmp(s->model.activation, "relu"),
                         .depthwise = s->model.depthwise,
                         .se = s->model.se,
                         .se_reduction = s->model.se_reduction,
                         .dropout = (float)s->model.dropout};
    d->n_channels = ints_of(d->channels, &s->model.channels);
    d->n_upsample = ints_of(d->upsample, &s->model.upsample);
}

static void fpn_of(tn_decoder *dec, const tn_settings *s)
{
    tn_fpn *d = &dec->fpn;
    *d = (tn_fpn){.lateral = s->model.fpn.lateral, .concat = !strcmp(s->model.fpn.fuse, "concat")};
    d->n_in = ints_of(d->in_channels, &s->model.fpn.in_channels);
}

static void hrnet_of(tn_decoder *dec, const tn_settings *s)
{
    tn_hrnet *d = &dec->hrnet;
    *d = (tn_hrnet){.units = s->model.hrnet.units, .out = s->model.hrnet.out};
    d->n_in = ints_of(d->in_channels, &s->model.hrnet.in_channels);
    d->n_widths = ints_of(d->widths, &s->model.hrnet.widths);
}

static void deformable_of(tn_decoder *dec, const tn_settings *s)
{
    tn_deformable *d = &dec->deformable;
    *d = (tn_deformable){.d_model = s->model.deformable.d_model,
                         .heads = s->model.deformable.heads,
                         .layers = s->model.deformable.layers,
                         .levels = s->model.deformable.levels,
                         .points = s->model.deformable.points,
                         .lateral = s->model.deformable.lateral};
    d->n_in = ints_of(d->in_channels, &s->model.deformable.in_channels);
}

/* Decoders by the model_name that means them, and what of the configuration is theirs. */
static const struct {
    const char *model_name, *kind;
    void (*of)(tn_decoder *, const tn_settings *);
} decoders[] = {
    {"vit_heatmap", "upsampling", upsampling_of},
    {"convnext_fpn_heatmap", "fpn", fpn_of},
    {"convnext_hrnet_heatmap", "hrnet", hrnet_of},
    {"convnext_deformable_fpn_heatmap", "deformable_fpn", deformable_of},
};

int tn_decoder_of_settings(tn_decoder *d, const tn_settings *s, tn_error *err)
{
    const char *kind = s->model.decoder_kind;
    for (size_t i = 0; i < TN_COUNT(decoders); i++) {
        if (strcmp(kind ? kind : s->model.name, kind ? decoders[i].kind : decoders[i].model_name) != 0) continue;
        *d = (tn_decoder){.kind = tn_decoder_find(decoders[i].kind), .head_std = (float)s->model.head_std};
        decoders[i].of(d, s);
        return 0;
    }
    return tn_fail(err, TN_ERR_CONFIG, "model.%s '%s' is not built", kind ? "decoder.kind" : "model_name",
                   kind ? kind : s->model.name);
}

static void init_of(tn_lora *l, const char *name, int loftq_iter)
{
    const int pissa = tn_pissa_iterations(name);
    l->init = !strcmp(name, "gaussian") ? TN_LORA_GAUSSIAN
              : pissa >= 0              ? TN_LORA_PISSA
              : !strcmp(name, "loftq")  ? TN_LORA_LOFTQ
              : !strcmp(name, "olora")  ? TN_LORA_OLORA
                                        : TN_LORA_KAIMING;
    l->iterations = l->init == TN_LORA_LOFTQ ? loftq_iter : TN_MAX(pissa, 0);
}

tn_lora tn_lora_of_settings(const tn_settings *s)
{
    tn_lora l = {.enabled = s->model.lora.enabled,
                 .rslora = s->model.lora.rslora,
                 .r = s->model.lora.r,
                 .alpha = (float)s->model.lora.alpha,
                 .dropout = (float)s->model.lora.dropout,
                 .dora = s->model.lora.dora,
                 .targets = s->model.lora.targets.list,
                 .target_pattern = s->model.lora.targets.pattern,
                 .exclude = s->model.lora.exclude.list,
                 .exclude_pattern = s->model.lora.exclude.pattern,
                 .rank_pattern = {s->model.lora.rank_pattern.key, s->model.lora.rank_pattern.value},
                 .alpha_pattern = {s->model.lora.alpha_pattern.key, s->model.lora.alpha_pattern.value},
                 .n_layers = s->model.lora.layers.n,
                 .layers_pattern = s->model.lora.layers_pattern,
                 .modules_to_save = s->model.lora.modules_to_save};
    _Static_assert(sizeof l.layers == sizeof s->model.lora.layers.v, "as many layers may be named");
    memcpy(l.layers, s->model.lora.layers.v, sizeof l.layers);
    init_of(&l, s->model.lora.init, s->model.lora.loftq_iter);
    snprintf(l.bias, sizeof l.bias, "%s", s->model.lora.bias);
    return l;
}
