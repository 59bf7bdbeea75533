/** Tensor and module names of backbones: one spelling behind those of transformers 4 and 5, PEFT and timm. */
#ifndef TN_NAMES_H
#define TN_NAMES_H
#include <stddef.h>

/**
 * The common spelling of a tensor's or module's name: wrappers' prefixes (base_model.model., model., backbone., vit., ...)
 * gone, blocks as layer.N, attention as attention.{q,k,v,o}_proj, the plain MLP as mlp.fc1 and mlp.fc2, norms as norm1,
 * norm2 and norm. Two names with one common spelling name the same thing. DINOv3's mlp.up_proj and what ConvNeXts have behind
 * such prefixes keep their names.
 */
void tn_common_name(char *out, size_t n, const char *name);
/** The same of an adapter's key: of tn_plain_key, and also without .base_layer. */
void tn_common_adapter_name(char *out, size_t n, const char *key);
/** A name without what wraps a model in memory: torch.compile's _orig_mod. and FSDP's names anywhere, DataParallel's module. and a
 * checkpoint's state_dict. in front. */
void tn_unwrapped_name(char *out, size_t n, const char *name);
/** An adapter's key as PEFT's save_pretrained spells it: unwrapped, and without the adapter's own name (lora_A.default.weight,
 * modules_to_save.other.weight, lora_magnitude_vector.default.weight). */
void tn_plain_key(char *out, size_t n, const char *key);
#endif
