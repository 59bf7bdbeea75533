/* The engine's own adapter, as PEFT reads it. */
#include "adapter.h"
#include "files.h"
#include "jsonio.h"
#include "match.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int write_slot_of(const tn_model *m, const char *module, const char *suffix)
{
    char name[320];
    snprintf(name, sizeof name, "%s%s", module, suffix);
    return tn_model_slot(m, name);
}

char *tn_adapter_key(const tn_model *m, const tn_slot *s)
{
    char path[320];
    tn_module_path(path, sizeof path, m->backbone.family, s->name);
    const char *last = strrchr(path, '.');
    if (!strstr(path, ".lora_") && !s->saved_whole && tn_ends(path, ".bias")) {
        char a[320];
        snprintf(a, sizeof a, "%.*s.lora_A.weight", (int)(strlen(s->name) - strlen(".bias")), s->name);
        if (tn_model_slot(m, a) >= 0) return tn_strf("base_model.model.%.*s.base_layer%s", (int)(last - path), path, last);
    }
    return tn_strf("base_model.model.%s", path);
}

static bool is_adapted(const tn_model *m, const char *module)
{
    return write_slot_of(m, module, ".lora_A.weight") >= 0;
}

static json_t *names_json(const tn_strs *names)
{
    json_t *out = json_array();
    for (int i = 0; i < names->n; i++) json_array_append_new(out, json_string(names->v[i]));
    return out;
}

/* Does PEFT find the path by these suffixes and the model's layers_to_transform? */
static bool finds(const tn_model *m, const tn_strs *suffixes, const char *path)
{
    const tn_lora *l = &m->lora;
    bool hit = false;
    tn_error why; /* the patterns compiled when the model was made */
    int layer = -1;
    for (int k = 0; k < suffixes->n; k++) hit |= tn_match_suffix(path, suffixes->v[k]);
    if (!hit || !l->n_layers) return hit;
    tn_match_layer(&layer, &l->layers_pattern, path, "layers_pattern", &why);
    for (int k = 0; k < l->n_layers; k++)
        if (l->layers[k] == layer) return true;
    return false;
}

/* Do the suffixes and layers find the adapted modules and no others among the modules that weight s is of? */
static bool finds_rightly(const tn_model *m, const tn_strs *suffixes, const tn_slot *s)
{
    char path[320], module[320];
    snprintf(module, sizeof module, "%s", s->name);
    tn_module_path(path, sizeof path, m->backbone.family, s->name);
    char *end = strrchr(path, '.'), *dot = strrchr(module, '.');
    if (!end || !dot) return true;
    *dot = 0;
    bool right = true, adapted = is_adapted(m, module); /* what the module is part of has no adapter */
    for (; end; end = strrchr(path, '.'), adapted = false) {
        *end = 0;
        right = right && finds(m, suffixes, path) == adapted;
    }
    return right;
}

/* Last components of the adapted modules, if suffixes and layers select those and no others; else their whole paths, which need
 * no layers beside them. */
static json_t *targets_of(const tn_model *m, bool *by_suffix)
{
    tn_strs modules = {0}, last = {0}, paths = {0};
    tn_model_modules(m, &modules);
    for (int i = 0; i < modules.n; i++) {
        char path[320];
        if (!is_adapted(m, modules.v[i])) continue;
        tn_module_path(path, sizeof path, m->backbone.family, modules.v[i]);
        const char *dot = strrchr(path, '.');
        tn_strs_add(&paths, path);
        if (!tn_strs_has(&last, dot ? dot + 1 : path)) tn_strs_add(&last, dot ? dot + 1 : path);
    }
    bool exact = true;
    for (int i = 0; i < m->n_slots; i++)
        if (m->slots[i].group != TN_GROUP_HEAD && !strstr(m->slots[i].name, ".lora_"))
            exact = exact && finds_rightly(m, &last, &m->slots[i]);
    json_t *out = names_json(exact ? &last : &paths);
    *by_suffix = exact;
    tn_strs_free(&modules);
    tn_strs_free(&last);
    tn_strs_free(&paths);
    return out;
}

static void patterns_of(const tn_model *m, json_t *ranks, json_t *alphas)
{
    for (int i = 0; i < m->n_slots; i++) {
        const tn_slot *s = &m->slots[i];
        char path[320];
        if (!tn_ends(s->name, ".lora_A.weight")) continue;
        tn_module_path(path, sizeof path, m->backbone.family, s->name);
        path[strlen(path) - strlen(".lora_A.weight")] = 0;
        const double alpha = s->lora_scale * (m->lora.rslora ? sqrt(s->rows) : s->rows);
        if (s->rows != m->lora.r) json_object_set_new(ranks, path, json_integer(s->rows));
        if (fabs(alpha - m->lora.alpha) > 1e-5 * m->lora.alpha)
            json_object_set_new(alphas, path, tn_json_number(round(alpha * 1e4) / 1e4));
    }
}

static json_t *init_json(const tn_settings *s)
{
    const char *init = s->model.lora.init;
    if (tn_starts(init, "pissa") || !strcmp(init, "olora") || !strcmp(init, "gaussian")) return json_string(init);
    return json_true(); /* of LoftQ: its start lies in the weights, PEFT would begin anew; loftq_json says more */
}

/* PEFT's field, which it ignores without init_lora_weights "loftq", with the format added: the base can be made again. */
static json_t *loftq_json(const tn_engine *e)
{
    const tn_store *st = e->session->store;
    const tn_model *m = e->model;
    if (m->lora.init != TN_LORA_LOFTQ) return json_object();
    json_t *none = json_array();
    for (int i = 0; i < m->n_slots; i++)
        if (tn_ends(m->slots[i].name, ".lora_A.weight") && !tn_adapt_sets(st, i))
            json_array_append_new(none, json_stringn(m->slots[i].name, strlen(m->slots[i].name) - strlen(".lora_A.weight")));
    const tn_quant_spec *q = &st->quant;
    return json_pack("{s:i, s:i, s:s, s:i, s:b, s:o}", "loftq_bits", tn_qformats[q->type].bits, "loftq_iter", m->lora.iterations,
                     "quant_type", tn_qformats[q->type].name, "block_size", tn_adapter_block(q->type, q->block), "double_quant",
                     q->nested, "not_quantized", none);
}

/* target_modules, and where those are suffixes layers_to_transform and layers_pattern. */
static void set_targets(json_t *j, const tn_model *m)
{
    const tn_lora *l = &m->lora;
    bool by_suffix;
    json_object_set_new(j, "target_modules", targets_of(m, &by_suffix));
    if (!l->n_layers || !by_suffix) return;
    json_t *layers = json_array();
    for (int k = 0; k < l->n_layers; k++) json_array_append_new(layers, json_integer(l->layers[k]));
    json_object_set_new(j, "layers_to_transform", layers);
    if (l->layers_pattern.n) json_object_set_new(j, "layers_pattern", names_json(&l->layers_pattern));
}

json_t *tn_adapter_config(const tn_engine *e)
{
    const tn_settings *s = e->s;
    const tn_lora *l = &e->model->lora;
    char *base = tn_real_dir(s->model.pretrained);
    json_t *ranks = json_object(), *alphas = json_object(), *whole = json_null();
    patterns_of(e->model, ranks, alphas);
    if (l->modules_to_save.n) whole = json_array();
    for (int i = 0; i < l->modules_to_save.n; i++) {
        char path[320];
        tn_module_path(path, sizeof path, e->model->backbone.family, l->modules_to_save.v[i]);
        json_array_append_new(whole, json_string(path));
    }
    json_t *j =
        json_pack("{s:s, s:i, s:o, s:f, s:s, s:b, s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:s?, s:b}", "peft_type", "LORA", "r",
                  l->r, "lora_alpha", tn_json_number(s->model.lora.alpha), "lora_dropout", (double)s->model.lora.dropout, "bias",
                  l->bias, "use_rslora", l->rslora, "use_dora", l->dora, "fan_in_fan_out", 0, "init_lora_weights", init_json(s),
                  "loftq_config", loftq_json(e), "modules_to_save", whole, "rank_pattern", ranks, "alpha_pattern", alphas,
                  "base_model_name_or_path", tn_json_text(base), "task_type", s->model.lora.task_type, "inference_mode", 1);
    free(base);
    if (j) set_targets(j, e->model);
    return j;
}
