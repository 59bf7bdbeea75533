/** Fills a store: from the seed, from a checkpoint; and what adapters take from the base as they begin. */
#ifndef TN_LOAD_H
#define TN_LOAD_H
#include "adapt.h"
#include "checkpoint_dir.h"

/** Initial values of every slot of `groups` from the seed (Kaiming, LoRA's, truncated normal; biases and scales). */
int tn_store_init(tn_store *s, int groups, uint64_t seed, tn_error *err);
/** The backbone's slots from a Hugging Face folder: missing and misshapen tensors are named, extra ones logged. */
int tn_store_load_backbone(tn_store *s, const tn_hf_dir *dir, uint64_t seed, const tn_log *log, tn_error *err);
#endif
