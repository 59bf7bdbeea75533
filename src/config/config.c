/* Files -> tree -> settings. */
#include "settings.h"
#include "entry.h"
#include "files.h"
#include "layer.h"
#include "log.h"
#include "values.h"
#include "yaml_tree.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Keys of which the place is kept: only the model, once it is open, tells whether it reads them. */
static const char *const placed[] = {"model.backbone.patch_size", "model.backbone.rope_augment"};
/* The file of nodes that the settings were dumped to: it is not where they were given. */
static const char dumped[] = TN_COMMAND_LINE;

struct tn_config {
    tn_ynode *tree;
    char *place[TN_COUNT(placed)];
    tn_strs files; /* names the tree's nodes borrow */
    tn_settings s;
    tn_log log;
};

const tn_settings *tn_config_settings(const tn_config *c)
{
    return &c->s;
}

int tn_config_dump(const tn_config *c, char **yaml, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(yaml, "tn_config_dump's text", err));
    *yaml = NULL;
    TN_TRY(tn_required(c, "the configuration", err));
    return tn_settings_dump(&c->s, yaml, err);
}

/* ---- keys ---- */

static bool is_section(const char *name)
{
    size_t n = strlen(name);
    for (int i = 0; i < tn_schema_size; i++)
        if (!strncmp(tn_schema[i].name, name, n) && tn_schema[i].name[n] == '.') return true;
    return false;
}

/* What stands directly in a section, sections too, with commas between. */
static void list_keys(tn_text *t, const char *section)
{
    const char *last = "";
    const size_t n = strlen(section);
    for (int i = 0; i < tn_schema_size; i++) {
        const char *key = tn_schema[i].name + n + 1;
        if (strncmp(tn_schema[i].name, section, n) != 0 || key[-1] != '.' || tn_schema[i].type == TN_S_UNUSED) continue;
        const int length = (int)strcspn(key, ".");
        if (!strncmp(last, key, (size_t)length) && strcspn(last, ".") == (size_t)length) continue;
        tn_text_addf(t, "%s%.*s", last[0] ? ", " : "", length, key);
        last = key;
    }
}

static int no_value(const tn_ynode *n, const char *section, tn_error *err)
{
    char place[512];
    tn_text keys = {0};
    list_keys(&keys, section);
    if (keys.oom || !keys.s) {
        tn_text_free(&keys);
        return tn_oom(err);
    }
    const int rc = tn_fail(err, TN_ERR_CONFIG, "%s: %s is a section and cannot be %s%s%s; give %s.%.*s, or another of its keys: %s",
                           tn_yaml_place(place, sizeof place, n), section, n->kind == TN_Y_SCALAR ? "'" : "",
                           n->kind == TN_Y_SCALAR ? n->text : "a list", n->kind == TN_Y_SCALAR ? "'" : "", section,
                           (int)strcspn(keys.s, ","), keys.s, keys.s);
    tn_text_free(&keys);
    return rc;
}

/* Of each layer by itself: a value in a section's place would be gone once a later layer has one of its keys. */
static int check_sections(const tn_ynode *n, const char *prefix, tn_error *err)
{
    for (int i = 0; i < n->n; i++) {
        const tn_ynode *v = n->child[i];
        char name[256];
        snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] ? "." : "", v->key);
        if (!is_section(name)) continue;
        if (v->kind == TN_Y_MAP) TN_TRY(check_sections(v, name, err));
        else if (!tn_yaml_is_null(v)) return no_value(v, name, err);
    }
    return 0;
}

static int unknown_key(const tn_ynode *n, const char *name, tn_error *err)
{
    if (is_section(name)) return no_value(n, name, err);
    const char *best = NULL, *last = strrchr(name, '.');
    int dist = 1000;
    for (int i = 0; i < tn_schema_size; i++) {
        const char *key = tn_schema[i].name, *klast = strrchr(key, '.');
        int d = TN_MIN(tn_edit_distance(key, name), 2 + tn_edit_distance(klast, last ? last : name));
        if (d < dist) dist = d, best = key;
    }
    const bool near = dist <= 8;
    char place[512];
    return tn_fail(err, TN_ERR_CONFIG, "%s: unknown key '%s'%s%s%s", tn_yaml_place(place, sizeof place, n), name,
                   near ? "; did you mean '" : "", near ? best : "", near ? "'?" : "");
}

static int apply(tn_config *c, const tn_ynode *n, const char *prefix, tn_error *err)
{
    for (int i = 0; i < n->n; i++) {
        const tn_ynode *v = n->child[i];
        if (!prefix[0] && !strcmp(v->key, "runtime")) continue; /* the Python project prints its command line there */
        char name[256];
        snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] ? "." : "", v->key);
        const tn_key *k = tn_key_find(name);
        if (k && k->type == TN_S_UNUSED) {
            tn_logf(&c->log, TN_LOG_WARN, "%s:%d: key '%s' is accepted and not used here", v->file, v->line, name);
        } else if (k) {
            TN_TRY(tn_value_set(&c->s, k, v, err));
        } else if (is_section(name) && (v->kind == TN_Y_MAP || tn_yaml_is_null(v))) {
            TN_TRY(apply(c, v, name, err));
        } else if (!tn_starts(v->key, "x-") && v->key[0] != '.') { /* those hold what anchors name */
            return unknown_key(v, name, err);
        }
    }
    return 0;
}

static int check_lora(const tn_settings *s, tn_error *err)
{
    const char *init = s->model.lora.init;
    int iterations = 0;
    const bool known = !strcmp(init, "kaiming") || !strcmp(init, "gaussian") || !strcmp(init, "pissa") || !strcmp(init, "loftq") ||
                       !strcmp(init, "olora") || !strcmp(init, "true") ||
                       (sscanf(init, "pissa_niter_%d", &iterations) == 1 && iterations > 0);
    if (!known)
        return tn_fail(err, TN_ERR_CONFIG,
                       "model.lora.init_lora_weights '%s' is not known; kaiming, gaussian, pissa, "
                       "pissa_niter_N, olora and loftq are",
                       init);
    if (!strcmp(init, "loftq") && s->model.lora.enabled && !s->model.quant.enabled)
        return tn_fail(err, TN_ERR_CONFIG,
                       "model.lora.init_lora_weights loftq makes up for quantisation, which is off; set "
                       "model.quantization.enabled=true or take another initialisation");
    if (s->model.lora.alpha <= 0)
        return tn_fail(err, TN_ERR_CONFIG, "model.lora.lora_alpha is %g; it must be above 0", s->model.lora.alpha);
    return 0;
}

/* A direction that is the metric's worse one would keep the worst epoch as the best. */
static int check_monitor(const tn_settings *s, tn_error *err)
{
    const char *what = s->training.es_monitor, *mode = s->training.es_mode;
    const bool more = what && (!strcmp(what, "val/pck") || !strcmp(what, "val/f1"));
    if (!mode || !more || !strcmp(mode, "max")) return 0;
    return tn_fail(err, TN_ERR_CONFIG,
                   "training.early_stopping.mode is min, but more is better for %s; set it to max, or to null for the metric's own",
                   what);
}

static int check_together(const tn_settings *s, tn_error *err)
{
    if (s->model.quant.block_size && s->model.quant.group_size && s->model.quant.block_size != s->model.quant.group_size)
        return tn_fail(err, TN_ERR_CONFIG, "model.quantization.block_size is %d and group_size %d; they are one thing, give one",
                       s->model.quant.block_size, s->model.quant.group_size);
    if (s->model.quant.block_size & (s->model.quant.block_size - 1))
        return tn_fail(err, TN_ERR_CONFIG,
                       "model.quantization.block_size is %d; it must be a power of two, or 0 for the "
                       "format's own",
                       s->model.quant.block_size);
    TN_TRY(check_lora(s, err));
    TN_TRY(check_monitor(s, err));
    if (s->model.quant.enabled && !s->model.freeze && !s->model.lora.enabled)
        return tn_fail(err, TN_ERR_CONFIG,
                       "model.quantization.enabled with model.backbone.freeze=false: a quantised base is never "
                       "trained; set freeze to true or enable model.lora");
    return 0;
}

/* transformers' switches did their work in their layer (layer.c), and are not needed afterwards. */
static int settle_quantization(tn_settings *s, tn_error *err)
{
    const bool int8 = !strcmp(s->model.quant.type, "int8");
    if (s->model.quant.load_in_8bit && s->model.quant.load_in_4bit)
        return tn_fail(err, TN_ERR_CONFIG, "model.quantization.load_in_4bit and load_in_8bit exclude each other");
    if ((s->model.quant.load_in_8bit && !int8) || (s->model.quant.load_in_4bit && int8))
        return tn_fail(err, TN_ERR_CONFIG, "model.quantization.load_in_%dbit is set, but quant_type is %s; give one of them",
                       int8 ? 4 : 8, s->model.quant.type);
    s->model.quant.load_in_8bit = s->model.quant.load_in_4bit = false;
    if (!s->model.quant.block_size) s->model.quant.block_size = s->model.quant.group_size;
    return 0;
}

/* Every initialisation that there is has a name in small letters. */
static void lower(char *s)
{
    for (; *s; s++) *s = (char)tolower((unsigned char)*s);
}

/* Of those that say something else than their default. */
static int keep_places(tn_config *c, tn_error *err)
{
    for (size_t i = 0; i < TN_COUNT(placed); i++) {
        char text[512];
        bool dflt;
        const tn_ynode *n = tn_layer_find(c->tree, placed[i]);
        TN_TRY(tn_value_is_default(&dflt, &c->s, tn_key_find(placed[i]), err));
        if (!dflt && (!n || n->file == dumped)) continue;
        free(c->place[i]);
        c->place[i] = dflt ? NULL : strdup(tn_yaml_place(text, sizeof text, n));
        if (!dflt && !c->place[i]) return tn_oom(err);
    }
    c->s.place.patch_size = c->place[0];
    c->s.place.rope_augment = c->place[1];
    return 0;
}

static int settle(tn_config *c, tn_error *err)
{
    tn_values_free(&c->s);
    for (int i = 0; i < tn_schema_size; i++) TN_TRY(tn_value_set_default(&c->s, &tn_schema[i], err));
    TN_TRY(apply(c, c->tree, "", err));
    lower(c->s.model.lora.init);
    TN_TRY(tn_settle_training(&c->s, c->tree, &c->log, err));
    TN_TRY(settle_quantization(&c->s, err));
    TN_TRY(tn_settle_frames(&c->s, &c->log, err));
    TN_TRY(tn_settle_backbone(&c->s, c->tree, err));
    TN_TRY(check_together(&c->s, err));
    return keep_places(c, err);
}

/* ---- files ---- */

/* A file that holds nothing, or nothing but comments, has no keys. */
static int read_tree(tn_config *c, const char *path, tn_ynode **out, tn_error *err)
{
    char *text;
    size_t len;
    TN_TRY(tn_read_file(&text, &len, path, err));
    int rc = tn_strs_add(&c->files, path) ? 0 : tn_oom(err);
    if (!rc) rc = tn_yaml_parse(out, text, len, c->files.v[c->files.n - 1], err);
    free(text);
    if (rc || (*out)->kind == TN_Y_MAP) return rc;
    const bool nothing = tn_yaml_is_null(*out);
    tn_yaml_free(*out);
    *out = nothing ? tn_yaml_new_map(NULL, c->files.v[c->files.n - 1]) : NULL;
    if (nothing) return *out ? 0 : tn_oom(err);
    return tn_fail(err, TN_ERR_CONFIG, "%s: holds no mapping of keys", path);
}

/* The next layer (taken over) joins the tree. */
static int add_layer(tn_config *c, tn_ynode *layer, tn_error *err)
{
    int rc = tn_layer_settle(layer, c->tree, err);
    if (!rc) rc = check_sections(layer, "", err);
    if (!rc) return tn_yaml_merge(c->tree, layer, err);
    tn_yaml_free(layer);
    return rc;
}

static char *config_path(const char *dir, const char *section, const char *name)
{
    if (strchr(name, '/') || tn_ends(name, ".yaml") || tn_ends(name, ".yml")) return strdup(name);
    if (dir) return tn_strf("%s/%s/%s.yaml", dir, section, name);
    char *local = tn_strf("configs/%s/%s.yaml", section, name);
    if (!local || tn_is_file(local)) return local;
    free(local);
    return tn_strf(TN_DATADIR "/configs/%s/%s.yaml", section, name);
}

/* A file holds the section's keys at its top, or below one key named as the section. */
static int load_section(tn_config *c, const char *dir, const char *section, const char *name, tn_error *err)
{
    char *path = config_path(dir, section, name);
    if (!path) return tn_oom(err);
    int rc = 0;
    tn_ynode *n = NULL, *top = NULL;
    if (!tn_is_file(path))
        rc = tn_fail(err, TN_ERR_CONFIG,
                     "there is no %s configuration '%s' (looked for '%s'); give a name below "
                     "--config-dir or a path",
                     section, name, path);
    if (!rc) rc = read_tree(c, path, &n, err);
    free(path);
    TN_TRY(rc);
    const tn_ynode *inner = tn_yaml_get(n, section);
    if (inner && n->n == 1 && inner->kind == TN_Y_MAP) return add_layer(c, n, err);
    top = tn_yaml_new_map(NULL, n->file);
    n->key = strdup(section);
    if (top && n->key && tn_yaml_add(top, n)) return add_layer(c, top, err);
    if (!top || !n->key) tn_yaml_free(n);
    tn_yaml_free(top);
    return tn_oom(err);
}

/* A mapping that has value (taken over) under a dotted key. */
static tn_ynode *wrap(const char *key, size_t n, tn_ynode *value)
{
    const char *last = key + n;
    while (value && n) {
        const char *part = memrchr(key, '.', n);
        part = part ? part + 1 : key;
        free(value->key);
        value->key = strndup(part, (size_t)(last - part));
        tn_ynode *map = value->key ? tn_yaml_new(TN_Y_MAP, TN_COMMAND_LINE) : NULL;
        if (!map) tn_yaml_free(value);
        if (map && !tn_yaml_add(map, value)) tn_yaml_free(map), map = NULL;
        value = map;
        last = part > key ? part - 1 : key;
        n = (size_t)(last - key);
    }
    return value;
}

/* A value (taken over) under a dotted key joins the tree. */
static int merge_value(tn_config *c, const char *key, size_t n, tn_ynode *value, tn_error *err)
{
    tn_ynode *root = wrap(key, n, value);
    return root ? add_layer(c, root, err) : tn_oom(err);
}

static int merge_override(tn_config *c, const char *text, tn_error *err)
{
    const char *eq = strchr(text, '=');
    if (!eq || eq == text)
        return tn_fail(err, TN_ERR_CONFIG, TN_COMMAND_LINE ": '%s' is no KEY=VALUE, such as training.optimizer.lr=1e-4", text);
    char *name = strndup(text, (size_t)(eq - text));
    tn_ynode *value = NULL;
    int rc = name ? tn_override_value(&value, tn_key_find_moved(name), eq + 1, err) : tn_oom(err);
    free(name);
    return rc ? rc : merge_value(c, text, (size_t)(eq - text), value, err);
}

static int load_all(tn_config *c, const tn_config_source *s, tn_error *err)
{
    if (s->merged) {
        tn_ynode *n;
        if (!tn_is_file(s->merged)) return tn_fail(err, TN_ERR_CONFIG, "there is no configuration file '%s'", s->merged);
        TN_TRY(read_tree(c, s->merged, &n, err));
        TN_TRY(add_layer(c, n, err));
    } else {
        TN_TRY(load_section(c, s->config_dir, "data", s->data ? s->data : "tracknet", err));
        TN_TRY(load_section(c, s->config_dir, "model", s->model ? s->model : "vit_heatmap", err));
        TN_TRY(load_section(c, s->config_dir, "training", s->training ? s->training : "default", err));
    }
    for (int i = 0; i < s->n_overrides; i++) TN_TRY(merge_override(c, s->overrides[i], err));
    return settle(c, err);
}

static tn_config *config_new(tn_error *err)
{
    tn_config *c = calloc(1, sizeof *c);
    if (c && (c->tree = tn_yaml_new_map(NULL, TN_COMMAND_LINE))) return c;
    free(c);
    tn_oom(err);
    return NULL;
}

int tn_config_load(tn_config **out, const tn_config_source *s, tn_error *err)
{
    static const tn_config_source defaults = TN_CONFIG_SOURCE_INIT;
    TN_ENTRY(err);
    TN_TRY(tn_required(out, "tn_config_load's result", err));
    *out = NULL;
    TN_TRY(tn_versioned(s, TN_CONFIG_SOURCE_VERSION, "tn_config_source", err));
    if (!s) s = &defaults;
    if (s->n_overrides) TN_TRY(tn_required(s->overrides, "tn_config_source.overrides", err));
    for (int i = 0; i < s->n_overrides; i++) TN_TRY(tn_required(s->overrides[i], "an entry of tn_config_source.overrides", err));
    tn_config *c = config_new(err);
    if (!c) return TN_ERR_MEMORY;
    if (s->log) c->log = *s->log;
    int rc = load_all(c, s, err);
    c->log.fn = NULL; /* later settings do not warn again */
    if (rc) {
        tn_config_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void tn_config_free(tn_config *c)
{
    if (!c) return;
    tn_yaml_free(c->tree);
    tn_values_free(&c->s);
    tn_strs_free(&c->files);
    for (size_t i = 0; i < TN_COUNT(placed); i++) free(c->place[i]);
    free(c);
}

static int parse_dump(tn_config *c, const char *yaml, tn_error *err)
{
    tn_ynode *n;
    TN_TRY(tn_yaml_parse(&n, yaml, strlen(yaml), dumped, err));
    tn_yaml_free(c->tree);
    c->tree = n;
    return 0;
}

int tn_config_copy(tn_config **out, const tn_config *c, tn_error *err)
{
    char *yaml = NULL;
    TN_ENTRY(err);
    TN_TRY(tn_required(out, "tn_config_copy's result", err));
    *out = NULL;
    TN_TRY(tn_config_dump(c, &yaml, err));
    tn_config *copy = config_new(err);
    int rc = copy ? parse_dump(copy, yaml, err) : TN_ERR_MEMORY;
    for (size_t i = 0; !rc && i < TN_COUNT(placed); i++)
        if (c->place[i] && !(copy->place[i] = strdup(c->place[i]))) rc = tn_oom(err);
    if (!rc) rc = settle(copy, err);
    free(yaml);
    if (rc) tn_config_free(copy);
    else *out = copy;
    return rc;
}

/* A setting begins from the tree that the settings dump to, so that it wins over all that was said before, and so that
 * there is a way back. */
static int begin_setting(tn_config *c, char **before, tn_error *err)
{
    TN_TRY(tn_config_dump(c, before, err));
    return parse_dump(c, *before, err);
}

/* Settles what was merged (`merged`: its status), or goes back. Frees before. */
static int end_setting(tn_config *c, int merged, char *before, tn_error *err)
{
    tn_error ignored;
    int rc = merged ? merged : settle(c, err);
    if (rc && before && !parse_dump(c, before, &ignored)) (void)settle(c, &ignored);
    free(before);
    return rc;
}

int tn_config_set(tn_config *c, const char *assignment, tn_error *err)
{
    char *before = NULL;
    TN_ENTRY(err);
    TN_TRY(tn_required(c, "the configuration", err));
    TN_TRY(tn_required(assignment, "tn_config_set's assignment", err));
    int rc = begin_setting(c, &before, err);
    if (!rc) rc = merge_override(c, assignment, err);
    return end_setting(c, rc, before, err);
}

int tn_config_put(tn_config *c, const char *key, tn_ynode *value, tn_error *err)
{
    char *before = NULL;
    int rc = tn_required(c, "the configuration", err);
    if (!rc) rc = tn_required(key, "a setter's key", err);
    if (!rc && !tn_key_find_moved(key)) rc = unknown_key(value, key, err);
    if (!rc) rc = begin_setting(c, &before, err);
    if (rc) {
        tn_yaml_free(value);
        free(before);
        return rc;
    }
    return end_setting(c, merge_value(c, key, strlen(key), value, err), before, err);
}
