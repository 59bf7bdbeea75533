#include "adapter.h"
#include "checkpoint.h"
#include "files.h"
#include "match.h"
#include "names.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

static int bad(const tn_adapter *a, tn_error *err, const char *what, const char *which)
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
    return s->iterations > 0 && s->iterations <= 64 ? 0 : bad(a, err, "loftq_iter goes from 1 to 64 in", "loftq_config");
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
    if (!m->b) return bad(a, err, "there is no lora_B beside", t->name);
    if (m->a->ndim != 2 || m->b->ndim != 2 || m->a->shape[0] != m->b->shape[1] || m->a->shape[0] < 1)
        return bad(a, err, "lora_A and lora_B do not go together at", t->name);
    snprintf(name, sizeof name, "%.*s.lora_magnitude_vector", n, t->name);
    m->magnitude = tn_st_find(a->file, name);
    snprintf(name, sizeof name, "%.*s.lora_magnitude_vector.weight", n, t->name);
    if (!m->magnitude) m->magnitude = tn_st_find(a->file, name);
    m->r = (int)m->a->shape[0], m->in = (int)m->a->shape[1], m->out = (int)m->b->shape[0];
    if (a->dora && (!m->magnitude || m->magnitude->count != m->out))
        return bad(a, err, "DoRA's magnitude vector is missing or misshapen at", t->name);
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
    if (strcmp(type, "LORA")) return bad(a, err, "only LORA adapters can be read, and this one's peft_type is", type);
    if (tn_json_bool(a->config, "fan_in_fan_out", 0))
        return bad(a, err, "its weights are stored transposed (fan_in_fan_out), which is not built:", type);
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
    if (!rc && !a->n) rc = bad(a, err, "it holds no lora_A at all in", "adapter_model.safetensors");
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

/* ---- several adapters in one model ---- */

static int widen(tn_lora *l, const tn_adapter_module *m, tn_error *err)
{
    for (int i = 0; i < l->targets.n; i++)
        if (!strcmp(l->targets.v[i], m->common)) {
            l->rank_pattern.value[i] = fmax(l->rank_pattern.value[i], m->r);
            return 0;
        }
    double *v = realloc(l->rank_pattern.value, sizeof *v * (size_t)(l->targets.n + 1));
    if (!v) return tn_oom(err);
    l->rank_pattern.value = v;
    v[l->targets.n] = m->r;
    tn_text key = {0}; /* dots are literal in the pattern */
    for (const char *s = m->common; *s; s++) tn_text_addf(&key, *s == '.' ? "\\." : "%c", *s);
    bool ok = !key.oom && tn_strs_add(&l->rank_pattern.key, key.s) && tn_strs_add(&l->targets, m->common);
    tn_text_free(&key);
    return ok ? 0 : tn_oom(err);
}

/* Modules trained whole must stand in float, whatever the base is quantised to; biases always do. */
static int add_whole(tn_lora *l, const tn_adapter *a, tn_error *err)
{
    for (int i = 0; i < a->file->n; i++) {
        char name[320];
        if (strstr(a->file->t[i].name, ".lora_")) continue;
        tn_common_adapter_name(name, sizeof name, a->file->t[i].name);
        if (tn_ends(name, ".bias")) continue;
        char *dot = strrchr(name, '.');
        if (dot) *dot = 0;
        if (!tn_strs_has(&l->modules_to_save, name) && !tn_strs_add(&l->modules_to_save, name)) return tn_oom(err);
    }
    return 0;
}

/* A start that changes the base has to be made again, and by one adapter alone. */
static int begin_as(tn_lora *l, const tn_adapter *a, bool alone, tn_error *err)
{
    const char *init = tn_adapter_init(a);
    const int pissa = tn_pissa_iterations(init);
    tn_loftq_start q;
    TN_TRY(tn_adapter_loftq(&q, a, err));
    if (pissa >= 0) {
        l->init = TN_LORA_PISSA;
        l->iterations = pissa;
    } else if (q.iterations > 1) {
        l->init = TN_LORA_LOFTQ;
        l->iterations = q.iterations;
    } else {
        return 0;
    }
    if (alone) return 0;
    return tn_fail(err, TN_ERR_FORMAT, "adapter '%s': %s changes the base, so this adapter cannot share it with others: '%s'",
                   a->dir, pissa >= 0 ? "PiSSA" : "LoftQ", init);
}

int tn_adapter_union(tn_lora *l, tn_adapter *const *a, int n, tn_error *err)
{
    *l = (tn_lora){.enabled = true, .r = 1, .alpha = 1, .bias = "none"};
    int rc = 0;
    for (int i = 0; !rc && i < n; i++) {
        l->dora |= a[i]->dora;
        for (int k = 0; !rc && k < a[i]->n; k++) rc = widen(l, &a[i]->modules[k], err);
        if (!rc) rc = add_whole(l, a[i], err);
        if (!rc) rc = begin_as(l, a[i], n == 1, err);
    }
    if (rc) tn_lora_free(l);
    return rc;
}

static int other_base(const tn_adapter *a, const tn_adapter_module *m, const tn_slot *w, tn_error *err)
{
    return tn_fail(err, TN_ERR_FORMAT,
                   "adapter '%s': module '%s' is [%d, %d] where this base has [%d, %d]; it was made for another "
                   "base",
                   a->dir, m->path, m->out, m->in, w->rows, w->cols);
}

/* values [rows, cols] into the corner of a slot [R, C], times k; the rest is zero. */
static int set_padded(tn_engine *e, int slot, const float *values, int rows, int cols, float k, tn_error *err)
{
    const tn_slot *s = &e->model->slots[slot];
    float *v = calloc((size_t)s->rows * (size_t)s->cols + 1, sizeof *v);
    if (!v) return tn_oom(err);
    for (int r = 0; values && r < rows; r++)
        for (int c = 0; c < cols; c++)
            v[(size_t)r * (size_t)s->cols + (size_t)c] = values[(size_t)r * (size_t)cols + (size_t)c] * k;
    int rc = tn_store_set(e->session->store, slot, v, err);
    free(v);
    return rc;
}

static int slot_of(const tn_model *m, const char *module, const char *suffix)
{
    char name[320];
    snprintf(name, sizeof name, "%s%s", module, suffix);
    return tn_model_slot(m, name);
}

/* One adapted module of the model: from the adapter, or silenced where it has none. */
static int apply_module(const tn_adapter *a, tn_engine *e, const char *module, int *used, tn_error *err)
{
    char common[320];
    tn_model *m = e->model;
    const int sa = slot_of(m, module, ".lora_A.weight"), sb = slot_of(m, module, ".lora_B.weight"),
              sw = slot_of(m, module, ".weight");
    tn_common_name(common, sizeof common, module);
    const tn_adapter_module *x = tn_adapter_find(a, common);
    if (!x) {
        TN_TRY(set_padded(e, sa, NULL, 0, 0, 0, err));
        return set_padded(e, sb, NULL, 0, 0, 0, err);
    }
    ++*used;
    if (x->in != m->slots[sw].cols || x->out != m->slots[sw].rows) return other_base(a, x, &m->slots[sw], err);
    float *A = tn_adapter_values(a, x->a, err), *B = A ? tn_adapter_values(a, x->b, err) : NULL;
    int rc = B ? set_padded(e, sa, A, x->r, x->in, 1, err) : err->status;
    if (!rc) rc = set_padded(e, sb, B, x->out, x->r, x->scale / m->slots[sb].lora_scale, err);
    free(A);
    free(B);
    return rc;
}

static int apply_magnitudes(const tn_adapter *a, tn_engine *e, tn_error *err)
{
    TN_TRY(tn_adapt_magnitudes(e->session->store, err)); /* a factor of one where the adapter has none */
    for (int i = 0; a->dora && i < e->model->n_slots; i++) {
        const tn_slot *s = &e->model->slots[i];
        char module[320], common[320];
        if (!tn_ends(s->name, ".lora_magnitude_vector")) continue;
        snprintf(module, sizeof module, "%.*s", (int)(strlen(s->name) - strlen(".lora_magnitude_vector")), s->name);
        tn_common_name(common, sizeof common, module);
        const tn_adapter_module *x = tn_adapter_find(a, common);
        if (!x) continue;
        float *v = tn_adapter_values(a, x->magnitude, err);
        int rc = v ? tn_store_set(e->session->store, i, v, err) : err->status;
        free(v);
        TN_TRY(rc);
    }
    return 0;
}

/* The base's own value, kept the first time that an adapter replaces it. */
static int keep(tn_engine *e, int slot, tn_error *err)
{
    const tn_slot *s = &e->model->slots[slot];
    if (!e->kept && !(e->kept = calloc((size_t)e->model->n_slots, sizeof *e->kept))) return tn_oom(err);
    if (e->kept[slot]) return 0;
    e->kept[slot] = malloc((size_t)s->rows * (size_t)s->cols * sizeof(float));
    return e->kept[slot] ? tn_store_get(e->session->store, slot, e->kept[slot], err) : tn_oom(err);
}

/* Biases and modules trained whole; what an adapter before this one replaced is put back. */
static int apply_others(const tn_adapter *a, tn_engine *e, tn_error *err)
{
    for (int i = 0; i < e->model->n_slots; i++) {
        const tn_slot *s = &e->model->slots[i];
        char common[320];
        if (s->group == TN_GROUP_HEAD || strstr(s->name, ".lora_")) continue;
        tn_common_name(common, sizeof common, s->name);
        const tn_st_tensor *t = tn_adapter_other(a, common);
        if (!t && e->kept && e->kept[i]) TN_TRY(tn_store_set(e->session->store, i, e->kept[i], err));
        if (!t) continue;
        TN_TRY(keep(e, i, err));
        if (t->count != (int64_t)s->rows * s->cols)
            return tn_fail(err, TN_ERR_FORMAT,
                           "adapter '%s': '%s' has %lld values where this base has %lld; it was made for another base", a->dir,
                           t->name, (long long)t->count, (long long)s->rows * s->cols);
        float *v = tn_adapter_values(a, t, err);
        int rc = v ? tn_store_set(e->session->store, i, v, err) : err->status;
        free(v);
        TN_TRY(rc);
    }
    return 0;
}

int tn_adapter_apply(const tn_adapter *a, tn_engine *e, tn_error *err)
{
    int used = 0;
    TN_TRY(apply_others(a, e, err));
    for (int i = 0; i < e->model->n_slots; i++) {
        char module[320];
        const char *name = e->model->slots[i].name;
        if (!tn_ends(name, ".lora_A.weight")) continue;
        snprintf(module, sizeof module, "%.*s", (int)(strlen(name) - strlen(".lora_A.weight")), name);
        TN_TRY(apply_module(a, e, module, &used, err));
    }
    if (used < a->n)
        return tn_fail(err, TN_ERR_FORMAT, "adapter '%s': %d of its %d modules are not in this base; it was made for another base",
                       a->dir, a->n - used, a->n);
    return apply_magnitudes(a, e, err);
}

/* As tn_qblock takes it, said outright. */
static int block_asked(tn_qtype type, int block)
{
    return block ? block : tn_qformats[type].default_block;
}

/* LoftQ made up for one way of quantising, which must be this engine's. */
static int check_loftq(const tn_adapter *a, const tn_engine *e, tn_error *err)
{
    const tn_quant_spec *q = &e->session->store->quant;
    tn_loftq_start s;
    TN_TRY(tn_adapter_loftq(&s, a, err));
    const bool same_block = block_asked(q->type, q->block) == block_asked(s.type, s.block);
    if (!s.iterations || (q->enabled && q->type == s.type && same_block && q->nested == s.nested)) return 0;
    char block[40] = "";
    if (s.block) snprintf(block, sizeof block, ", block_size %d,", s.block);
    return tn_fail(err, TN_ERR_CONFIG, "adapter '%s' began from LoftQ on a base in %s%s%s; set model.quantization so", a->dir,
                   tn_qformats[s.type].name, block, s.nested ? " with double quantisation" : "");
}

int tn_adapters_engine(tn_engine **e, tn_adapter *list[TN_MAX_ADAPTERS], int *n, const tn_settings *s, const tn_run_options *o,
                       tn_error *err)
{
    tn_lora all;
    *e = NULL;
    *n = 0;
    if (!o->n_adapters) {
        TN_TRY(tn_engine_open(e, s, o, false, false, err));
        return o->checkpoint ? tn_checkpoint_load(o->checkpoint, *e, err) : 0;
    }
    if (o->n_adapters > TN_MAX_ADAPTERS) return tn_fail(err, TN_ERR_ARGUMENT, "at most %d adapters at once", TN_MAX_ADAPTERS);
    for (; *n < o->n_adapters; ++*n) TN_TRY(tn_adapter_open(&list[*n], o->adapters[*n], err));
    TN_TRY(tn_adapter_union(&all, list, *n, err));
    int rc = tn_engine_open_with(e, s, o, &all, err);
    tn_lora_free(&all);
    for (int i = 0; !rc && i < *n; i++) rc = check_loftq(list[i], *e, err);
    if (!rc && o->checkpoint) rc = tn_checkpoint_load(o->checkpoint, *e, err);
    return rc;
}

int tn_adapters_use(const tn_adapter *a, tn_engine *e, const tn_run_options *o, tn_error *err)
{
    char *decoder = tn_path(a->dir, "decoder.safetensors");
    int rc = !decoder              ? tn_oom(err)
             : tn_is_file(decoder) ? tn_checkpoint_load(a->dir, e, err)
             : o->checkpoint       ? 0
                                   : tn_fail(err, TN_ERR_IO,
                                             "adapter '%s' has no decoder.safetensors beside it; name a --checkpoint that "
                                                   "brings decoder and head",
                                             a->dir);
    free(decoder);
    return rc ? rc : tn_adapter_apply(a, e, err);
}

/* ---- writing ---- */

char *tn_adapter_key(const tn_model *m, const tn_slot *s)
{
    char path[320];
    tn_module_path(path, sizeof path, m->vit.model_type, s->name);
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
    return slot_of(m, module, ".lora_A.weight") >= 0;
}

/* Last components of the adapted modules, if suffixes select those and no others; else their whole paths. */
static json_t *targets_of(const tn_model *m)
{
    tn_strs linears = {0}, last = {0}, paths = {0};
    tn_model_linears(m, &linears);
    for (int i = 0; i < linears.n; i++) {
        char path[320];
        if (!is_adapted(m, linears.v[i])) continue;
        tn_module_path(path, sizeof path, m->vit.model_type, linears.v[i]);
        const char *dot = strrchr(path, '.');
        tn_strs_add(&paths, path);
        if (!tn_strs_has(&last, dot ? dot + 1 : path)) tn_strs_add(&last, dot ? dot + 1 : path);
    }
    bool exact = true;
    for (int i = 0; i < linears.n; i++) {
        char path[320];
        tn_module_path(path, sizeof path, m->vit.model_type, linears.v[i]);
        for (int k = 0; k < last.n; k++)
            if (tn_match_suffix(path, last.v[k]) && !is_adapted(m, linears.v[i])) exact = false;
    }
    json_t *out = json_array();
    const tn_strs *use = exact ? &last : &paths;
    for (int i = 0; i < use->n; i++) json_array_append_new(out, json_string(use->v[i]));
    tn_strs_free(&linears);
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
        tn_module_path(path, sizeof path, m->vit.model_type, s->name);
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
    if (tn_starts(init, "pissa") || !strcmp(init, "gaussian")) return json_string(init);
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
                     "quant_type", tn_qformats[q->type].name, "block_size", block_asked(q->type, q->block), "double_quant",
                     q->nested, "not_quantized", none);
}

json_t *tn_adapter_config(const tn_engine *e)
{
    const tn_settings *s = e->s;
    const tn_lora *l = &e->model->lora;
    json_t *ranks = json_object(), *alphas = json_object(), *whole = json_null();
    patterns_of(e->model, ranks, alphas);
    if (l->modules_to_save.n) whole = json_array();
    for (int i = 0; i < l->modules_to_save.n; i++) {
        char path[320];
        tn_module_path(path, sizeof path, e->model->vit.model_type, l->modules_to_save.v[i]);
        json_array_append_new(whole, json_string(path));
    }
    return json_pack("{s:s, s:i, s:o, s:f, s:s, s:b, s:b, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:s?, s:s?, s:b}", "peft_type", "LORA",
                     "r", l->r, "lora_alpha", tn_json_number(s->model.lora.alpha), "lora_dropout", (double)s->model.lora.dropout,
                     "bias", l->bias, "use_rslora", l->rslora, "use_dora", l->dora, "fan_in_fan_out", 0, "init_lora_weights",
                     init_json(s), "loftq_config", loftq_json(e), "modules_to_save", whole, "target_modules", targets_of(e->model),
                     "rank_pattern", ranks, "alpha_pattern", alphas, "base_model_name_or_path", s->model.pretrained, "task_type",
                     s->model.lora.task_type, "inference_mode", 1);
}
