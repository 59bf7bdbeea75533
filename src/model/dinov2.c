/* DINOv2 with and without registers (transformers: models/dinov2, models/dinov2_with_registers). */
#include "backbones.h"

#define BLOCKS                                                                                                                     \
    .norm1 = "encoder.layer.%d.norm1", .query = "encoder.layer.%d.attention.attention.query",                                      \
    .key = "encoder.layer.%d.attention.attention.key", .value = "encoder.layer.%d.attention.attention.value",                      \
    .output = "encoder.layer.%d.attention.output.dense", .scale1 = "encoder.layer.%d.layer_scale1.lambda1",                        \
    .norm2 = "encoder.layer.%d.norm2", .scale2 = "encoder.layer.%d.layer_scale2.lambda1", .norm = "layernorm"
#define EMBEDDINGS                                                                                                                 \
    .patch = "embeddings.patch_embeddings.projection", .cls = "embeddings.cls_token", .registers = "embeddings.register_tokens",   \
    .positions = "embeddings.position_embeddings"

static const tn_vit_names names_mlp = {EMBEDDINGS, BLOCKS, .up = "encoder.layer.%d.mlp.fc1", .down = "encoder.layer.%d.mlp.fc2"};
static const tn_vit_names names_swiglu = {EMBEDDINGS, BLOCKS, .up = "encoder.layer.%d.mlp.weights_in",
                                          .down = "encoder.layer.%d.mlp.weights_out"};

static int dinov2_configure(tn_backbone *b, const json_t *c, tn_error *err)
{
    tn_vit *v = &b->vit;
    v->names = &names_mlp;
    TN_TRY(tn_vit_common(b, c, 1e-6f, err));
    const double ratio = tn_json_num(c, "mlp_ratio", 4);
    v->inner = (int)(v->hidden * ratio);
    v->layer_scale = true;
    v->q_bias = v->k_bias = v->v_bias = tn_json_bool(c, "qkv_bias", 1);
    v->o_bias = v->mlp_bias = true;
    v->pos_mode = TN_POS_BICUBIC;
    if (tn_json_bool(c, "use_swiglu_ffn", 0)) {
        v->gated = v->fused_gate = true;
        v->act = TN_SILU;
        v->inner = (v->inner * 2 / 3 + 7) / 8 * 8;
        v->names = &names_swiglu;
    }
    return tn_vit_image_grid(b, c, 224, err);
}

static int configure_registers(tn_backbone *b, const json_t *c, tn_error *err)
{
    TN_TRY(dinov2_configure(b, c, err));
    b->vit.registers = (int)tn_json_int(c, "num_register_tokens", 4);
    b->vit.pos_mode = TN_POS_BICUBIC_AA;
    return 0;
}

static const char *const dinov2_lora[] = {"query",      "key",         "value", "attention.output.dense", "fc1", "fc2",
                                          "weights_in", "weights_out", NULL};

static const char *const dinov2_spelling[][2] = {{".attention.attention.query", ".attention.q_proj"},
                                                 {".attention.attention.key", ".attention.k_proj"},
                                                 {".attention.attention.value", ".attention.v_proj"},
                                                 {".attention.output.dense", ".attention.o_proj"},
                                                 {0}};

const tn_family tn_family_dinov2 = {"dinov2",         &tn_vit_architecture, TN_NAMES(names_mlp),
                                    dinov2_configure, dinov2_lora,          dinov2_spelling};
const tn_family tn_family_dinov2_registers = {"dinov2_with_registers", &tn_vit_architecture, TN_NAMES(names_mlp),
                                              configure_registers,     dinov2_lora,          dinov2_spelling};
