/** Tensor and module names of Vision Transformers: one spelling behind those of transformers 4 and 5, PEFT and timm. */
#ifndef TN_NAMES_H
#define TN_NAMES_H
#include <stddef.h>

/**
 * The common spelling of a tensor's or module's name: wrappers' prefixes (base_model.model., model., backbone., vit., ...)
 * gone, blocks as layer.N, attention as attention.{q,k,v,o}_proj, the plain MLP as mlp.fc1 and mlp.fc2, norms as norm1,
 * norm2 and norm. Two names with one common spelling name the same thing. DINOv3's mlp.up_proj keeps its name.
 */
void tn_common_name(char *out, size_t n, const char *name);
/** The same of an adapter's key: also without .base_layer, .modules_to_save.default and the adapter's own name. */
void tn_common_adapter_name(char *out, size_t n, const char *key);
#endif
