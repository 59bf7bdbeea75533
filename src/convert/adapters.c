/* Adapters as files: described, merged into their base, spelt another way. */
#include "adapter.h"
#include "entry.h"
#include "files.h"
#include "loftq.h"
#include "names.h"
#include "rewrite.h"
#include "svd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- info ---- */

int tn_adapter_describe(const char *dir, char **text, tn_error *err)
{
    TN_ENTRY(err);
    tn_adapter *a;
    TN_TRY(tn_required(text, "tn_adapter_describe's text", err));
    *text = NULL;
    TN_TRY(tn_required(dir, "tn_adapter_describe's adapter", err));
    TN_TRY(tn_adapter_open(&a, dir, err));
    json_t *modules = json_array(), *others = json_array();
    long long parameters = 0;
    int ranks[2] = {a->modules[0].r, a->modules[0].r};
    for (int i = 0; i < a->n; i++) {
        const tn_adapter_module *m = &a->modules[i];
        parameters += (long long)m->r * (m->in + m->out) + (m->magnitude ? m->out : 0);
        ranks[0] = TN_MIN(ranks[0], m->r), ranks[1] = TN_MAX(ranks[1], m->r);
        json_array_append_new(modules,
                              json_pack("{s:s, s:i, s:i, s:i, s:f, s:b}", "module", m->path, "r", m->r, "in_features", m->in,
                                        "out_features", m->out, "scale", (double)m->scale, "dora", m->magnitude != NULL));
    }
    for (int i = 0; i < a->file->n; i++)
        if (!strstr(a->file->t[i].name, ".lora_")) {
            parameters += a->file->t[i].count;
            json_array_append_new(others, json_string(a->file->t[i].name));
        }
    json_t *j = json_pack("{s:s, s:s?, s:[i,i], s:s, s:b, s:b, s:s, s:I, s:I, s:s, s:o, s:o}", "adapter", dir, "base_model",
                          tn_json_str(a->config, "base_model_name_or_path", NULL), "r", ranks[0], ranks[1], "init",
                          tn_adapter_init(a), "dora", a->dora, "rslora", a->rslora, "bias", tn_json_str(a->config, "bias", "none"),
                          "parameters", (json_int_t)parameters, "bytes", (json_int_t)a->file->size, "dtype", a->modules[0].a->dtype,
                          "modules", modules, "other_tensors", others);
    *text = j ? json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(j);
    tn_adapter_close(a);
    return *text ? 0 : tn_oom(err);
}

/* ---- merge ---- */

typedef struct {
    tn_adapter *a;
    int used;
    int iterations; /* of PiSSA's decomposition; -1: no PiSSA */
    tn_loftq_start loftq;
} merger;

/* "X.weight" -> the adapter's module X. */
static const tn_adapter_module *module_of(const tn_adapter *a, const char *tensor)
{
    char common[320];
    tn_common_name(common, sizeof common, tensor);
    if (!tn_ends(common, ".weight")) return NULL;
    common[strlen(common) - strlen(".weight")] = 0;
    return tn_adapter_find(a, common);
}

static const tn_st_tensor *whole_of(const tn_adapter *a, const char *tensor)
{
    char common[320];
    tn_common_name(common, sizeof common, tensor);
    return tn_adapter_other(a, common);
}

static bool changes(void *user, const char *name)
{
    const merger *m = user;
    return module_of(m->a, name) || whole_of(m->a, name);
}

static int wrong_base(const tn_adapter *a, const char *name, int rows, int cols, tn_error *err)
{
    return tn_fail(err, TN_ERR_FORMAT, "adapter '%s' does not fit '%s' [%d, %d]; it was made for another base", a->dir, name, rows,
                   cols);
}

/* PiSSA trained against W - s B0 A0. */
static int take_pissa(const merger *m, const tn_adapter_module *x, float *w, tn_error *err)
{
    if (m->iterations < 0) return 0;
    const size_t nb = (size_t)x->out * (size_t)x->r, na = (size_t)x->in * (size_t)x->r;
    float *B = malloc(sizeof *B * (nb + na)), *A = B + nb;
    if (!B) return tn_oom(err);
    int rc = tn_low_rank(&(tn_low_rank_of){w, x->out, x->in, x->r, m->iterations, 42}, B, A, err);
    if (!rc) tn_matmul_add(w, -1, B, A, x->out, x->r, x->in);
    free(B);
    return rc;
}

/* LoftQ trained against the base as its alternations left it quantised. */
static int take_loftq(const merger *m, const tn_adapter_module *x, float *w, tn_error *err)
{
    if (!m->loftq.iterations || !tn_adapter_loftq_has(m->a, x)) return 0;
    tn_qshape s = {.type = m->loftq.type, .rows = x->out, .cols = x->in, .nested = m->loftq.nested};
    TN_TRY(tn_qblock(&s.block, s.type, m->loftq.block, s.cols, x->path, err));
    const tn_loftq_spec how = {.shape = s, .r = x->r, .iterations = m->loftq.iterations, .scale = x->scale};
    return tn_loftq_base(w, &how, err);
}

static int merge_module(const merger *m, const tn_adapter_module *x, float *w, tn_error *err)
{
    float *A = tn_adapter_values(m->a, x->a, err), *B = A ? tn_adapter_values(m->a, x->b, err) : NULL;
    float *mag = B && x->magnitude ? tn_adapter_values(m->a, x->magnitude, err) : NULL;
    int rc = B && (!x->magnitude || mag) ? take_pissa(m, x, w, err) : err->status;
    if (!rc) rc = take_loftq(m, x, w, err);
    if (!rc) {
        tn_matmul_add(w, x->scale, B, A, x->out, x->r, x->in);
        if (mag) tn_rows_to_norms(w, mag, x->out, x->in);
    }
    free(A);
    free(B);
    free(mag);
    return rc;
}

static int change(void *user, const char *name, float *w, int rows, int cols, tn_error *err)
{
    merger *m = user;
    const tn_adapter_module *x = module_of(m->a, name);
    if (x) {
        if (x->out != rows || x->in != cols) return wrong_base(m->a, name, rows, cols, err);
        return merge_module(m, x, w, err);
    }
    const tn_st_tensor *t = whole_of(m->a, name);
    if (t->count != (int64_t)rows * cols) return wrong_base(m->a, name, rows, cols, err);
    return tn_st_read_f32(m->a->file, t, w, err);
}

/* Every module must be in the base before anything is written. */
static int check_base(const tn_adapter *a, const char *base, tn_error *err)
{
    tn_hf_dir *hf;
    TN_TRY(tn_hf_open(&hf, base, true, err));
    int rc = 0;
    for (int i = 0; !rc && i < a->n; i++) {
        char name[330];
        snprintf(name, sizeof name, "%s.weight", a->modules[i].common);
        if (!tn_hf_find(hf, name, NULL))
            rc = tn_fail(err, TN_ERR_FORMAT, "adapter '%s': there is no '%s' in '%s'; it was made for another base", a->dir,
                         a->modules[i].path, hf->path);
    }
    tn_hf_close(hf);
    return rc;
}

static int starts_of(merger *m, tn_error *err)
{
    m->iterations = tn_pissa_iterations(tn_adapter_init(m->a));
    TN_TRY(tn_adapter_loftq(&m->loftq, m->a, err));
    if (m->loftq.iterations || strcmp(tn_adapter_init(m->a), "loftq")) return 0;
    return tn_fail(err, TN_ERR_CONFIG,
                   "adapter '%s' began from LoftQ, and its loftq_config names no quant_type to make its base again; "
                   "merge it in PEFT, with the base that it was trained with",
                   m->a->dir);
}

int tn_merge_adapter(const char *adapter, const tn_quantize_options *o, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_struct(o, TN_QUANTIZE_OPTIONS_VERSION, "tn_quantize_options", err));
    TN_TRY(tn_quantize_skips(o, err));
    merger m = {0};
    tn_rewrite w = {
        .o = o, .quantize = o->quant_type != NULL, .phase = TN_PHASE_MERGING, .changes = changes, .change = change, .user = &m};
    if (!adapter || !o->in || !o->out) return tn_fail(err, TN_ERR_ARGUMENT, "give --adapter, --base and --out");
    if (o->quant_type) TN_TRY(tn_quantize_check(o, &w.type, err));
    TN_TRY(tn_adapter_open(&m.a, adapter, err));
    int rc = starts_of(&m, err);
    if (!rc) rc = check_base(m.a, o->in, err);
    if (!rc) rc = tn_rewrite_run(&w, err);
    tn_adapter_close(m.a);
    return rc;
}

/* ---- convert ---- */

typedef struct {
    tn_st_entry *e;
    int n;
} adapters_bundle;

static int adapters_add(adapters_bundle *b, char *name, const char *dtype, int ndim, const int64_t *shape, float *v, tn_error *err)
{
    int64_t n = 1;
    for (int i = 0; i < ndim; i++) n *= shape[i];
    const tn_dtype dt = !strcmp(dtype, "F16") ? TN_F16 : !strcmp(dtype, "BF16") ? TN_BF16 : TN_F32;
    void *bytes = malloc((size_t)n * tn_dtype_size(dt) + 4);
    tn_st_entry *e = realloc(b->e, sizeof *e * (size_t)(b->n + 1));
    if (e) b->e = e;
    if (!bytes || !e || !name || !v) {
        free(bytes);
        free(name);
        free(v);
        return tn_oom(err);
    }
    tn_from_f32(bytes, v, dt, (size_t)n);
    free(v);
    e[b->n] = (tn_st_entry){.name = name, .dtype = dtype, .ndim = ndim, .data = bytes, .bytes = (size_t)n * tn_dtype_size(dt)};
    memcpy(e[b->n++].shape, shape, sizeof *shape * (size_t)ndim);
    return 0;
}

static void adapters_bundle_free(adapters_bundle *b)
{
    for (int i = 0; i < b->n; i++) {
        free((void *)b->e[i].name);
        free((void *)b->e[i].data);
    }
    free(b->e);
}

/* The key under another spelling of its module's path. */
static char *respell(const char *key, const char *spelling, const tn_backbone *family)
{
    char common[320];
    if (!spelling) return strdup(key);
    tn_common_adapter_name(common, sizeof common, key);
    const char *infix = strstr(key, ".base_layer.") ? ".base_layer" : "", *last = strrchr(common, '.');
    char spelt[320];
    tn_spell_name(spelt, sizeof spelt, family, common, !strcmp(spelling, "v5"));
    last = strrchr(spelt, '.');
    return tn_strf("base_model.model.%.*s%s%s", (int)(last - spelt), spelt, infix, last);
}

static const char *dtype_of(const tn_adapter_convert *o, const tn_st_tensor *t)
{
    return o->dtype ? o->dtype : t->dtype;
}

/* s B A - s B0 A0 as one pair of rank 2r with PEFT's scale: [B, -B0] [A; A0]. */
static int plain_pair(adapters_bundle *b, const tn_adapter_convert *o, const tn_adapter *a, const tn_adapter_module *m,
                      const tn_hf_dir *hf, int iterations, const tn_backbone *family, tn_error *err)
{
    char name[330];
    const tn_st_file *f;
    snprintf(name, sizeof name, "%s.weight", m->common);
    const tn_st_tensor *t = tn_hf_find(hf, name, &f);
    const size_t r = (size_t)m->r, in = (size_t)m->in, out = (size_t)m->out;
    if (!t || t->count != (int64_t)(in * out)) return wrong_base(a, name, m->out, m->in, err);
    float *w = malloc(sizeof *w * in * out), *A = malloc(sizeof *A * 2 * r * in), *B = malloc(sizeof *B * 2 * r * out);
    float *B0 = malloc(sizeof *B0 * r * out), *B1 = tn_adapter_values(a, m->b, err), *A1 = tn_adapter_values(a, m->a, err);
    int rc = w && A && B && B0 && B1 && A1 ? tn_st_read_f32(f, t, w, err) : tn_oom(err);
    if (!rc) rc = tn_low_rank(&(tn_low_rank_of){w, m->out, m->in, m->r, iterations, 42}, B0, A + r * in, err);
    const float k = sqrtf(1 / m->scale);
    for (size_t i = 0; !rc && i < r * in; i++) A[i] = A1[i], A[r * in + i] *= k;
    for (size_t i = 0; !rc && i < out; i++)
        for (size_t j = 0; j < r; j++) B[i * 2 * r + j] = B1[i * r + j], B[i * 2 * r + r + j] = -k * B0[i * r + j];
    free(w);
    free(B0);
    free(B1);
    free(A1);
    const int64_t sa[] = {2 * m->r, m->in}, sb[] = {m->out, 2 * m->r};
    if (rc) {
        free(A);
        free(B);
        return rc;
    }
    TN_TRY(adapters_add(b, respell(m->a->name, o->spelling, family), dtype_of(o, m->a), 2, sa, A, err));
    return adapters_add(b, respell(m->b->name, o->spelling, family), dtype_of(o, m->b), 2, sb, B, err);
}

static int convert_tensors(adapters_bundle *b, const tn_adapter_convert *o, const tn_adapter *a, const tn_backbone *family,
                           tn_error *err)
{
    tn_hf_dir *hf = NULL;
    const int iterations = tn_pissa_iterations(tn_adapter_init(a));
    int rc = 0;
    if (o->plain) {
        if (!strcmp(tn_adapter_init(a), "loftq"))
            return tn_fail(err, TN_ERR_CONFIG,
                           "adapter '%s' began from LoftQ, whose base is no checkpoint's plus a low rank; merge it", a->dir);
        if (iterations < 0)
            return tn_fail(err, TN_ERR_CONFIG, "adapter '%s' began as %s and is plain LoRA already", a->dir, tn_adapter_init(a));
        if (!o->base) return tn_fail(err, TN_ERR_ARGUMENT, "--plain needs --base, which PiSSA was taken out of");
        TN_TRY(tn_hf_open(&hf, o->base, true, err));
    }
    for (int i = 0; !rc && i < a->n && o->plain; i++) rc = plain_pair(b, o, a, &a->modules[i], hf, iterations, family, err);
    for (int i = 0; !rc && i < a->file->n; i++) {
        const tn_st_tensor *t = &a->file->t[i];
        if (o->plain && strstr(t->name, ".lora_")) continue;
        rc = adapters_add(b, respell(t->name, o->spelling, family), dtype_of(o, t), t->ndim, t->shape, tn_adapter_values(a, t, err),
                          err);
    }
    tn_hf_close(hf);
    return rc;
}

/* Modules by their whole paths, and what of them departs from the defaults. */
static void set_modules(json_t *c, const tn_adapter_convert *o, const tn_adapter *a, const tn_backbone *family)
{
    const double alpha = tn_json_num(a->config, "lora_alpha", 8), times = o->plain ? 2 : 1;
    const long long r = tn_json_int(a->config, "r", 8);
    json_t *targets = json_array(), *ranks = json_object(), *alphas = json_object();
    for (int i = 0; i < a->n; i++) {
        const tn_adapter_module *m = &a->modules[i];
        char path[320];
        snprintf(path, sizeof path, "%s", m->path);
        if (o->spelling) tn_spell_name(path, sizeof path, family, m->common, !strcmp(o->spelling, "v5"));
        const double mine = m->scale * (a->rslora ? sqrt(m->r) : m->r);
        json_array_append_new(targets, json_string(path));
        if (m->r != r) json_object_set_new(ranks, path, tn_json_number(times * m->r));
        if (fabs(mine - alpha) > 1e-5 * alpha)
            json_object_set_new(alphas, path, tn_json_number((a->rslora ? sqrt(times) : times) * mine));
    }
    json_object_set_new(c, "target_modules", targets);
    json_object_set_new(c, "rank_pattern", ranks);
    json_object_set_new(c, "alpha_pattern", alphas);
    json_object_set_new(c, "r", json_integer((json_int_t)times * r));
    json_object_set_new(c, "lora_alpha", tn_json_number((a->rslora ? sqrt(times) : times) * alpha)); /* the scale stays */
    if (o->plain) json_object_set_new(c, "init_lora_weights", json_true());
}

static void respell_whole(json_t *c, const tn_adapter_convert *o, const tn_backbone *family)
{
    const json_t *list = json_object_get(c, "modules_to_save");
    json_t *out = json_array(), *v;
    size_t i;
    json_array_foreach((json_t *)list, i, v)
    {
        char common[320], spelt[320];
        tn_common_name(common, sizeof common, json_string_value(v));
        tn_spell_name(spelt, sizeof spelt, family, common, !strcmp(o->spelling, "v5"));
        json_array_append_new(out, json_string(spelt));
    }
    json_object_set_new(c, "modules_to_save", out);
}

static int convert_config(const tn_adapter_convert *o, const tn_adapter *a, const tn_backbone *family, const char *dir,
                          tn_error *err)
{
    json_t *c = json_deep_copy(a->config);
    char *path = tn_path(dir, "adapter_config.json");
    if (c && (o->plain || o->spelling)) set_modules(c, o, a, family);
    if (c && o->spelling && json_is_array(json_object_get(c, "modules_to_save"))) respell_whole(c, o, family);
    int rc = c && path ? tn_json_write(c, path, err) : tn_oom(err);
    json_decref(c);
    free(path);
    return rc;
}

static int check_convert(const tn_adapter_convert *o, const tn_backbone **family, tn_error *err)
{
    *family = o->model_type ? tn_backbone_find(o->model_type) : NULL;
    if (!o->in || !o->out) return tn_fail(err, TN_ERR_ARGUMENT, "give --adapter and --out");
    if (tn_is_dir(o->out)) return tn_fail(err, TN_ERR_IO, "'%s' is there already; choose another --out or remove it", o->out);
    if (o->spelling && strcmp(o->spelling, "v4") && strcmp(o->spelling, "v5"))
        return tn_fail(err, TN_ERR_ARGUMENT, "--spelling is v4 or v5 (transformers' versions), not '%s'", o->spelling);
    if (o->spelling && !*family)
        return tn_fail(err, TN_ERR_ARGUMENT, "--spelling needs --model-type: dinov3_vit, dinov2, dinov2_with_registers or vit");
    if (o->dtype && strcmp(o->dtype, "F32") && strcmp(o->dtype, "F16") && strcmp(o->dtype, "BF16"))
        return tn_fail(err, TN_ERR_ARGUMENT, "--dtype is F32, F16 or BF16, not '%s'", o->dtype);
    return 0;
}

int tn_convert_adapter(const tn_adapter_convert *o, tn_error *err)
{
    const tn_backbone *family;
    tn_adapter *a;
    adapters_bundle b = {0};
    TN_ENTRY(err);
    TN_TRY(tn_struct(o, TN_ADAPTER_CONVERT_VERSION, "tn_adapter_convert", err));
    TN_TRY(check_convert(o, &family, err));
    TN_TRY(tn_adapter_open(&a, o->in, err));
    char *tmp = tn_strf("%s.tmp.%ld", o->out, (long)getpid()), *weights = tmp ? tn_path(tmp, "adapter_model.safetensors") : NULL;
    int rc = weights ? convert_tensors(&b, o, a, family, err) : tn_oom(err);
    if (!rc) rc = tn_mkdirs(tmp, err);
    if (!rc) rc = tn_st_write(weights, b.e, b.n, err);
    if (!rc) rc = convert_config(o, a, family, tmp, err);
    if (!rc) rc = tn_swap_dir(tmp, o->out, err);
    tn_error ignored;
    if (rc && tmp) (void)tn_remove_tree(tmp, &ignored);
    adapters_bundle_free(&b);
    tn_adapter_close(a);
    free(tmp);
    free(weights);
    return rc;
}
