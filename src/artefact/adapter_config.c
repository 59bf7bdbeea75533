/* Which keys of an adapter_config.json are understood, and with which values. */
#include "adapter.h"
#include "match.h"
#include "model.h"

#include <string.h>

typedef enum { ANY, OFF, FLAG, NUMBER, NUMBERS, TEXT, NAMES, LAYERS, PATTERNS } config_rule;

/* ANY: it says nothing about the arithmetic of a trained adapter. OFF: only as absent. The others are read, here or elsewhere, and
 * must be what they are read as: a number written as text would else be taken for the default. */
static const struct {
    const char *key;
    config_rule rule;
    const char *what;
} known[] = {
    {"alora_invocation_tokens", OFF, "aLoRA adapts some tokens only"},
    {"alpha_pattern", NUMBERS, NULL},
    {"arrow_config", OFF, "Arrow routes between adapters"},
    {"auto_mapping", ANY, NULL},
    {"base_model_name_or_path", ANY, NULL},
    {"bias", TEXT, NULL},
    {"corda_config", ANY, NULL}, /* init_lora_weights tells whether it was followed */
    {"ensure_weight_tying", ANY, NULL},
    {"eva_config", ANY, NULL},
    {"exclude_modules", ANY, NULL},
    {"fan_in_fan_out", FLAG, NULL},
    {"inference_mode", ANY, NULL},
    {"init_lora_weights", ANY, NULL},
    {"kasa_config", OFF, "KaSA cuts singular values out of the base"},
    {"layer_replication", OFF, "it repeats the base's layers"},
    {"layers_pattern", PATTERNS, NULL},
    {"layers_to_transform", LAYERS, NULL},
    {"loftq_config", ANY, NULL},
    {"lora_alpha", NUMBER, NULL},
    {"lora_bias", FLAG, NULL},
    {"lora_dropout", ANY, NULL},
    {"lora_ga_config", ANY, NULL},
    {"megatron_config", OFF, "Megatron splits the layers"},
    {"megatron_core", ANY, NULL},
    {"merge_weights", ANY, NULL}, /* PEFT 0.2 */
    {"modules_to_save", NAMES, NULL},
    {"peft_type", TEXT, NULL},
    {"peft_version", ANY, NULL},
    {"qalora_group_size", ANY, NULL},
    {"r", NUMBER, NULL},
    {"rank_pattern", NUMBERS, NULL},
    {"revision", ANY, NULL},
    {"runtime_config", ANY, NULL},
    {"target_modules", ANY, NULL},
    {"target_parameters", OFF, "it adapts parameters that are no linear layers"},
    {"task_type", ANY, NULL},
    {"trainable_token_indices", OFF, "it trains an embedding of words"},
    {"use_bdlora", OFF, "BD-LoRA's factors are block-diagonal"},
    {"use_dora", FLAG, NULL},
    {"use_qalora", OFF, "QALoRA pools the input"},
    {"use_rslora", FLAG, NULL},
    {"velora_config", ANY, NULL}, /* only how gradients are computed */
};

/* null, false, 0, "", {} and []: as if the key were not there. */
static bool is_absent(const json_t *v)
{
    return json_is_null(v) || json_is_false(v) || (json_is_object(v) && !json_object_size(v)) ||
           (json_is_array(v) && !json_array_size(v)) || (json_is_string(v) && !json_string_length(v)) ||
           (json_is_number(v) && json_number_value(v) == 0);
}

static bool all_numbers(const json_t *v)
{
    const char *key;
    json_t *x;
    json_object_foreach((json_t *)v, key, x) if (!json_is_number(x)) return false;
    return json_is_object(v);
}

static bool all_names(const json_t *v)
{
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!json_is_string(json_array_get(v, i))) return false;
    return json_is_array(v);
}

static bool all_whole(const json_t *v)
{
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!json_is_integer(json_array_get(v, i))) return false;
    return json_is_array(v);
}

/* NULL, or what the value of a key should be and is not. */
static const char *wrong_type(config_rule rule, const json_t *v)
{
    switch (rule) {
    case FLAG: return json_is_boolean(v) ? NULL : "true or false";
    case NUMBER: return json_is_number(v) ? NULL : "a number";
    case NUMBERS: return all_numbers(v) ? NULL : "a mapping of names to numbers";
    case TEXT: return json_is_string(v) ? NULL : "a text";
    case NAMES: return all_names(v) ? NULL : "a list of names";
    case LAYERS: return json_is_integer(v) || all_whole(v) ? NULL : "a whole number or a list of them";
    case PATTERNS: return json_is_string(v) || all_names(v) ? NULL : "a text or a list of them";
    default: return NULL;
    }
}

static int check_key(const char *dir, const char *key, const json_t *v, tn_error *err)
{
    for (size_t i = 0; i < TN_COUNT(known); i++) {
        if (strcmp(known[i].key, key)) continue;
        const char *want = json_is_null(v) ? NULL : wrong_type(known[i].rule, v);
        if (want)
            return tn_fail(err, TN_ERR_FORMAT, "adapter '%s': %s in its adapter_config.json is not %s; correct it", dir, key, want);
        if (known[i].rule != OFF || is_absent(v)) return 0;
        return tn_fail(err, TN_ERR_FORMAT,
                       "adapter '%s': its adapter_config.json sets %s: %s, which is not built; merge it in PEFT", dir, key,
                       known[i].what);
    }
    if (is_absent(v)) return 0;
    return tn_fail(err, TN_ERR_FORMAT,
                   "adapter '%s': its adapter_config.json sets %s, which is not known here and may change what the adapter does; "
                   "merge it in PEFT, or remove the key if it does not",
                   dir, key);
}

/* ---- layers_to_transform ---- */

static bool names_whole(const json_t *config, const char *path)
{
    const json_t *targets = json_object_get(config, "target_modules");
    for (size_t i = 0; i < json_array_size(targets); i++) {
        const char *name = json_string_value(json_array_get(targets, i));
        if (name && !strcmp(name, path)) return true;
    }
    return false;
}

static int layer_in(int *layer, const json_t *config, const char *path, tn_error *err)
{
    const json_t *v = json_object_get(config, "layers_pattern");
    tn_strs patterns = {0};
    bool ok = true;
    if (json_string_length(v)) ok = tn_strs_add(&patterns, json_string_value(v));
    for (size_t i = 0; i < json_array_size(v); i++) ok &= tn_strs_add(&patterns, json_string_value(json_array_get(v, i)));
    const int rc = ok ? tn_match_layer(layer, &patterns, path, "layers_pattern", err) : tn_oom(err);
    tn_strs_free(&patterns);
    return rc;
}

int tn_adapter_check_layers(const char *dir, const json_t *config, const char *path, tn_error *err)
{
    const json_t *v = json_object_get(config, "layers_to_transform");
    int layer;
    bool in = json_is_integer(v);
    if (!json_is_integer(v) && !json_array_size(v)) return 0;
    if (json_is_string(json_object_get(config, "target_modules")))
        return tn_fail(
            err, TN_ERR_FORMAT,
            "adapter '%s': its adapter_config.json has layers_to_transform beside a target_modules that is a pattern, which "
            "PEFT refuses; make that a list",
            dir);
    if (names_whole(config, path)) return 0;
    if (layer_in(&layer, config, path, err)) return tn_fail_in(err, dir);
    if (in) in = json_integer_value(v) == layer;
    for (size_t i = 0; i < json_array_size(v); i++) in |= json_integer_value(json_array_get(v, i)) == layer;
    if (in && layer >= 0) return 0;
    return tn_fail(err, TN_ERR_FORMAT,
                   "adapter '%s': layers_to_transform in its adapter_config.json leaves out '%s', which its tensors adapt", dir,
                   path);
}

/* Starts that leave the base as it is, beside those that are made again here. */
static int check_init(const char *dir, const json_t *config, tn_error *err)
{
    static const char *const harmless[] = {"kaiming", "gaussian", "eva", "orthogonal", "mica", "olora", "loftq", "true", "false"};
    const json_t *v = json_object_get(config, "init_lora_weights");
    const char *init = json_string_value(v);
    if (!v || json_is_null(v) || json_is_boolean(v)) return 0;
    for (size_t i = 0; init && i < TN_COUNT(harmless); i++)
        if (!strcasecmp(harmless[i], init)) return 0;
    if (init && tn_pissa_iterations(init) >= 0) return 0;
    return tn_fail(
        err, TN_ERR_FORMAT,
        "adapter '%s': init_lora_weights '%s' begins from a base that cannot be made again here; convert it to plain LoRA in "
        "PEFT (save_pretrained with path_initial_model_for_weight_conversion), or merge it there",
        dir, init ? init : "?");
}

int tn_adapter_check_config(const char *dir, const json_t *config, tn_error *err)
{
    const char *key, *type = tn_json_str(config, "peft_type", "");
    json_t *v;
    if (strcmp(type, "LORA"))
        return tn_fail(err, TN_ERR_FORMAT, "adapter '%s': only LORA adapters can be read, and this one's peft_type is '%s'", dir,
                       type);
    if (tn_json_bool(config, "fan_in_fan_out", 0))
        return tn_fail(err, TN_ERR_FORMAT, "adapter '%s': its weights are stored transposed (fan_in_fan_out), which is not built",
                       dir);
    json_object_foreach((json_t *)config, key, v) TN_TRY(check_key(dir, key, v, err));
    TN_TRY(check_init(dir, config, err));
    if (tn_json_bool(config, "lora_bias", 0) && tn_json_bool(config, "use_dora", 0))
        return tn_fail(err, TN_ERR_FORMAT, "adapter '%s': lora_bias and use_dora exclude each other in PEFT; one of them is wrong",
                       dir);
    return 0;
}
