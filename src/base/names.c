#include "names.h"
#include "text.h"

#include <stdio.h>
#include <string.h>

static const char *const prefixes[] = {"base_model.model.", "backbone.", "model.",      "module.",  "dinov2_with_registers.",
                                       "dinov2.",           "vit.",      "dinov3_vit.", "encoder.", "convnext.",
                                       "convnextv2.",       NULL};

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

static void cut_all(char *out, const char *wrapper)
{
    const size_t len = strlen(wrapper);
    for (char *at = out; (at = strstr(at, wrapper));)
        if (at == out || at[-1] == '.') memmove(at, at + len, strlen(at + len) + 1);
        else at += len;
}

void tn_unwrapped_name(char *out, size_t n, const char *name)
{
    static const char *const anywhere[] = {"_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."};
    static const char *const in_front[] = {"module.", "state_dict."};
    snprintf(out, n, "%s", name);
    for (size_t i = 0; i < sizeof anywhere / sizeof *anywhere; i++) cut_all(out, anywhere[i]);
    size_t front = 0;
    for (int i = 0; i < 2; i++)
        if (tn_starts(out + front, in_front[i])) {
            front += strlen(in_front[i]);
            i = -1;
        }
    memmove(out, out + front, strlen(out + front) + 1);
}

/* Cuts the component behind `mark` where another one follows it: ".lora_A." of "x.lora_A.default.weight". */
static void cut_component(char *out, const char *mark)
{
    char *at = strstr(out, mark), *next = at ? strchr(at + strlen(mark), '.') : NULL;
    if (next) memmove(at + strlen(mark), next + 1, strlen(next + 1) + 1);
}

void tn_plain_key(char *out, size_t n, const char *key)
{
    tn_unwrapped_name(out, n, key);
    cut_component(out, ".lora_A.");
    cut_component(out, ".lora_B.");
    cut_component(out, ".modules_to_save.");
    names_replace(out, n, ".modules_to_save.", ".");
    while (names_replace(out, n, ".default.", ".")) continue;
    char *magnitude = strstr(out, ".lora_magnitude_vector.");
    if (magnitude) magnitude[strlen(".lora_magnitude_vector")] = 0;
}

void tn_common_name(char *out, size_t n, const char *name)
{
    char plain[320];
    tn_unwrapped_name(plain, sizeof plain, name);
    name = plain;
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
    tn_plain_key(plain, sizeof plain, key);
    names_replace(plain, sizeof plain, ".base_layer", "");
    tn_common_name(out, n, plain);
}
