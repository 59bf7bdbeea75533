/* DINOv3 ViT (transformers: models/dinov3_vit/modeling_dinov3_vit.py): RoPE on patches, registers, layer scale. */
#include "backbones.h"

static const tn_vit_names vit_names = {
    .patch = "embeddings.patch_embeddings",
    .cls = "embeddings.cls_token",
    .registers = "embeddings.register_tokens",
    .norm1 = "layer.%d.norm1",
    .query = "layer.%d.attention.q_proj",
    .key = "layer.%d.attention.k_proj",
    .value = "layer.%d.attention.v_proj",
    .output = "layer.%d.attention.o_proj",
    .scale1 = "layer.%d.layer_scale1.lambda1",
    .norm2 = "layer.%d.norm2",
    .gate = "layer.%d.mlp.gate_proj",
    .up = "layer.%d.mlp.up_proj",
    .down = "layer.%d.mlp.down_proj",
    .scale2 = "layer.%d.layer_scale2.lambda1",
    .norm = "norm",
};

static int dinov3_configure(tn_backbone *b, const json_t *c, tn_error *err)
{
    tn_vit *v = &b->vit;
    v->names = &vit_names;
    TN_TRY(tn_vit_common(b, c, 1e-5f, err));
    v->inner = (int)tn_json_int(c, "intermediate_size", 4 * v->hidden);
    v->registers = (int)tn_json_int(c, "num_register_tokens", 0);
    v->gated = tn_json_bool(c, "use_gated_mlp", 0);
    v->layer_scale = v->rope = true;
    v->rope_theta = (float)tn_json_num(c, "rope_theta", 100);
    v->rope_shift = (float)tn_json_num(c, "pos_embed_shift", 0);
    v->rope_jitter = (float)tn_json_num(c, "pos_embed_jitter", 0);
    v->rope_rescale = (float)tn_json_num(c, "pos_embed_rescale", 2);
    v->q_bias = tn_json_bool(c, "query_bias", 1);
    v->k_bias = tn_json_bool(c, "key_bias", 0);
    v->v_bias = tn_json_bool(c, "value_bias", 1);
    v->o_bias = tn_json_bool(c, "proj_bias", 1);
    v->mlp_bias = tn_json_bool(c, "mlp_bias", 1);
    if (v->hidden / v->heads % 4)
        return tn_fail(err, TN_ERR_FORMAT, "head width %d is no multiple of 4, which RoPE needs", v->hidden / v->heads);
    return 0;
}

static const char *const vit_lora[] = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", NULL};

static const char *const vit_spelling[][2] = {{"^layer.", "model.layer."}, {0}};

const tn_family tn_family_dinov3 = {"dinov3_vit", &tn_vit_architecture, TN_NAMES(vit_names), dinov3_configure,
                                    vit_lora,     vit_spelling};
