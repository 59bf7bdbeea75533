/* An adapter's two files, read and checked. */
#include "adapter.h"
#include "files.h"
#include "match.h"
#include "names.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int adapter_bad(const tn_adapter *a, tn_error *err, const char *what, const char *which)
{
    return tn_fail(err, TN_ERR_FORMAT, "adapter '%s': %s '%s'", a->dir, what, which);
}

const char *tn_adapter_init(const tn_adapter *a)
{
    const bool loftq = tn_json_str(json_object_get(a->config, "loftq_config"), "quant_type", NULL) != NULL;
    return tn_json_str(a->config, "init_lora_weights", loftq ? "loftq" : "kaiming");
}

int tn_adapter_loftq(tn_loftq_start *s, const tn_adapter *a, tn_error *err)
{
    const json_t *c = json_object_get(a->config, "loftq_config");
    const char *type = tn_json_str(c, "quant_type", NULL);
    *s = (tn_loftq_start){0};
    if (!type) return 0;
    TN_TRY(tn_qtype_find(&s->type, type, err));
    s->iterations = (int)tn_json_int(c, "loftq_iter", 1);
    s->block = (int)tn_json_int(c, "block_size", 0);
    s->nested = tn_json_bool(c, "double_quant", 0);
    return s->iterations > 0 && s->iterations <= 64 ? 0 : adapter_bad(a, err, "loftq_iter goes from 1 to 64 in", "loftq_config");
}

bool tn_adapter_loftq_has(const tn_adapter *a, const tn_adapter_module *m)
{
    const json_t *none = json_object_get(json_object_get(a->config, "loftq_config"), "not_quantized");
    for (size_t i = 0; i < json_array_size(none); i++) {
        const char *name = json_string_value(json_array_get(none, i));
        if (name && !strcmp(name, m->common)) return false;
    }
    return true;
}

static int alpha_of(double *alpha, const tn_adapter *a, const char *path, tn_error *err)
{
    const char *key;
    json_t *v;
    *alpha = tn_json_num(a->config, "lora_alpha", 8);
    json_object_foreach(json_object_get(a->config, "alpha_pattern"), key, v)
    {
        bool hit;
        TN_TRY(tn_match_pattern(&hit, key, path, "alpha_pattern", err));
        if (!hit) continue;
        *alpha = json_number_value(v);
        return 0;
    }
    return 0;
}

static int add_module(tn_adapter *a, const tn_st_tensor *t, tn_error *err)
{
    const int n = (int)(strlen(t->name) - strlen(".lora_A.weight"));
    char name[320], common[320];
    tn_adapter_module *m = &a->modules[a->n];
    snprintf(name, sizeof name, "%.*s.lora_B.weight", n, t->name);
    m->a = t;
    m->b = tn_st_find(a->file, name);
    if (!m->b) return adapter_bad(a, err, "there is no lora_B beside", t->name);
    if (m->a->ndim != 2 || m->b->ndim != 2 || m->a->shape[0] != m->b->shape[1] || m->a->shape[0] < 1)
        return adapter_bad(a, err, "lora_A and lora_B do not go together at", t->name);
    snprintf(name, sizeof name, "%.*s.lora_magnitude_vector", n, t->name);
    m->magnitude = tn_st_find(a->file, name);
    snprintf(name, sizeof name, "%.*s.lora_magnitude_vector.weight", n, t->name);
    if (!m->magnitude) m->magnitude = tn_st_find(a->file, name);
    m->r = (int)m->a->shape[0], m->in = (int)m->a->shape[1], m->out = (int)m->b->shape[0];
    if (a->dora && (!m->magnitude || m->magnitude->count != m->out))
        return adapter_bad(a, err, "DoRA's magnitude vector is missing or misshapen at", t->name);
    snprintf(name, sizeof name, "%.*s", n, t->name);
    const char *path = tn_starts(name, "base_model.model.") ? name + strlen("base_model.model.") : name;
    tn_common_name(common, sizeof common, name);
    m->path = strdup(path);
    m->common = strdup(common);
    a->n++;
    if (!m->path || !m->common) return tn_oom(err);
    double alpha;
    TN_TRY(alpha_of(&alpha, a, path, err));
    m->scale = (float)(a->rslora ? alpha / sqrt(m->r) : alpha / m->r);
    return 0;
}

static int read_config(tn_adapter *a, tn_error *err)
{
    const char *type = tn_json_str(a->config, "peft_type", "");
    if (strcmp(type, "LORA")) return adapter_bad(a, err, "only LORA adapters can be read, and this one's peft_type is", type);
    if (tn_json_bool(a->config, "fan_in_fan_out", 0))
        return adapter_bad(a, err, "its weights are stored transposed (fan_in_fan_out), which is not built:", type);
    a->dora = tn_json_bool(a->config, "use_dora", 0);
    a->rslora = tn_json_bool(a->config, "use_rslora", 0);
    return 0;
}

static int open_parts(tn_adapter *a, const char *dir, tn_error *err)
{
    char *config = tn_path(dir, "adapter_config.json"), *weights = tn_path(dir, "adapter_model.safetensors");
    int rc = !config || !weights   ? tn_oom(err)
             : !tn_is_file(config) ? tn_fail(err, TN_ERR_IO, "'%s' is no adapter: it holds no adapter_config.json", dir)
                                   : tn_json_read(&a->config, config, err);
    if (!rc) rc = read_config(a, err);
    if (!rc) rc = tn_st_open(&a->file, weights, err);
    free(config);
    free(weights);
    return rc;
}

int tn_adapter_open(tn_adapter **out, const char *dir, tn_error *err)
{
    tn_adapter *a = calloc(1, sizeof *a);
    *out = NULL;
    if (!a || !(a->dir = strdup(dir))) {
        free(a);
        return tn_oom(err);
    }
    int rc = open_parts(a, dir, err);
    if (!rc && !(a->modules = calloc((size_t)a->file->n + 1, sizeof *a->modules))) rc = tn_oom(err);
    for (int i = 0; !rc && i < a->file->n; i++)
        if (tn_ends(a->file->t[i].name, ".lora_A.weight")) rc = add_module(a, &a->file->t[i], err);
    if (!rc && !a->n) rc = adapter_bad(a, err, "it holds no lora_A at all in", "adapter_model.safetensors");
    if (rc) {
        tn_adapter_close(a);
        return rc;
    }
    *out = a;
    return 0;
}

void tn_adapter_close(tn_adapter *a)
{
    if (!a) return;
    for (int i = 0; i < a->n; i++) {
        free(a->modules[i].path);
        free(a->modules[i].common);
    }
    free(a->modules);
    tn_st_close(a->file);
    json_decref(a->config);
    free(a->dir);
    free(a);
}

const tn_adapter_module *tn_adapter_find(const tn_adapter *a, const char *common)
{
    for (int i = 0; i < a->n; i++)
        if (!strcmp(a->modules[i].common, common)) return &a->modules[i];
    return NULL;
}

const tn_st_tensor *tn_adapter_other(const tn_adapter *a, const char *common)
{
    for (int i = 0; i < a->file->n; i++) {
        char name[320];
        if (strstr(a->file->t[i].name, ".lora_")) continue;
        tn_common_adapter_name(name, sizeof name, a->file->t[i].name);
        if (!strcmp(name, common)) return &a->file->t[i];
    }
    return NULL;
}

float *tn_adapter_values(const tn_adapter *a, const tn_st_tensor *t, tn_error *err)
{
    float *v = malloc(((size_t)t->count + 1) * sizeof *v);
    if (!v) tn_oom(err);
    if (v && tn_st_read_f32(a->file, t, v, err)) {
        free(v);
        v = NULL;
    }
    return v;
}

int tn_adapter_block(tn_qtype type, int block)
{
    return block ? block : tn_qformats[type].default_block;
}
