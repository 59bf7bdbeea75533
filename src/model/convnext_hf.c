/* ConvNeXt and ConvNeXt V2 (transformers: models/convnext, models/convnextv2): config.json's layer_norm_eps is of the norm behind
 * the last stage alone. */
#include "backbones.h"

#define NAMES                                                                                                                      \
    .stem = "embeddings.patch_embeddings", .stem_norm = "embeddings.layernorm",                                                    \
    .shrink_norm = "encoder.stages.%d.downsampling_layer.0", .shrink = "encoder.stages.%d.downsampling_layer.1",                   \
    .depthwise = "encoder.stages.%d.layers.%d.dwconv", .norm = "encoder.stages.%d.layers.%d.layernorm",                            \
    .up = "encoder.stages.%d.layers.%d.pwconv1", .down = "encoder.stages.%d.layers.%d.pwconv2", .last_norm = "layernorm"

static const tn_convnext_names names_v1 = {NAMES, .scale = "encoder.stages.%d.layers.%d.layer_scale_parameter"};
static const tn_convnext_names names_v2 = {NAMES, .grn = "encoder.stages.%d.layers.%d.grn"};

static int configure(tn_backbone *b, const json_t *c, tn_error *err)
{
    TN_TRY(tn_convnext_common(b, c, err));
    b->convnext.eps = 1e-6f;
    b->convnext.last_eps = (float)tn_json_num(c, "layer_norm_eps", 1e-12);
    return 0;
}

static int convnext_configure(tn_backbone *b, const json_t *c, tn_error *err)
{
    TN_TRY(configure(b, c, err));
    b->convnext.names = &names_v1;
    b->convnext.layer_scale = b->convnext.scale_init > 0;
    return 0;
}

static int convnextv2_configure(tn_backbone *b, const json_t *c, tn_error *err)
{
    TN_TRY(configure(b, c, err));
    b->convnext.names = &names_v2;
    b->convnext.grn = true;
    return 0;
}

static const char *const lora_default[] = {"pwconv1", "pwconv2", NULL};

const tn_family tn_family_convnext = {"convnext", &tn_convnext_architecture, TN_NAMES(names_v1), convnext_configure, lora_default,
                                      NULL};
const tn_family tn_family_convnextv2 = {
    "convnextv2", &tn_convnext_architecture, TN_NAMES(names_v2), convnextv2_configure, lora_default, NULL};
