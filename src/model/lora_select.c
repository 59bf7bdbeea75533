/* Which modules LoRA's settings name: PEFT's rules over both spellings of a module's path, the checkpoint's
 * (layer.0.attention.q_proj) and the one transformers 5 has in memory (model.layer.0.attention.q_proj). */
#include "lora_select.h"
#include "match.h"
#include "names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TARGETS "model.lora.target_modules"
#define LAYERS  "model.lora.layers_to_transform"

/* Names of one family that people use for another: from -> to (a NULL-terminated list). */
static const struct {
    const char *from, *to[4];
} aliases[] = {
    {"query", {"q_proj"}},
    {"key", {"k_proj"}},
    {"value", {"v_proj"}},
    {"dense", {"o_proj", "up_proj", "down_proj"}},
    {"q_proj", {"query"}},
    {"k_proj", {"key"}},
    {"v_proj", {"value"}},
    {"o_proj", {"attention.output.dense"}},
    {"up_proj", {"intermediate.dense", "fc1", "weights_in"}},
    {"down_proj", {"fc2", "output.dense", "weights_out"}},
};

static bool suffix_of(const tn_lora_modules *f, int i, const char *item)
{
    return tn_match_suffix(f->names.v[i], item) || tn_match_suffix(f->paths.v[i], item) || !strcmp(f->common.v[i], item);
}

static bool any_suffix(const tn_lora_modules *f, const char *item)
{
    for (int i = 0; i < f->names.n; i++)
        if (suffix_of(f, i, item)) return true;
    return false;
}

static bool in_list(const tn_lora_modules *f, int i, const tn_strs *items)
{
    for (int k = 0; k < items->n; k++)
        if (suffix_of(f, i, items->v[k])) return true;
    return false;
}

static int pattern_hit(bool *hit, const tn_lora_modules *f, int i, const char *pattern, const char *key, tn_error *err)
{
    TN_TRY(tn_match_full(hit, pattern, f->names.v[i], key, err));
    if (!*hit) TN_TRY(tn_match_full(hit, pattern, f->paths.v[i], key, err));
    return 0;
}

static bool is_linear(const tn_lora_modules *f, int i)
{
    char weight[200];
    snprintf(weight, sizeof weight, "%s.weight", f->names.v[i]);
    return f->m->slots[tn_model_slot(f->m, weight)].linear;
}

/* A list, or a pattern ("all-linear" matches every linear layer), against module i. */
static int selected(bool *hit, const tn_lora_modules *f, int i, const tn_strs *list, const char *pattern, const char *key,
                    tn_error *err)
{
    *hit = false;
    if (!pattern) return *hit = in_list(f, i, list), 0;
    if (!strcasecmp(pattern, "all-linear")) return *hit = is_linear(f, i), 0;
    return pattern_hit(hit, f, i, pattern, key, err);
}

/* A pattern that matches nothing as a regular expression may be a plain name. */
static int pattern_as_name(const tn_lora_modules *f, tn_lora *l, tn_error *err)
{
    if (!l->target_pattern || !strcasecmp(l->target_pattern, "all-linear")) return 0;
    for (int i = 0; i < f->names.n; i++) {
        bool hit;
        TN_TRY(pattern_hit(&hit, f, i, l->target_pattern, TARGETS, err));
        if (hit) return 0;
    }
    if (!tn_strs_add(&l->targets, l->target_pattern)) return tn_oom(err);
    free(l->target_pattern);
    l->target_pattern = NULL;
    return 0;
}

static bool targets_anything(const tn_lora_modules *f, const char *item)
{
    if (any_suffix(f, item)) return true;
    for (size_t a = 0; a < TN_COUNT(aliases); a++)
        for (int k = 0; k < 4 && !strcmp(aliases[a].from, item) && aliases[a].to[k]; k++)
            if (any_suffix(f, aliases[a].to[k])) return true;
    return false;
}

static int map_targets(tn_lora_modules *f, tn_lora *l, tn_error *err)
{
    tn_strs out = {0};
    bool mapped = false;
    for (int i = 0; i < l->targets.n; i++) {
        const char *t = l->targets.v[i];
        const bool known = any_suffix(f, t);
        if ((known || !targets_anything(f, t)) && !tn_strs_add(&out, t)) return tn_oom(err);
        for (size_t a = 0; !known && a < TN_COUNT(aliases); a++)
            for (int k = 0; k < 4 && !strcmp(aliases[a].from, t) && aliases[a].to[k]; k++)
                if (any_suffix(f, aliases[a].to[k]) && !tn_strs_has(&out, aliases[a].to[k])) {
                    mapped = true;
                    if (!tn_strs_add(&out, aliases[a].to[k])) return tn_oom(err);
                }
    }
    if (mapped) {
        char *from = tn_strs_join(&l->targets, ", "), *to = tn_strs_join(&out, ", ");
        tn_logf(f->log, TN_LOG_INFO, TARGETS " [%s] mean [%s] in this backbone", from ? from : "", to ? to : "");
        free(from);
        free(to);
    }
    tn_strs_free(&l->targets);
    l->targets = out;
    return 0;
}

/* ---- layers_to_transform ---- */

/* The layer's number under either spelling, -1: none that the pattern finds. */
static int layer_of(int *layer, const tn_lora_modules *f, int i, tn_error *err)
{
    const tn_strs *patterns = &f->m->lora.layers_pattern;
    TN_TRY(tn_match_layer(layer, patterns, f->paths.v[i], "model.lora.layers_pattern", err));
    return *layer < 0 ? tn_match_layer(layer, patterns, f->names.v[i], "model.lora.layers_pattern", err) : 0;
}

static bool wants_layer(const tn_lora *l, int layer)
{
    for (int k = 0; k < l->n_layers; k++)
        if (l->layers[k] == layer) return true;
    return false;
}

static int check_layer(const tn_lora_modules *f, int wanted, tn_error *err)
{
    int last = -1;
    for (int i = 0; i < f->names.n; i++) {
        int layer;
        TN_TRY(layer_of(&layer, f, i, err));
        if (layer == wanted) return 0;
        if (layer > last) last = layer;
    }
    if (last >= 0)
        return tn_fail(err, TN_ERR_CONFIG, LAYERS " names layer %d, and the backbone's layers are 0 to %d", wanted, last);
    return tn_fail(err, TN_ERR_CONFIG,
                   LAYERS " finds no number of a layer in paths such as %s; say behind which component it stands by "
                          "model.lora.layers_pattern",
                   f->paths.n ? f->paths.v[0] : "none");
}

static int check_layers(const tn_lora_modules *f, tn_error *err)
{
    const tn_lora *l = &f->m->lora;
    if (!l->n_layers && l->layers_pattern.n)
        return tn_fail(err, TN_ERR_CONFIG, "model.lora.layers_pattern says where a layer's number stands, and needs " LAYERS);
    if (l->n_layers && l->target_pattern)
        return tn_fail(err, TN_ERR_CONFIG,
                       LAYERS " goes with a list of names, not with " TARGETS " '%s', which chooses layers itself",
                       l->target_pattern);
    for (int k = 0; k < l->n_layers; k++) TN_TRY(check_layer(f, l->layers[k], err));
    return 0;
}

/* Is module i in those layers, or named by its whole path? */
static int in_layers(bool *hit, const tn_lora_modules *f, int i, tn_error *err)
{
    const tn_lora *l = &f->m->lora;
    int layer;
    *hit = !l->n_layers;
    for (int k = 0; k < l->targets.n; k++) {
        const char *t = l->targets.v[k];
        *hit |= !strcmp(t, f->names.v[i]) || !strcmp(t, f->paths.v[i]) || !strcmp(t, f->common.v[i]);
    }
    if (*hit) return 0;
    TN_TRY(layer_of(&layer, f, i, err));
    *hit = layer >= 0 && wants_layer(l, layer);
    return 0;
}

/* ---- what the others ask ---- */

int tn_lora_no_match(const tn_lora_modules *f, tn_error *err)
{
    tn_text kinds = {0};
    tn_strs seen = {0};
    for (int i = 0; i < f->names.n; i++) {
        const char *last = strrchr(f->names.v[i], '.'), *name = last ? last + 1 : f->names.v[i];
        if (tn_strs_has(&seen, name)) continue;
        tn_text_addf(&kinds, "%s%s", seen.n ? ", " : "", name);
        tn_strs_add(&seen, name);
    }
    int rc = tn_fail(err, TN_ERR_CONFIG, TARGETS " [%s] matches no linear module or convolution; there are: %s (such as %s)",
                     f->asked, kinds.s ? kinds.s : "none", f->names.n ? f->names.v[0] : "none");
    tn_text_free(&kinds);
    tn_strs_free(&seen);
    return rc;
}

int tn_lora_number(double *value, const tn_lora_modules *f, int i, const tn_lora_pattern *p, const char *key, tn_error *err)
{
    for (int k = 0; k < p->key.n; k++) {
        bool hit;
        TN_TRY(tn_match_pattern(&hit, p->key.v[k], f->names.v[i], key, err));
        if (!hit) TN_TRY(tn_match_pattern(&hit, p->key.v[k], f->paths.v[i], key, err));
        if (!hit) TN_TRY(tn_match_pattern(&hit, p->key.v[k], f->common.v[i], key, err));
        if (!hit) continue;
        *value = p->value[k];
        return 0;
    }
    return 0;
}

int tn_lora_settle(tn_lora_modules *f, tn_error *err)
{
    tn_lora *l = &f->m->lora;
    f->asked = l->target_pattern ? strdup(l->target_pattern) : tn_strs_join(&l->targets, ", ");
    if (!f->asked) return tn_oom(err);
    TN_TRY(pattern_as_name(f, l, err));
    TN_TRY(check_layers(f, err));
    return map_targets(f, l, err);
}

int tn_lora_selects(bool *hit, const tn_lora_modules *f, int i, tn_error *err)
{
    const tn_lora *l = &f->m->lora;
    bool excluded = false;
    TN_TRY(selected(hit, f, i, &l->targets, l->target_pattern, TARGETS, err));
    if (*hit) TN_TRY(in_layers(hit, f, i, err));
    if (*hit && (l->exclude.n || l->exclude_pattern))
        TN_TRY(selected(&excluded, f, i, &l->exclude, l->exclude_pattern, "model.lora.exclude_modules", err));
    *hit = *hit && !excluded;
    return 0;
}

int tn_lora_modules_find(tn_lora_modules *f, tn_model *m, const tn_log *log, tn_error *err)
{
    *f = (tn_lora_modules){.m = m, .log = log};
    if (tn_model_modules(m, &f->names)) return tn_oom(err);
    for (int i = 0; i < f->names.n; i++) {
        char path[200];
        tn_module_path(path, sizeof path, m->backbone.family, f->names.v[i]);
        if (!tn_strs_add(&f->paths, path)) return tn_oom(err);
        tn_common_name(path, sizeof path, f->names.v[i]);
        if (!tn_strs_add(&f->common, path)) return tn_oom(err);
    }
    return 0;
}

void tn_lora_modules_free(tn_lora_modules *f)
{
    tn_strs_free(&f->names);
    tn_strs_free(&f->paths);
    tn_strs_free(&f->common);
    free(f->asked);
}
