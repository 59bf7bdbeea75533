/* Hugging Face ViT (transformers: models/vit/modeling_vit.py): positions for one image size, no layer scale. */
#include "backbones.h"

static const tn_vit_names names = {
    .patch = "embeddings.patch_embeddings.projection",
    .cls = "embeddings.cls_token",
    .positions = "embeddings.position_embeddings",
    .norm1 = "encoder.layer.%d.layernorm_before",
    .query = "encoder.layer.%d.attention.attention.query",
    .key = "encoder.layer.%d.attention.attention.key",
    .value = "encoder.layer.%d.attention.attention.value",
    .output = "encoder.layer.%d.attention.output.dense",
    .norm2 = "encoder.layer.%d.layernorm_after",
    .up = "encoder.layer.%d.intermediate.dense",
    .down = "encoder.layer.%d.output.dense",
    .norm = "layernorm",
};

static int vit_hf_configure(tn_backbone *b, const json_t *c, tn_error *err)
{
    tn_vit *v = &b->vit;
    v->names = &names;
    TN_TRY(tn_vit_common(b, c, 1e-12f, err));
    v->inner = (int)tn_json_int(c, "intermediate_size", 4 * v->hidden);
    v->q_bias = v->k_bias = v->v_bias = tn_json_bool(c, "qkv_bias", 1);
    v->o_bias = v->mlp_bias = true;
    v->pos_mode = TN_POS_BICUBIC; /* as interpolate_pos_encoding=True; the stored size is used unchanged */
    return tn_vit_image_grid(b, c, 224, err);
}

static const char *const lora_default[] = {"query",        "key", "value", "attention.output.dense", "intermediate.dense",
                                           "output.dense", NULL};

static const char *const spelling[][2] = {{"^encoder.layer.", "layers."},
                                          {".attention.attention.query", ".attention.q_proj"},
                                          {".attention.attention.key", ".attention.k_proj"},
                                          {".attention.attention.value", ".attention.v_proj"},
                                          {".attention.output.dense", ".attention.o_proj"},
                                          {".intermediate.dense", ".mlp.fc1"},
                                          {".output.dense", ".mlp.fc2"},
                                          {0}};

const tn_family tn_family_vit = {"vit", &tn_vit_architecture, TN_NAMES(names), vit_hf_configure, lora_default, spelling};
