/* An adapter's two files, read and checked. */
#include "adapter.h"
#include "files.h"
#include "match.h"
#include "names.h"
#include "replace.h"
#include "torch_file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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

/* The number that a module has: of the first pattern that fits, or else *v as it is. */
static int of_pattern(double *v, const tn_adapter *a, const char *pattern, const char *path, tn_error *err)
{
    const char *key;
    json_t *x;
    json_object_foreach(json_object_get(a->config, pattern), key, x)
    {
        bool hit;
        tn_error why;
        if (tn_match_pattern(&hit, key, path, pattern, &why))
            return tn_fail(err, TN_ERR_FORMAT, "adapter '%s': '%s' in its %s is no regular expression", a->dir, key, pattern);
        if (!hit) continue;
        *v = json_number_value(x);
        return 0;
    }
    return 0;
}

/* Its scale follows from numbers of the configuration, which the tensors must agree with. */
static int scale_of(tn_adapter_module *m, const tn_adapter *a, tn_error *err)
{
    double alpha = tn_json_num(a->config, "lora_alpha", 8), r = tn_json_num(a->config, "r", m->r);
    TN_TRY(of_pattern(&alpha, a, "alpha_pattern", m->path, err));
    TN_TRY(of_pattern(&r, a, "rank_pattern", m->path, err));
    if (r != m->r)
        return tn_fail(err, TN_ERR_FORMAT, "adapter '%s': '%s' has rank %d, and its adapter_config.json says %g", a->dir,
                       m->a->name, m->r, r);
    m->scale = (float)(a->rslora ? alpha / sqrt(m->r) : alpha / m->r);
    return 0;
}

static const tn_st_tensor *by_common(const tn_adapter *a, const char *common)
{
    for (int i = 0; i < a->common.n; i++)
        if (!strcmp(a->common.v[i], common)) return &a->file->t[i];
    return NULL;
}

static const tn_st_tensor *beside(const tn_adapter *a, const char *module, const char *suffix)
{
    char name[340];
    snprintf(name, sizeof name, "%s%s", module, suffix);
    return by_common(a, name);
}

/* What a heatmap model has; pooler, classifier and the token that masks patches are of other uses of the backbone. */
static bool of_backbone(const char *common)
{
    if (!strcmp(common, "embeddings.mask_token")) return false;
    return tn_starts(common, "layer.") || tn_starts(common, "stages.") || tn_starts(common, "embeddings.") ||
           tn_starts(common, "norm.");
}

static bool pairs_matrices(const tn_adapter_module *m)
{
    return m->a->ndim == 2 && m->b->ndim == 2 && m->a->shape[0] == m->b->shape[1] && m->a->shape[0] > 0;
}

/* A square kernel, and behind it one of a pixel whose groups divide the rank and what comes out. */
static bool pairs_kernels(tn_adapter_module *m)
{
    const int64_t *a = m->a->shape, *b = m->b->shape;
    if (m->b->ndim != 4 || a[0] < 1 || m->a->count < 1 || a[2] != a[3] || b[2] != 1 || b[3] != 1 || b[1] < 1 || a[0] % b[1])
        return false;
    m->groups = (int)(a[0] / b[1]);
    return b[0] > 0 && b[0] % m->groups == 0;
}

/* The partners of a module's lora_A, and whether they are what the configuration says. */
static int find_partners(const tn_adapter *a, tn_adapter_module *m, tn_error *err)
{
    m->b = beside(a, m->common, ".lora_B.weight");
    m->bias = beside(a, m->common, ".lora_B.bias");
    m->magnitude = beside(a, m->common, ".lora_magnitude_vector");
    if (!m->b) return adapter_bad(a, err, "there is no lora_B beside", m->a->name);
    if (!(m->a->ndim == 4 ? pairs_kernels(m) : pairs_matrices(m)))
        return adapter_bad(a, err, "lora_A and lora_B do not go together at", m->a->name);
    m->r = (int)m->a->shape[0], m->in = (int)(m->a->count / m->r), m->out = (int)m->b->shape[0];
    if (m->groups && (tn_pissa_iterations(tn_adapter_init(a)) >= 0 || !strcasecmp(tn_adapter_init(a), "olora")))
        return adapter_bad(a, err, "its start takes matrices apart, yet it adapts a convolution at", m->a->name);
    if (a->dora && (!m->magnitude || m->magnitude->count != m->out))
        return adapter_bad(a, err, "DoRA's magnitude vector is missing or misshapen at", m->a->name);
    if (!a->dora && m->magnitude) return adapter_bad(a, err, "use_dora is not set, yet there is", m->magnitude->name);
    if (a->lora_bias && (!m->bias || m->bias->count != m->out))
        return adapter_bad(a, err, "lora_bias is set, and lora_B.bias is missing or misshapen at", m->a->name);
    if (!a->lora_bias && m->bias) return adapter_bad(a, err, "lora_bias is not set, yet there is", m->bias->name);
    if (beside(a, m->common, ".weight"))
        return adapter_bad(a, err, "it holds the base's own weight beside lora_A, so it is a whole model and no adapter, at",
                           m->a->name);
    return 0;
}

static int add_module(tn_adapter *a, int i, tn_error *err)
{
    char path[320];
    tn_adapter_module *m = &a->modules[a->n++];
    m->a = &a->file->t[i];
    m->common = strndup(a->common.v[i], strlen(a->common.v[i]) - strlen(".lora_A.weight"));
    tn_plain_key(path, sizeof path, m->a->name);
    path[strlen(path) - strlen(".lora_A.weight")] = 0;
    m->path = strdup(tn_starts(path, "base_model.model.") ? path + strlen("base_model.model.") : path);
    if (!m->path || !m->common) return tn_oom(err);
    TN_TRY(tn_adapter_check_layers(a->dir, a->config, m->path, err));
    TN_TRY(find_partners(a, m, err));
    m->outside = !of_backbone(m->common);
    return scale_of(m, a, err);
}

/* ---- what else the file holds ---- */

/* A module that modules_to_save names, or a bias of `bias: all`, outside the backbone: a classifier, a pooler, a decode head. */
static bool is_head(const tn_adapter *a, const char *key, const char *common)
{
    const json_t *list = json_object_get(a->config, "modules_to_save");
    if (of_backbone(common)) return false;
    if (tn_ends(common, ".bias") && !strcmp(tn_json_str(a->config, "bias", "none"), "all")) return true;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        char inside[340], wanted[340];
        if (!name) continue;
        snprintf(inside, sizeof inside, ".%s.", key);
        snprintf(wanted, sizeof wanted, ".%s.", name);
        if (strstr(inside, wanted)) return true;
    }
    return false;
}

static bool has_module(const tn_adapter *a, const char *common, const char *part)
{
    for (int i = 0; i < a->n; i++)
        if (!strncmp(a->modules[i].common, common, (size_t)(part - common)) && !a->modules[i].common[part - common]) return true;
    return false;
}

static int check_tensor(tn_adapter *a, int i, tn_error *err)
{
    const char *common = a->common.v[i], *name = a->file->t[i].name, *part = strstr(common, ".lora_");
    for (int k = 0; k < i; k++)
        if (!strcmp(common, a->common.v[k]))
            return tn_fail(err, TN_ERR_FORMAT,
                           "adapter '%s': '%s' and '%s' are the same tensor of two adapters; save one of them alone", a->dir,
                           a->file->t[k].name, name);
    if (part) {
        const bool known = !strcmp(part, ".lora_A.weight") || !strcmp(part, ".lora_B.weight") || !strcmp(part, ".lora_B.bias") ||
                           !strcmp(part, ".lora_magnitude_vector");
        if (known && has_module(a, common, part)) return 0;
        return adapter_bad(a, err, known ? "there is no lora_A beside" : "nothing here takes its tensor", name);
    }
    if (of_backbone(common)) return 0;
    char plain[TN_ST_NAME];
    tn_plain_key(plain, sizeof plain, name);
    if (strstr(common, ".original_module.") || is_head(a, plain, common)) return tn_strs_add(&a->heads, common) ? 0 : tn_oom(err);
    return adapter_bad(a, err, "nothing here takes its tensor", name);
}

const tn_st_tensor *tn_adapter_whole(const tn_adapter *a, int i)
{
    if (strstr(a->common.v[i], ".lora_") || tn_strs_has(&a->heads, a->common.v[i])) return NULL;
    return strstr(a->common.v[i], ".original_module.") ? NULL : &a->file->t[i];
}

void tn_adapter_warn(const tn_adapter *a, const tn_hf_dir *base, const tn_log *log)
{
    tn_strs all = {0};
    bool ok = tn_strs_copy(&all, &a->heads);
    for (int i = 0; i < a->n; i++) {
        char weight[330];
        snprintf(weight, sizeof weight, "%s.weight", a->modules[i].common);
        if (a->modules[i].outside && !(base && tn_hf_find(base, weight, NULL))) ok &= tn_strs_add(&all, a->modules[i].common);
    }
    char *names = ok && all.n ? tn_strs_join(&all, ", ") : NULL;
    if (names)
        tn_logf(log, TN_LOG_WARN,
                "adapter '%s': %d of its tensors and modules are heads that the backbone lacks and are left aside: %s", a->dir,
                all.n, names);
    free(names);
    tn_strs_free(&all);
}

int tn_adapter_inside(const tn_adapter *a)
{
    int n = 0;
    for (int i = 0; i < a->n; i++) n += !a->modules[i].outside;
    return n;
}

/* ---- opening ---- */

static int read_config(tn_adapter *a, tn_error *err)
{
    TN_TRY(tn_adapter_check_config(a->dir, a->config, err));
    a->dora = tn_json_bool(a->config, "use_dora", 0);
    a->rslora = tn_json_bool(a->config, "use_rslora", 0);
    a->lora_bias = tn_json_bool(a->config, "lora_bias", 0);
    return 0;
}

static int read_tensors(tn_adapter *a, tn_error *err)
{
    a->modules = calloc((size_t)a->file->n + 1, sizeof *a->modules);
    if (!a->modules) return tn_oom(err);
    for (int i = 0; i < a->file->n; i++) {
        char common[TN_ST_NAME];
        tn_common_adapter_name(common, sizeof common, a->file->t[i].name);
        if (!tn_strs_add(&a->common, common)) return tn_oom(err);
    }
    for (int i = 0; i < a->file->n; i++)
        if (tn_ends(a->common.v[i], ".lora_A.weight")) TN_TRY(add_module(a, i, err));
    for (int i = 0; i < a->file->n; i++) TN_TRY(check_tensor(a, i, err));
    return a->n ? 0 : adapter_bad(a, err, "it holds no lora_A at all in", a->file->path);
}

/* adapter_model.safetensors, else the .bin of older PEFT. */
static char *weights_of(const char *dir)
{
    char *weights = tn_path(dir, "adapter_model.safetensors"), *bin = tn_path(dir, "adapter_model.bin");
    const bool older = weights && bin && !tn_is_file(weights) && tn_is_file(bin);
    free(older ? weights : bin);
    return older ? bin : weights;
}

static int open_parts(tn_adapter *a, const char *dir, tn_error *err)
{
    char *config = tn_path(dir, "adapter_config.json"), *weights = weights_of(dir);
    int rc = !config || !weights   ? tn_oom(err)
             : !tn_is_file(config) ? tn_fail(err, TN_ERR_IO, "'%s' is no adapter: it holds no adapter_config.json", dir)
                                   : tn_json_read(&a->config, config, err);
    if (!rc) rc = read_config(a, err);
    if (!rc) rc = tn_tensors_open(&a->file, weights, err);
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
    tn_replace_repair(dir);
    int rc = open_parts(a, dir, err);
    if (!rc) rc = read_tensors(a, err);
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
    tn_strs_free(&a->common);
    tn_strs_free(&a->heads);
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
    return strstr(common, ".lora_") || tn_strs_has(&a->heads, common) ? NULL : by_common(a, common);
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
