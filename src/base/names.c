#include "names.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

static const char *const prefixes[] = {"base_model.model.", "backbone.", "model.", "dinov2_with_registers.", "dinov2.", "vit.",
                                       "dinov3_vit.",       "encoder.",  NULL};

/* from -> to; ^ binds to the beginning. The first that fits of each line's text is applied, in order. */
static const char *const words[][2] = {
    {"^layers.", "layer."},
    {"^blocks.", "layer."},
    {".attention.attention.query", ".attention.q_proj"},
    {".attention.attention.key", ".attention.k_proj"},
    {".attention.attention.value", ".attention.v_proj"},
    {".attention.output.dense", ".attention.o_proj"},
    {".attn.proj", ".attention.o_proj"},
    {".attn.qkv", ".attention.qkv"},
    {".intermediate.dense", ".mlp.fc1"},
    {".output.dense", ".mlp.fc2"},
    {".mlp.weights_in", ".mlp.fc1"},
    {".mlp.weights_out", ".mlp.fc2"},
    {".mlp.w12", ".mlp.fc1"},
    {".mlp.w3", ".mlp.fc2"},
    {".layernorm_before", ".norm1"},
    {".layernorm_after", ".norm2"},
    {".ls1.gamma", ".layer_scale1.lambda1"},
    {".ls2.gamma", ".layer_scale2.lambda1"},
    {"^layernorm", "norm"},
    {"^patch_embed.proj", "embeddings.patch_embeddings"},
    {"^embeddings.patch_embeddings.projection", "embeddings.patch_embeddings"},
    {"^cls_token", "embeddings.cls_token"},
    {"^pos_embed", "embeddings.position_embeddings"},
    {"^reg_token", "embeddings.register_tokens"},
    {"^register_tokens", "embeddings.register_tokens"},
    {"^mask_token", "embeddings.mask_token"},
};

/* Replaces the first `from` in out; true when there was one. */
static bool names_replace(char *out, size_t n, const char *from, const char *to)
{
    const bool begins = from[0] == '^';
    from += begins;
    char *at = begins ? (tn_starts(out, from) ? out : NULL) : strstr(out, from);
    if (!at) return false;
    char rest[320];
    const size_t head = (size_t)(at - out);
    snprintf(rest, sizeof rest, "%s", at + strlen(from));
    snprintf(out + head, n - head, "%s%s", to, rest);
    return true;
}

void tn_common_name(char *out, size_t n, const char *name)
{
    for (int i = 0; prefixes[i]; i++)
        if (tn_starts(name, prefixes[i])) {
            name += strlen(prefixes[i]);
            i = -1;
        }
    snprintf(out, n, "%s", name);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) names_replace(out, n, words[i][0], words[i][1]);
}

void tn_common_adapter_name(char *out, size_t n, const char *key)
{
    char plain[320];
    snprintf(plain, sizeof plain, "%s", key);
    names_replace(plain, sizeof plain, ".base_layer", "");
    names_replace(plain, sizeof plain, ".modules_to_save.default", "");
    names_replace(plain, sizeof plain, ".default.weight", ".weight");
    names_replace(plain, sizeof plain, ".lora_magnitude_vector.weight", ".lora_magnitude_vector");
    tn_common_name(out, n, plain);
}
