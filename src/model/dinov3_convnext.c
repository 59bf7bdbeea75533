/* DINOv3 ConvNeXt (transformers: models/dinov3_convnext/modeling_dinov3_convnext.py): one epsilon for all norms. */
#include "backbones.h"

static const tn_convnext_names stage_names = {
    .stem = "stages.0.downsample_layers.0",
    .stem_norm = "stages.0.downsample_layers.1",
    .shrink_norm = "stages.%d.downsample_layers.0",
    .shrink = "stages.%d.downsample_layers.1",
    .depthwise = "stages.%d.layers.%d.depthwise_conv",
    .norm = "stages.%d.layers.%d.layer_norm",
    .up = "stages.%d.layers.%d.pointwise_conv1",
    .down = "stages.%d.layers.%d.pointwise_conv2",
    .scale = "stages.%d.layers.%d.gamma",
    .last_norm = "layer_norm",
};

/* The stem's patches are of 4 whatever config.json says, and there are scales whatever they begin with. */
static int dinov3_convnext_configure(tn_backbone *b, const json_t *c, tn_error *err)
{
    tn_convnext *v = &b->convnext;
    v->names = &stage_names;
    TN_TRY(tn_convnext_common(b, c, err));
    v->patch = 4;
    v->eps = v->last_eps = (float)tn_json_num(c, "layer_norm_eps", 1e-6);
    v->layer_scale = v->tokens = true;
    return 0;
}

static const char *const stage_lora[] = {"pointwise_conv1", "pointwise_conv2", NULL};

static const char *const stage_spelling[][2] = {{"^stages.", "model.stages."}, {0}};

const tn_family tn_family_dinov3_convnext = {
    "dinov3_convnext", &tn_convnext_architecture, TN_NAMES(stage_names), dinov3_convnext_configure, stage_lora, stage_spelling};
