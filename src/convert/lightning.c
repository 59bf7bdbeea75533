/* A PyTorch Lightning TrackNet checkpoint saved as safetensors (backbone.model.*, decoder.*, head.*), in and out. */
#include "adapter_use.h"
#include "checkpoint.h"
#include "entry.h"
#include "export.h"
#include "files.h"
#include "folder.h"
#include "names.h"
#include "qfile.h"
#include "torch_file.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* ---- in ---- */

/* Files of `dir` that end so: how many, and the one called model.* or else the last. */
static int find_ending(char **path, int *found, const char *dir, const char *ending, tn_error *err)
{
    tn_strs names = {0};
    char *usual = tn_strf("model%s", ending);
    int rc = usual ? tn_list_dir(&names, dir, err) : tn_oom(err);
    *found = 0;
    for (int i = 0; !rc && i < names.n; i++) {
        if (!tn_ends(names.v[i], ending)) continue;
        if ((*found)++ && strcmp(names.v[i], usual)) continue;
        free(*path);
        if (!(*path = tn_path(dir, names.v[i]))) rc = tn_oom(err);
    }
    tn_strs_free(&names);
    free(usual);
    return rc;
}

/* The file itself, the .safetensors file in a folder, or its only .ckpt. */
static int find_file(char **path, const char *in, tn_error *err)
{
    int found = 0;
    *path = NULL;
    if (tn_is_file(in)) return (*path = strdup(in)) ? 0 : tn_oom(err);
    if (!tn_is_dir(in)) return tn_fail(err, TN_ERR_IO, "there is no checkpoint '%s'", in);
    TN_TRY(find_ending(path, &found, in, ".safetensors", err));
    if (found) return 0;
    TN_TRY(find_ending(path, &found, in, ".ckpt", err));
    if (found > 1) return tn_fail(err, TN_ERR_IO, "'%s' holds %d .ckpt files; give one of them as --in", in, found);
    return found ? 0 : tn_fail(err, TN_ERR_IO, "'%s' holds no .safetensors file and no .ckpt of PyTorch Lightning", in);
}

typedef struct {
    tn_st_file *f;
    tn_strs common; /* of each tensor */
    bool *used;
} lightning_source;

static int open_source(lightning_source *s, const char *path, tn_error *err)
{
    TN_TRY(tn_tensors_open(&s->f, path, err));
    s->used = calloc((size_t)s->f->n + 1, sizeof *s->used);
    for (int i = 0; i < s->f->n; i++) {
        char name[320];
        tn_common_adapter_name(name, sizeof name, s->f->t[i].name);
        if (!tn_strs_add(&s->common, name)) return tn_oom(err);
    }
    return s->used ? 0 : tn_oom(err);
}

static int lightning_find(lightning_source *s, const char *slot)
{
    char want[320];
    tn_common_adapter_name(want, sizeof want, slot);
    for (int i = 0; i < s->common.n; i++)
        if (!strcmp(s->common.v[i], want)) return i;
    return -1;
}

static int lightning_read_slot(float **v, lightning_source *src, const tn_slot *s, tn_error *err)
{
    const int i = lightning_find(src, s->name);
    const size_t n = (size_t)s->rows * (size_t)s->cols;
    *v = NULL;
    if (i < 0)
        return tn_fail(err, TN_ERR_FORMAT, "%s: nothing in it is '%s'; was it trained with another configuration?", src->f->path,
                       s->name);
    const tn_st_tensor *t = &src->f->t[i];
    src->used[i] = true;
    *v = malloc(n * sizeof **v + 4);
    if (!*v) return tn_oom(err);
    int rc;
    tn_qmatrix q = {0};
    if (tn_qfile_is_packed(src->f, t)) {
        rc = tn_qfile_read(&q, src->f, t, NULL, err);
        if (!rc && (q.s.rows != s->rows || q.s.cols != s->cols))
            rc = tn_fail(err, TN_ERR_FORMAT, "%s: '%s' is misshapen", src->f->path, t->name);
        if (!rc) tn_dequantize(&q, *v);
        tn_qmatrix_free(&q);
    } else {
        rc = (size_t)t->count == n ? tn_st_read_f32(src->f, t, *v, err)
                                   : tn_fail(err, TN_ERR_FORMAT, "%s: '%s' has %lld values where the configuration makes it %zu",
                                             src->f->path, t->name, (long long)t->count, n);
    }
    if (rc) free(*v);
    if (rc) *v = NULL;
    return rc;
}

/* What nothing here takes and nobody misses: parts of packed matrices, masked pre-training's token, BatchNorm's count of batches.
 */
static bool is_spare(const char *name)
{
    return tn_qfile_is_part(name) || strstr(name, "mask_token") || tn_ends(name, ".num_batches_tracked");
}

static void name_unused(const lightning_source *s, const tn_log *log)
{
    tn_text names = {0};
    int n = 0;
    for (int i = 0; i < s->f->n; i++)
        if (!s->used[i] && !is_spare(s->f->t[i].name) && n++ < 5) tn_text_addf(&names, "%s%s", n > 1 ? ", " : "", s->f->t[i].name);
    if (n)
        tn_logf(log, TN_LOG_WARN, "%d tensors of the checkpoint are not part of this model and are left out: %s%s", n, names.s,
                n > 5 ? ", ..." : "");
    tn_text_free(&names);
}

/* What is left out must not be part of an adapter: a bias of lora_B would be missing silently. */
static int adapters_used(const lightning_source *s, tn_error *err)
{
    for (int i = 0; i < s->f->n; i++)
        if (!s->used[i] && strstr(s->common.v[i], ".lora_"))
            return tn_fail(err, TN_ERR_FORMAT,
                           "%s: nothing here takes '%s'; set model.lora as it was trained, or merge the adapters in PEFT",
                           s->f->path, s->f->t[i].name);
    return 0;
}

/* The backbone as a Hugging Face folder, in float32. */
static int write_base(const tn_engine *e, lightning_source *src, const json_t *config, const char *dir, tn_error *err)
{
    tn_st_entry *l = calloc((size_t)e->model->n_slots + 1, sizeof *l);
    tn_st_writer *w = NULL;
    char *folder = tn_path(dir, "backbone"), *weights = tn_path(folder, "model.safetensors"),
         *json = tn_path(folder, "config.json");
    int n = 0, rc = l && folder && weights && json ? tn_mkdirs(folder, err) : tn_oom(err);
    for (int i = 0; !rc && i < e->model->n_slots; i++) {
        const tn_slot *s = &e->model->slots[i];
        if (!s->backbone) continue;
        l[n] = (tn_st_entry){.name = s->name, .dtype = "F32", .ndim = s->ndim, .bytes = (size_t)s->rows * (size_t)s->cols * 4};
        for (int k = 0; k < s->ndim; k++) l[n].shape[k] = s->shape[k];
        n++;
    }
    if (!rc) rc = tn_st_begin(&w, weights, l, n, err);
    for (int i = 0; !rc && i < e->model->n_slots; i++) {
        float *v = NULL;
        if (!e->model->slots[i].backbone) continue;
        rc = lightning_read_slot(&v, src, &e->model->slots[i], err);
        if (!rc) rc = tn_st_put(w, e->model->slots[i].name, v, err);
        free(v);
    }
    if (!rc) rc = tn_st_end(w, err);
    else tn_st_abort(w);
    json_t *own = tn_checkpoint_backbone_config(e, config);
    if (!rc) rc = own ? tn_json_write(own, json, err) : tn_oom(err);
    json_decref(own);
    free(l);
    free(folder);
    free(weights);
    free(json);
    return rc;
}

static int set_slots(tn_engine *e, lightning_source *src, tn_error *err)
{
    bool has_lora = false;
    for (int i = 0; i < src->f->n; i++) has_lora |= strstr(src->f->t[i].name, ".lora_") != NULL;
    if (has_lora != e->model->lora.enabled)
        return tn_fail(err, TN_ERR_CONFIG,
                       has_lora ? "%s holds LoRA adapters; set model.lora as they were trained"
                                : "%s holds no LoRA adapters; set model.lora.enabled=false",
                       src->f->path);
    for (int i = 0; i < e->model->n_slots; i++) {
        float *v;
        TN_TRY(tn_watch_tell(&e->watch, TN_PHASE_LOADING, e->model->slots[i].name, i, e->model->n_slots, err));
        TN_TRY(lightning_read_slot(&v, src, &e->model->slots[i], err));
        int rc = tn_store_set(e->session->store, i, v, err);
        free(v);
        TN_TRY(rc);
    }
    return 0;
}

static int set_base(tn_config *c, const char *path, bool random, tn_error *err)
{
    TN_TRY(tn_config_set_str(c, "model.pretrained_model_name", path, err));
    return tn_config_set_bool(c, "model.backbone.random_init", random, err);
}

/* Everything into a folder beside, which then takes its place. */
static int write_import(tn_engine *e, tn_config *c, lightning_source *src, const tn_hf_dir *hf, tn_folder *f, tn_error *err)
{
    const char *out = f->path;
    char *absolute = out[0] == '/' ? strdup(out) : NULL, *cwd = absolute ? NULL : getcwd(NULL, 0);
    if (!absolute && cwd) absolute = tn_path(cwd, out);
    char *base = absolute ? tn_path(absolute, "backbone") : NULL;
    const tn_trainer_state state = {
        .best = 0.0 / 0.0,
        .es_best = 0.0 / 0.0,
        .optim = {.factor = 1, .finite = 1, .loss_scale = 1},
    };
    int rc = base ? tn_checkpoint_save(f->tmp, e, c, &state, err) : tn_oom(err);
    if (!rc) rc = write_base(e, src, hf->config, f->tmp, err);
    if (!rc) rc = set_base(c, base, false, err); /* only now is there something to point at */
    if (!rc) rc = tn_checkpoint_write_config(f->tmp, c, err);
    if (!rc) rc = tn_folder_commit(f, err);
    free(cwd);
    free(absolute);
    free(base);
    return rc;
}

int tn_import(tn_config *c, const tn_run_options *o, const char *in, const char *out, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(c, "tn_import's configuration", err));
    TN_TRY(tn_run_check(&o, err));
    lightning_source src = {0};
    tn_engine *e = NULL;
    tn_hf_dir *hf = NULL;
    if (!in || !out) return tn_fail(err, TN_ERR_ARGUMENT, "give --in and --out");
    char *path = NULL, *beside = tn_path(in, "config.json");
    tn_folder f;
    int rc = tn_folder_begin(&f, out, true, err);
    if (!rc) rc = find_file(&path, in, err);
    if (!rc) rc = open_source(&src, path, err);
    if (!rc) rc = tn_hf_open(&hf, beside && tn_is_file(beside) ? in : tn_config_settings(c)->model.pretrained, false, err);
    if (!rc) rc = set_base(c, hf->path, true, err);
    if (!rc) rc = tn_engine_open(&e, tn_config_settings(c), o, false, false, err);
    if (!rc) rc = set_slots(e, &src, err);
    if (!rc) rc = adapters_used(&src, err);
    if (!rc) name_unused(&src, o->log);
    if (!rc) rc = write_import(e, c, &src, hf, &f, err);
    tn_folder_end(&f);
    tn_hf_close(hf);
    tn_engine_close(e);
    tn_st_close(src.f);
    tn_strs_free(&src.common);
    free(src.used);
    free(path);
    free(beside);
    return rc;
}

/* ---- out ---- */

/* The name that the Python project's state_dict has: PEFT's wrapper where there are adapters. */
static char *torch_name(const tn_model *m, const tn_slot *s, bool v5)
{
    char path[320], lora[320];
    if (s->group == TN_GROUP_HEAD && !s->backbone) return strdup(s->name);
    snprintf(path, sizeof path, "%s", s->name);
    if (v5) tn_module_path(path, sizeof path, m->backbone.family, s->name);
    if (!m->lora.enabled) return tn_strf("backbone.model.%s", path);
    const char *last = strrchr(path, '.');
    if (tn_ends(path, ".lora_magnitude_vector")) return tn_strf("backbone.model.base_model.model.%s.default.weight", path);
    if (strstr(path, ".lora_")) return tn_strf("backbone.model.base_model.model.%.*s.default%s", (int)(last - path), path, last);
    const char *cut = strrchr(s->name, '.');
    snprintf(lora, sizeof lora, "%.*s.lora_A.weight", (int)(cut - s->name), s->name);
    return tn_strf("backbone.model.base_model.model.%.*s%s%s", (int)(last - path), path,
                   tn_model_slot(m, lora) >= 0 ? ".base_layer" : "", last);
}

static int write_weights(tn_engine *e, const char *path, bool v5, tn_error *err)
{
    const tn_model *m = e->model;
    tn_st_entry *l = calloc((size_t)m->n_slots + 1, sizeof *l);
    tn_st_writer *w = NULL;
    int rc = l ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < m->n_slots; i++) {
        const tn_slot *s = &m->slots[i];
        l[i] = (tn_st_entry){
            .name = torch_name(m, s, v5), .dtype = "F32", .ndim = s->ndim, .bytes = (size_t)s->rows * (size_t)s->cols * 4};
        for (int k = 0; k < s->ndim; k++) l[i].shape[k] = s->shape[k];
        if (!l[i].name) rc = tn_oom(err);
    }
    if (!rc) rc = tn_st_begin(&w, path, l, m->n_slots, err);
    for (int i = 0; !rc && i < m->n_slots; i++) {
        float *v = malloc(l[i].bytes + 4);
        rc = v ? tn_watch_tell(&e->watch, TN_PHASE_EXPORTING, m->slots[i].name, i, m->n_slots, err) : tn_oom(err);
        if (!rc) rc = tn_store_get(e->session->store, i, v, err);
        if (!rc) rc = tn_st_put(w, l[i].name, v, err);
        free(v);
    }
    if (w && !rc) rc = tn_st_end(w, err);
    else tn_st_abort(w);
    for (int i = 0; l && i < m->n_slots; i++) free((void *)l[i].name);
    free(l);
    return rc;
}

static int write_lightning(tn_engine *e, const tn_config *c, const char *dir, bool v5, tn_error *err)
{
    char *weights = tn_path(dir, "model.safetensors"), *json = tn_path(dir, "config.json");
    tn_hf_dir *hf = NULL;
    int rc = weights && json ? write_weights(e, weights, v5, err) : tn_oom(err);
    if (!rc) rc = tn_hf_open(&hf, e->s->model.pretrained, false, err);
    if (!rc) rc = tn_json_write(hf->config, json, err);
    if (!rc) rc = tn_checkpoint_write_config(dir, c, err);
    tn_hf_close(hf);
    free(weights);
    free(json);
    return rc;
}

/* A slash behind it says that a folder is meant. */
static bool is_onnx(const char *out)
{
    const size_t n = strlen(out);
    return n > 5 && !strcasecmp(out + n - 5, ".onnx");
}

/* What can be known of the place before the model is opened. */
static int check_file(const char *out, tn_error *err)
{
    char *dir = tn_parent_of(out);
    if (!dir) return tn_oom(err);
    int rc = tn_is_dir(out) ? tn_fail(err, TN_ERR_IO, "'%s' is a folder; choose another --out", out) : 0;
    if (!rc && !tn_is_dir(dir)) rc = tn_fail(err, TN_ERR_IO, "cannot write '%s': there is no folder '%s'", out, dir);
    if (!rc) tn_sweep(dir, tn_name_of(out));
    free(dir);
    return rc;
}

static int export_to(tn_engine *e, const tn_config *c, const tn_export_options *x, tn_folder *f, tn_error *err)
{
    if (!f->tmp) return tn_export_onnx(e, x->out, err);
    TN_TRY(write_lightning(e, c, f->tmp, x->spelling && !strcmp(x->spelling, "v5"), err));
    return tn_folder_commit(f, err);
}

int tn_export(const tn_config *c, const tn_run_options *o, const tn_export_options *x, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(c, "tn_export's configuration", err));
    TN_TRY(tn_struct(x, TN_EXPORT_OPTIONS_VERSION, "tn_export_options", err));
    TN_TRY(tn_run_check(&o, err));
    tn_engine *e = NULL;
    tn_adapter *adapters[TN_MAX_ADAPTERS];
    int n = 0;
    if (!x->out || !o->checkpoint) return tn_fail(err, TN_ERR_ARGUMENT, "give --checkpoint and --out (a .onnx file, or a folder)");
    if (o->n_adapters > 1) return tn_fail(err, TN_ERR_ARGUMENT, "one adapter at a time is exported, not %d", o->n_adapters);
    tn_folder f = {.lock = -1};
    int rc = is_onnx(x->out) ? check_file(x->out, err) : tn_folder_begin(&f, x->out, true, err);
    if (!rc) rc = tn_adapters_engine(&e, adapters, &n, tn_config_settings(c), o, err);
    if (!rc && n) rc = tn_adapters_use(adapters[0], e, o, err);
    if (!rc) rc = export_to(e, c, x, &f, err);
    tn_folder_end(&f);
    for (int i = 0; i < n; i++) tn_adapter_close(adapters[i]);
    tn_engine_close(e);
    return rc;
}
