/** A Hugging Face model folder: where it is, its config.json, and its tensors over one file or shards. */
#ifndef TN_CHECKPOINT_DIR_H
#define TN_CHECKPOINT_DIR_H
#include "jsonio.h"
#include "log.h"
#include "safetensors.h"
#include <stdbool.h>

typedef struct tn_hf_dir {
    char *path, *note; /* note: what a user should be told of how it was found, or NULL */
    json_t *config;
    tn_st_file **files;
    int n_files;
} tn_hf_dir;

/**
 * Opens `name`: a folder, or a hub id whose snapshot is in the local hub cache (HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE,
 * TRANSFORMERS_CACHE, HF_HOME, ~/.cache/huggingface). Weights: model.safetensors, pytorch_model.bin (torch_file.h), or the shards
 * that their index names. Not there: TN_ERR_IO with the command that fetches it. weights false: config only.
 */
int tn_hf_open(tn_hf_dir **out, const char *name, bool weights, tn_error *err);
/** Says d->note, if there is one. */
void tn_hf_warn(const tn_hf_dir *d, const tn_log *log);
void tn_hf_close(tn_hf_dir *d);
/** Finds a tensor in any shard, under its name or any other spelling of it (tn_common_name). */
const tn_st_tensor *tn_hf_find(const tn_hf_dir *d, const char *name, const tn_st_file **file);
/** The folder of a hub id in the cache: the snapshot that refs/main names, or the only one where there is no such ref, which *note
 * then tells. Both are the caller's to free. Several snapshots, or a ref to none of them: TN_ERR_IO naming them. */
int tn_hub_resolve(char **path, char **note, const char *id, tn_error *err);
#endif
