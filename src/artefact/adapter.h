/** A PEFT LoRA adapter in a folder: adapter_config.json and adapter_model.safetensors, on the host. */
#ifndef TN_ADAPTER_H
#define TN_ADAPTER_H
#include "engine.h"
#include "jsonio.h"
#include "quant.h"
#include "safetensors.h"

/** One adapted linear layer or convolution, whose kernels are matrices: lora_A [r, in, k, k] is [r, in], in being in * k * k, and
 * lora_B [out, r / groups, 1, 1] is [out, r / groups]. */
typedef struct tn_adapter_module {
    char *path;                            /* as the file has it, without base_model.model. */
    char *common;                          /* tn_common_name */
    const tn_st_tensor *a, *b, *magnitude; /* [r, in], [out, r], [out] or NULL */
    int groups;                            /* of a convolution; 0: a linear layer */
    const tn_st_tensor *bias;              /* lora_B's [out], added to the base's as scale * bias; or NULL */
    int r, in, out;
    float scale;
    bool outside; /* of a head, which no backbone here has */
} tn_adapter_module;

typedef struct tn_adapter {
    char *dir;
    json_t *config;
    tn_st_file *file;
    tn_adapter_module *modules;
    int n;
    bool dora, rslora, lora_bias;
    tn_strs common; /* of each tensor of the file: tn_common_adapter_name */
    tn_strs heads;  /* tensors of modules that no backbone here has, left aside */
} tn_adapter;

/** Of a folder with adapter_config.json and adapter_model.safetensors (or .bin). Used only when all of it was understood: every lie
 * is one sentence: a key or a start that changes the arithmetic in a way that is not built, a pair without its partner, shapes that
 * do not go together, a tensor that nothing takes. */
int tn_adapter_open(tn_adapter **out, const char *dir, tn_error *err);
void tn_adapter_close(tn_adapter *a);
/** Are all keys of an adapter_config.json understood? `dir` names it in errors. */
int tn_adapter_check_config(const char *dir, const json_t *config, tn_error *err);
/** Does layers_to_transform, where it is set, let a module of that path be adapted? */
int tn_adapter_check_layers(const char *dir, const json_t *config, const char *path, tn_error *err);
/** One warning for the heads left aside, if there are any; a module outside the backbone that `base` (or NULL) holds is not. */
void tn_adapter_warn(const tn_adapter *a, const tn_hf_dir *base, const tn_log *log);
/** How many of the modules are the backbone's. */
int tn_adapter_inside(const tn_adapter *a);
/** The i-th tensor of the file when it is no part of LoRA and no head left aside, else NULL. */
const tn_st_tensor *tn_adapter_whole(const tn_adapter *a, int i);
/** A tensor of the backbone that is no adapter (bias, modules_to_save) by the common spelling of its name, or NULL. */
const tn_st_tensor *tn_adapter_other(const tn_adapter *a, const char *common);
/** The module of that common spelling, or NULL. */
const tn_adapter_module *tn_adapter_find(const tn_adapter *a, const char *common);
/** Values as float32; caller frees; NULL with *err filled. */
float *tn_adapter_values(const tn_adapter *a, const tn_st_tensor *t, tn_error *err);
/** How the weights began: kaiming, gaussian, pissa, pissa_niter_N, loftq, ... (borrowed). */
const char *tn_adapter_init(const tn_adapter *a);

/** LoftQ's start: the base is what these alternations leave quantised (tn_loftq). */
typedef struct tn_loftq_start {
    int iterations, block; /* 0 alternations: another start; block as tn_qblock takes it */
    tn_qtype type;
    bool nested;
} tn_loftq_start;
/** Read from loftq_config, which has the format here too (PEFT's own has not: nothing is found). */
int tn_adapter_loftq(tn_loftq_start *s, const tn_adapter *a, tn_error *err);
/** Was the module's weight quantised when the adapter began? */
bool tn_adapter_loftq_has(const tn_adapter *a, const tn_adapter_module *m);

/** The block that a configuration of 0 means, said outright. */
int tn_adapter_block(tn_qtype type, int block);

/** adapter_config.json of the engine's own adapter, as PEFT reads it; new reference. */
json_t *tn_adapter_config(const tn_engine *e);
/** The name of a slot of the LoRA group in adapter_model.safetensors (transformers 5's module path); caller frees. */
char *tn_adapter_key(const tn_model *m, const tn_slot *s);
#endif
