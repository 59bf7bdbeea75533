/* Adapters as files: described, spelt another way, made plain. */
#include "bundle.h"
#include "entry.h"
#include "files.h"
#include "folder.h"
#include "jsonio.h"
#include "names.h"
#include "start.h"
#include <tracknet/convert.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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
        parameters += m->a->count + m->b->count + (m->magnitude ? m->out : 0) + (m->bias ? m->out : 0);
        ranks[0] = TN_MIN(ranks[0], m->r), ranks[1] = TN_MAX(ranks[1], m->r);
        json_array_append_new(modules, json_pack("{s:o, s:i, s:i, s:i, s:o, s:b}", "module", tn_json_text(m->path), "r", m->r,
                                                 "in_features", m->in, "out_features", m->out, "scale", tn_json_real(m->scale),
                                                 "dora", m->magnitude != NULL));
    }
    for (int i = 0; i < a->file->n; i++)
        if (!strstr(a->file->t[i].name, ".lora_")) {
            parameters += a->file->t[i].count;
            json_array_append_new(others, tn_json_text(a->file->t[i].name));
        }
    json_t *j = json_pack("{s:o, s:s?, s:[i,i], s:s, s:b, s:b, s:s, s:I, s:I, s:s, s:o, s:o}", "adapter", tn_json_text(dir),
                          "base_model", tn_json_str(a->config, "base_model_name_or_path", NULL), "r", ranks[0], ranks[1], "init",
                          tn_adapter_init(a), "dora", a->dora, "rslora", a->rslora, "bias", tn_json_str(a->config, "bias", "none"),
                          "parameters", (json_int_t)parameters, "bytes", (json_int_t)a->file->size, "dtype", a->modules[0].a->dtype,
                          "modules", modules, "other_tensors", others);
    *text = j ? json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(j);
    tn_adapter_close(a);
    return *text ? 0 : tn_oom(err);
}

/* ---- convert ---- */

/* The key as save_pretrained writes it, or under another spelling of its module's path. */
static char *respell(const char *key, const char *spelling, const tn_family *family)
{
    char plain[320], common[320], spelt[320];
    tn_plain_key(plain, sizeof plain, key);
    if (!spelling) return strdup(plain);
    tn_common_adapter_name(common, sizeof common, plain);
    const char *infix = strstr(plain, ".base_layer.") ? ".base_layer" : "", *last;
    tn_spell_name(spelt, sizeof spelt, family, common, !strcmp(spelling, "v5"));
    last = strrchr(spelt, '.');
    return tn_strf("base_model.model.%.*s%s%s", (int)(last - spelt), spelt, infix, last);
}

static const char *dtype_of(const tn_adapter_convert *o, const tn_st_tensor *t)
{
    return o->dtype ? o->dtype : t->dtype;
}

/* s B A - s B0 A0 as one pair of rank 2r with PEFT's scale: [B, -B0] [A; A0]. */
static int plain_pair(tn_bundle *b, const tn_adapter_convert *o, const tn_adapter *a, const tn_adapter_module *m,
                      const tn_hf_dir *hf, const tn_family *family, tn_error *err)
{
    char name[330];
    float scale = 1;
    const tn_st_file *f;
    snprintf(name, sizeof name, "%s.weight", m->common);
    const tn_st_tensor *t = tn_hf_find(hf, name, &f);
    const size_t r = (size_t)m->r, in = (size_t)m->in, out = (size_t)m->out;
    if (!t || t->count != (int64_t)(in * out)) return tn_wrong_base(a, name, m->out, m->in, err);
    float *w = malloc(sizeof *w * in * out), *A = malloc(sizeof *A * 2 * r * in), *B = malloc(sizeof *B * 2 * r * out);
    float *B0 = malloc(sizeof *B0 * r * out), *B1 = tn_adapter_values(a, m->b, err), *A1 = tn_adapter_values(a, m->a, err);
    int rc = w && A && B && B0 && B1 && A1 ? tn_st_read_f32(f, t, w, err) : tn_oom(err);
    if (!rc) rc = tn_start_factors(B0, A + r * in, &scale, a, m, w, err);
    const float k = sqrtf(scale / m->scale);
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
    rc = tn_bundle_add(b, respell(m->a->name, o->spelling, family), dtype_of(o, m->a), 2, sa, A, err);
    if (!rc) return tn_bundle_add(b, respell(m->b->name, o->spelling, family), dtype_of(o, m->b), 2, sb, B, err);
    free(B);
    return rc;
}

static int check_plain(const tn_adapter_convert *o, const tn_adapter *a, tn_error *err)
{
    const char *init = tn_adapter_init(a);
    if (!strcasecmp(init, "loftq"))
        return tn_fail(err, TN_ERR_CONFIG, "adapter '%s' began from LoftQ, whose base is no checkpoint's plus a low rank; merge it",
                       a->dir);
    if (!tn_start_is_low_rank(a))
        return tn_fail(err, TN_ERR_CONFIG, "adapter '%s' began as %s and is plain LoRA already", a->dir, init);
    if (!o->base) return tn_fail(err, TN_ERR_ARGUMENT, "--plain needs --base, which %s was taken out of", init);
    return 0;
}

/* Parts of LoRA that --plain makes anew; a bias of lora_B stays. */
static bool made_anew(const tn_adapter_convert *o, const char *common)
{
    return o->plain && (tn_ends(common, ".lora_A.weight") || tn_ends(common, ".lora_B.weight"));
}

static int convert_tensors(tn_bundle *b, const tn_adapter_convert *o, const tn_adapter *a, const tn_family *family, tn_error *err)
{
    tn_hf_dir *hf = NULL;
    int rc = 0;
    if (o->plain) {
        TN_TRY(check_plain(o, a, err));
        TN_TRY(tn_hf_open(&hf, o->base, true, err));
    }
    for (int i = 0; !rc && i < a->n && o->plain; i++) rc = plain_pair(b, o, a, &a->modules[i], hf, family, err);
    for (int i = 0; !rc && i < a->file->n; i++) {
        const tn_st_tensor *t = &a->file->t[i];
        if (made_anew(o, a->common.v[i]) || strstr(t->name, ".original_module.")) continue;
        rc = tn_bundle_add(b, respell(t->name, o->spelling, family), dtype_of(o, t), t->ndim, t->shape,
                           tn_adapter_values(a, t, err), err);
    }
    tn_hf_close(hf);
    return rc;
}

/* Modules by their whole paths, and what of them departs from the defaults. */
static void set_modules(json_t *c, const tn_adapter_convert *o, const tn_adapter *a, const tn_family *family)
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
    json_object_del(c, "layers_to_transform"); /* whole paths say it */
    json_object_del(c, "layers_pattern");
    json_object_set_new(c, "rank_pattern", ranks);
    json_object_set_new(c, "alpha_pattern", alphas);
    json_object_set_new(c, "r", json_integer((json_int_t)times * r));
    json_object_set_new(c, "lora_alpha", tn_json_number((a->rslora ? sqrt(times) : times) * alpha)); /* the scale stays */
    if (o->plain) json_object_set_new(c, "init_lora_weights", json_true());
}

static void respell_whole(json_t *c, const tn_adapter_convert *o, const tn_family *family)
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

static int convert_config(const tn_adapter_convert *o, const tn_adapter *a, const tn_family *family, const char *dir, tn_error *err)
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

static int check_convert(const tn_adapter_convert *o, const tn_family **family, tn_error *err)
{
    *family = o->model_type ? tn_family_find(o->model_type) : NULL;
    if (!o->in || !o->out) return tn_fail(err, TN_ERR_ARGUMENT, "give --adapter and --out");
    if (o->spelling && strcmp(o->spelling, "v4") && strcmp(o->spelling, "v5"))
        return tn_fail(err, TN_ERR_ARGUMENT, "--spelling is v4 or v5 (transformers' versions), not '%s'", o->spelling);
    if (o->spelling && !*family)
        return tn_fail(err, TN_ERR_ARGUMENT, "--spelling needs --model-type, which is in the base's config.json");
    if (o->dtype && strcmp(o->dtype, "F32") && strcmp(o->dtype, "F16") && strcmp(o->dtype, "BF16"))
        return tn_fail(err, TN_ERR_ARGUMENT, "--dtype is F32, F16 or BF16, not '%s'", o->dtype);
    return 0;
}

int tn_convert_adapter(const tn_adapter_convert *o, tn_error *err)
{
    const tn_family *family;
    tn_adapter *a;
    tn_bundle b = {0};
    TN_ENTRY(err);
    TN_TRY(tn_struct(o, TN_ADAPTER_CONVERT_VERSION, "tn_adapter_convert", err));
    TN_TRY(check_convert(o, &family, err));
    TN_TRY(tn_adapter_open(&a, o->in, err));
    tn_folder out;
    int rc = tn_folder_begin(&out, o->out, true, err);
    char *weights = rc ? NULL : tn_path(out.tmp, "adapter_model.safetensors");
    if (!rc) rc = weights ? convert_tensors(&b, o, a, family, err) : tn_oom(err);
    if (!rc) rc = tn_st_write(weights, b.e, b.n, err);
    if (!rc) rc = convert_config(o, a, family, out.tmp, err);
    if (!rc) rc = tn_folder_commit(&out, err);
    tn_folder_end(&out);
    tn_bundle_free(&b);
    tn_adapter_close(a);
    free(weights);
    return rc;
}
