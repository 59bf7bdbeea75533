/** Which modules of a backbone LoRA's settings name (target_modules, exclude_modules, layers_to_transform, patterns). */
#ifndef TN_LORA_SELECT_H
#define TN_LORA_SELECT_H
#include "model.h"

/** The modules that may have adapters. Found and freed by the calls below; m and log are borrowed. */
typedef struct tn_lora_modules {
    tn_model *m;
    tn_strs names;  /* the checkpoint's spelling */
    tn_strs paths;  /* transformers 5's, one for each */
    tn_strs common; /* the one behind all, one for each */
    char *asked;    /* target_modules as they were given, for errors */
    const tn_log *log;
} tn_lora_modules;

int tn_lora_modules_find(tn_lora_modules *f, tn_model *m, const tn_log *log, tn_error *err);
void tn_lora_modules_free(tn_lora_modules *f);
/** Brings the model's settings to names of this backbone (query where q_proj was meant), and refuses what cannot be meant. */
int tn_lora_settle(tn_lora_modules *f, tn_error *err);
/** Is module i to have an adapter? */
int tn_lora_selects(bool *hit, const tn_lora_modules *f, int i, tn_error *err);
/** The number that module i has of rank_pattern or alpha_pattern: the first key that fits decides, without one *value stays. */
int tn_lora_number(double *value, const tn_lora_modules *f, int i, const tn_lora_pattern *p, const char *key, tn_error *err);
/** The error where no module was selected. */
int tn_lora_no_match(const tn_lora_modules *f, tn_error *err);
#endif
