/* timm's Vision Transformers (timm/models/vision_transformer.py): config.json has an architecture's name and no sizes.
 * Weights are found under timm's names through the common spelling, its fused qkv by thirds. */
#include "backbones.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int hidden, layers, heads;
} sizes[] = {{"tiny", 192, 12, 3}, {"small", 384, 12, 6}, {"base", 768, 12, 12}, {"large", 1024, 24, 16}, {"huge", 1280, 32, 16}};

static const tn_vit_names names = {
    .patch = "embeddings.patch_embeddings",
    .cls = "embeddings.cls_token",
    .registers = "embeddings.register_tokens",
    .positions = "embeddings.position_embeddings",
    .norm1 = "layer.%d.norm1",
    .query = "layer.%d.attention.q_proj",
    .key = "layer.%d.attention.k_proj",
    .value = "layer.%d.attention.v_proj",
    .output = "layer.%d.attention.o_proj",
    .scale1 = "layer.%d.layer_scale1.lambda1",
    .norm2 = "layer.%d.norm2",
    .up = "layer.%d.mlp.fc1",
    .down = "layer.%d.mlp.fc2",
    .scale2 = "layer.%d.layer_scale2.lambda1",
    .norm = "norm",
};

static int timm_image_size(tn_backbone *b, const json_t *c, tn_error *err)
{
    tn_vit *v = &b->vit;
    const json_t *input = json_object_get(json_object_get(c, "pretrained_cfg"), "input_size"); /* [3, H, W] */
    const long long h = json_integer_value(json_array_get(input, 1)), w = json_integer_value(json_array_get(input, 2));
    v->pos_h = (int)((h ? h : 224) / b->patch);
    v->pos_w = (int)((w ? w : 224) / b->patch);
    if (v->pos_h < 1 || v->pos_w < 1 || v->pos_h > 512 || v->pos_w > 512)
        return tn_fail(err, TN_ERR_FORMAT, "config.json: input_size %lld x %lld does not fit patches of %d", h, w, b->patch);
    return 0;
}

static int timm_configure(tn_backbone *b, const json_t *c, tn_error *err)
{
    tn_vit *v = &b->vit;
    v->names = &names;
    const char *arch = tn_json_str(c, "architecture", "");
    char size[16] = "";
    if (sscanf(arch, "vit_%15[a-z]_patch%d", size, &b->patch) != 2 || b->patch < 1 || b->patch > 256)
        return tn_fail(err, TN_ERR_FORMAT,
                       "config.json: timm architecture '%s' is not built; vit_{tiny,small,base,large,huge}_patchN "
                       "are",
                       arch);
    for (size_t i = 0; i < TN_COUNT(sizes); i++)
        if (!strcmp(sizes[i].name, size)) v->hidden = sizes[i].hidden, b->layers = sizes[i].layers, v->heads = sizes[i].heads;
    const json_t *args = json_object_get(c, "model_args");
    v->hidden = (int)tn_json_int(args, "embed_dim", v->hidden);
    b->layers = (int)tn_json_int(args, "depth", b->layers);
    v->heads = (int)tn_json_int(args, "num_heads", v->heads);
    if (v->hidden < 1 || v->heads < 1 || b->layers < 1 || v->hidden % v->heads)
        return tn_fail(err, TN_ERR_FORMAT, "config.json: timm architecture '%s' has no size that is known", arch);
    v->inner = 4 * v->hidden;
    v->eps = 1e-6f;
    v->q_bias = v->k_bias = v->v_bias = v->o_bias = v->mlp_bias = true;
    v->layer_scale = strstr(arch, "dinov2") != NULL;
    const char *reg = strstr(arch, "_reg");
    if (reg) sscanf(reg, "_reg%d", &v->registers);
    v->pos_mode = TN_POS_BICUBIC_AA; /* resample_abs_pos_embed */
    return timm_image_size(b, c, err);
}

static const char *const lora_default[] = {"q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2", NULL};

const tn_family tn_family_timm = {"timm", &tn_vit_architecture, TN_NAMES(names), timm_configure, lora_default, NULL};
