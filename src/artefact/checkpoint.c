#include "checkpoint.h"
#include "record.h"
#include "adapter.h"
#include "entry.h"
#include "files.h"
#include "folder.h"
#include "jsonio.h"
#include "replace.h"
#include "safetensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- writing ---- */

typedef struct {
    tn_st_entry *e;
    char **names;
    int n;
} bundle;

static void bundle_free(bundle *b)
{
    for (int i = 0; i < b->n; i++) {
        free((void *)b->e[i].data);
        free((void *)b->e[i].name);
    }
    free(b->e);
    *b = (bundle){0};
}

/* Adds a slot's values (taken over) under `name` (taken over). */
static int bundle_add(bundle *b, const tn_slot *s, char *name, float *values, tn_error *err)
{
    tn_st_entry *v = realloc(b->e, sizeof *v * (size_t)(b->n + 1));
    if (!v || !name || !values) {
        free(name);
        free(values);
        if (v) b->e = v;
        return tn_oom(err);
    }
    b->e = v;
    tn_st_entry *e = &v[b->n++];
    *e = (tn_st_entry){
        .name = name, .dtype = "F32", .ndim = s->ndim, .data = values, .bytes = (size_t)s->rows * (size_t)s->cols * 4};
    for (int i = 0; i < s->ndim; i++) e->shape[i] = s->shape[i];
    return 0;
}

static int add_slot(bundle *b, tn_engine *e, int i, char *name, tn_error *err)
{
    const tn_slot *s = &e->model->slots[i];
    float *v = malloc((size_t)s->rows * (size_t)s->cols * 4);
    int rc = v ? tn_store_get(e->session->store, i, v, err) : tn_oom(err);
    if (!rc) return bundle_add(b, s, name, v, err);
    free(v);
    free(name);
    return rc;
}

static int write_group(tn_engine *e, const char *path, tn_group group, tn_error *err)
{
    bundle b = {0};
    int rc = 0;
    for (int i = 0; !rc && i < e->model->n_slots; i++) {
        const tn_slot *s = &e->model->slots[i];
        if (s->group != group) continue;
        rc = add_slot(&b, e, i, group == TN_GROUP_LORA ? tn_adapter_key(e->model, s) : strdup(s->name), err);
    }
    if (!rc) rc = tn_st_write(path, b.e, b.n, err);
    bundle_free(&b);
    return rc;
}

static int write_adapter(tn_engine *e, const char *dir, tn_error *err)
{
    char *weights = tn_path(dir, "adapter_model.safetensors"), *config = tn_path(dir, "adapter_config.json");
    json_t *j = tn_adapter_config(e);
    int rc = weights && config && j ? write_group(e, weights, TN_GROUP_LORA, err) : tn_oom(err);
    if (!rc) rc = tn_json_write(j, config, err);
    json_decref(j);
    free(weights);
    free(config);
    return rc;
}

json_t *tn_checkpoint_backbone_config(const tn_engine *e, const json_t *config)
{
    json_t *own = json_deep_copy(config), *args = json_object_get(own, "model_args");
    const int channels = 3 * e->model->frames;
    if (!own || channels == 3) return own;
    const bool timm = json_object_get(own, "architecture") != NULL;
    if (timm && !args) json_object_set_new(own, "model_args", args = json_object());
    if (!json_object_set_new(timm ? args : own, timm ? "in_chans" : "num_channels", json_integer(channels))) return own;
    json_decref(own);
    return NULL;
}

/* Beside the trained weights. */
static int write_backbone(tn_engine *e, const char *dir, tn_error *err)
{
    char *folder = tn_path(dir, "backbone"), *weights = tn_path(folder, "model.safetensors"),
         *config = tn_path(folder, "config.json");
    tn_hf_dir *hf = NULL;
    json_t *j = NULL;
    int rc = tn_mkdirs(folder, err);
    if (!rc) rc = write_group(e, weights, TN_GROUP_BACKBONE, err);
    if (!rc) rc = tn_hf_open(&hf, e->s->model.pretrained, false, err);
    if (!rc && !(j = tn_checkpoint_backbone_config(e, hf->config))) rc = tn_oom(err);
    if (!rc) rc = tn_json_write(j, config, err);
    json_decref(j);
    tn_hf_close(hf);
    free(folder);
    free(weights);
    free(config);
    return rc;
}

/* As torch.optim names them. */
static const char *const moment_names[] = {"exp_avg", "exp_avg_sq"};

static tn_buffer *moment(const tn_store *st, bool second)
{
    return second ? st->moment2 : st->moment1;
}

static int moments(tn_engine *e, bundle *b, bool second, tn_error *err)
{
    const char *prefix = moment_names[second];
    for (int i = 0; i < e->model->n_slots; i++) {
        const tn_slot *s = &e->model->slots[i];
        const tn_store *st = tn_store_of(e->session->store, i);
        if (st->s[i].place != TN_PLACE_PARAM) continue;
        const size_t bytes = (size_t)s->rows * (size_t)s->cols * 4;
        float *v = malloc(bytes);
        int rc = v ? tn_buffer_read(moment(st, second), st->s[i].off * 4, v, bytes, err) : tn_oom(err);
        if (rc) {
            free(v);
            return rc;
        }
        TN_TRY(bundle_add(b, s, tn_strf("%s.%s", prefix, s->name), v, err));
    }
    return 0;
}

static int write_optimizer(tn_engine *e, const char *dir, tn_error *err)
{
    if (!e->optimises) return 0;
    char *path = tn_path(dir, "optimizer.safetensors");
    bundle b = {0};
    int rc = path ? moments(e, &b, false, err) : tn_oom(err);
    if (!rc) rc = moments(e, &b, true, err);
    if (!rc) rc = tn_st_write(path, b.e, b.n, err);
    bundle_free(&b);
    free(path);
    return rc;
}

static int write_json(const char *dir, const char *name, json_t *j, tn_error *err)
{
    char *path = tn_path(dir, name);
    int rc = path && j ? tn_json_write(j, path, err) : tn_oom(err);
    json_decref(j);
    free(path);
    return rc;
}

static int write_state(const char *dir, const tn_trainer_state *st, tn_error *err)
{
    const tn_optim_state *o = &st->optim;
    const json_int_t steps[TN_GROUPS] = {o->steps[0], o->steps[1], o->steps[2]};
    return write_json(dir, "trainer_state.json",
                      json_pack("{s:i, s:I, s:[I,I,I], s:o, s:o, s:i, s:f, s:I, s:I, s:i}", "epoch", st->epoch, "global_step",
                                (json_int_t)st->step, "group_steps", steps[0], steps[1], steps[2], "best_metric",
                                tn_json_real(st->best), "early_stopping_best", tn_json_real(st->es_best), "bad_epochs",
                                st->bad_epochs, "loss_scale", (double)o->loss_scale, "good_steps", (json_int_t)o->good_steps,
                                "skipped_steps", (json_int_t)o->skipped, "micro_batch_size", st->micro),
                      err);
}

/* The folders that the configuration reads, as they are called from everywhere. */
static int name_for_all(tn_config *c, tn_error *err)
{
    static const char *const keys[] = {"model.pretrained_model_name", "data.root"};
    int rc = 0;
    for (size_t i = 0; !rc && i < TN_COUNT(keys); i++) {
        const char *value;
        TN_TRY(tn_config_get_str(c, keys[i], &value, err));
        char *real = tn_real_dir(value);
        rc = real ? tn_config_set_str(c, keys[i], real, err) : tn_oom(err);
        free(real);
    }
    return rc;
}

int tn_checkpoint_write_config(const char *dir, const tn_config *c, tn_error *err)
{
    char *path = tn_path(dir, "config.yaml"), *yaml = NULL;
    tn_config *own = NULL;
    int rc = path ? tn_config_copy(&own, c, err) : tn_oom(err);
    if (!rc) rc = name_for_all(own, err);
    if (!rc) rc = tn_config_dump(own, &yaml, err);
    if (!rc) rc = tn_write_file(path, yaml, strlen(yaml), err);
    tn_config_free(own);
    free(yaml);
    free(path);
    return rc;
}

static int write_all(const char *dir, tn_engine *e, const tn_config *c, const tn_trainer_state *st, tn_error *err)
{
    char *decoder = tn_path(dir, "decoder.safetensors");
    int rc = decoder ? write_group(e, decoder, TN_GROUP_HEAD, err) : tn_oom(err);
    free(decoder);
    if (!rc && e->model->lora.enabled) rc = write_adapter(e, dir, err);
    if (!rc && e->model->train_backbone) rc = write_backbone(e, dir, err);
    if (!rc) rc = write_optimizer(e, dir, err);
    if (!rc) rc = write_state(dir, st, err);
    if (!rc) rc = tn_checkpoint_write_config(dir, c, err);
    if (!rc) rc = tn_record_write(dir, e, st->threshold, err);
    return rc;
}

int tn_checkpoint_save(const char *dir, tn_engine *e, const tn_config *c, const tn_trainer_state *st, tn_error *err)
{
    tn_folder f;
    int rc = tn_folder_begin(&f, dir, false, err);
    if (!rc) rc = write_all(f.tmp, e, c, st, err);
    if (!rc) rc = tn_folder_commit(&f, err);
    tn_folder_end(&f);
    return rc;
}

/* ---- reading ---- */

static int read_slot(tn_engine *e, int i, const tn_st_file *f, const tn_st_tensor *t, tn_error *err)
{
    const tn_slot *s = &e->model->slots[i];
    const size_t n = (size_t)s->rows * (size_t)s->cols;
    if ((size_t)t->count != n)
        return tn_fail(err, TN_ERR_FORMAT,
                       "%s: tensor '%s' has %lld values where the model has %zu; was it made with another "
                       "configuration?",
                       f->path, t->name, (long long)t->count, n);
    if (e->session->store->dry) return 0;
    float *v = malloc(n * 4);
    int rc = v ? tn_st_read_f32(f, t, v, err) : tn_oom(err);
    if (!rc) rc = tn_store_set(e->session->store, i, v, err);
    free(v);
    return rc;
}

static const tn_st_tensor *find(const tn_st_file *f, const tn_slot *s)
{
    return s->group == TN_GROUP_LORA ? tn_st_find_common(f, s->name) : tn_st_find(f, s->name);
}

/* Parts of adapters that no slot read would be missing from what is trained on. */
static int all_read(const tn_st_file *f, const bool *read, tn_error *err)
{
    for (int i = 0; i < f->n; i++)
        if (!read[i] && strstr(f->t[i].name, ".lora_"))
            return tn_fail(err, TN_ERR_FORMAT,
                           "%s: nothing in this configuration takes '%s'; the adapter was made with another one", f->path,
                           f->t[i].name);
    return 0;
}

static int read_group(tn_engine *e, const char *path, tn_group group, tn_error *err)
{
    tn_st_file *f;
    TN_TRY(tn_st_open(&f, path, err));
    bool *read = calloc((size_t)f->n + 1, sizeof *read);
    int rc = read ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < e->model->n_slots; i++) {
        const tn_slot *s = &e->model->slots[i];
        if (s->group != group) continue;
        const tn_st_tensor *t = find(f, s);
        if (t) read[t - f->t] = true;
        rc = t ? read_slot(e, i, f, t, err)
               : tn_fail(err, TN_ERR_FORMAT, "%s: tensor '%s' is missing; the checkpoint was made with another configuration", path,
                         s->name);
    }
    if (!rc) rc = all_read(f, read, err);
    free(read);
    tn_st_close(f);
    return rc;
}

static int read_if_there(tn_engine *e, const char *dir, const char *name, tn_group g, bool required, tn_error *err)
{
    char *path = tn_path(dir, name);
    int rc = !path ? tn_oom(err) : required || tn_is_file(path) ? read_group(e, path, g, err) : 0;
    free(path);
    return rc;
}

int tn_checkpoint_load(const char *dir, tn_engine *e, tn_error *err)
{
    tn_replace_repair(dir);
    if (!tn_is_dir(dir))
        return tn_fail(err, TN_ERR_IO, "there is no checkpoint folder '%s'; training writes <output_dir>/best and /last", dir);
    TN_TRY(read_if_there(e, dir, "decoder.safetensors", TN_GROUP_HEAD, true, err));
    if (e->model->lora.enabled && !e->foreign_lora)
        TN_TRY(read_if_there(e, dir, "adapter_model.safetensors", TN_GROUP_LORA, false, err));
    if (e->model->train_backbone) TN_TRY(read_if_there(e, dir, "backbone/model.safetensors", TN_GROUP_BACKBONE, false, err));
    return 0;
}

static int read_moments(tn_engine *e, const tn_st_file *f, bool second, tn_error *err)
{
    const char *prefix = moment_names[second];
    const tn_store *st = e->session->store;
    for (int i = 0; i < e->model->n_slots; i++) {
        const tn_slot *s = &e->model->slots[i];
        if (st->s[i].place != TN_PLACE_PARAM) continue;
        char name[256];
        snprintf(name, sizeof name, "%s.%s", prefix, s->name);
        const tn_st_tensor *t = tn_st_find(f, name);
        const size_t n = (size_t)s->rows * (size_t)s->cols;
        if (!t || (size_t)t->count != n) return tn_fail(err, TN_ERR_FORMAT, "%s: '%s' is missing or misshapen", f->path, name);
        if (st->dry) continue;
        float *v = malloc(n * 4);
        int rc = v ? tn_st_read_f32(f, t, v, err) : tn_oom(err);
        if (!rc) rc = tn_store_set_moments(e->session->store, i, second ? NULL : v, second ? v : NULL, err);
        free(v);
        TN_TRY(rc);
    }
    return 0;
}

static void read_state(const json_t *j, tn_trainer_state *st)
{
    st->epoch = (int)tn_json_int(j, "epoch", 0);
    st->step = tn_json_int(j, "global_step", 0);
    st->best = tn_json_num(j, "best_metric", NAN);
    const bool own = json_object_get(j, "early_stopping_best") != NULL; /* else an older run's, for which the two were one */
    st->es_best = own ? tn_json_num(j, "early_stopping_best", NAN) : st->best;
    st->bad_epochs = (int)tn_json_int(j, "bad_epochs", 0);
    st->micro = (int)tn_json_int(j, "micro_batch_size", 0);
    st->optim = (tn_optim_state){.factor = 1,
                                 .finite = 1,
                                 .loss_scale = (float)tn_json_num(j, "loss_scale", 1),
                                 .good_steps = (uint32_t)tn_json_int(j, "good_steps", 0),
                                 .skipped = (uint32_t)tn_json_int(j, "skipped_steps", 0)};
    for (size_t g = 0; g < TN_GROUPS; g++)
        st->optim.steps[g] = (uint32_t)json_integer_value(json_array_get(json_object_get(j, "group_steps"), g));
}

/* Optimiser state and position. */
static int load_state(const char *dir, tn_engine *e, tn_trainer_state *st, tn_error *err)
{
    char *opt = tn_path(dir, "optimizer.safetensors"), *state = tn_path(dir, "trainer_state.json");
    tn_st_file *f = NULL;
    json_t *j = NULL;
    int rc = opt && state ? tn_st_open(&f, opt, err) : tn_oom(err);
    if (!rc) rc = read_moments(e, f, false, err);
    if (!rc) rc = read_moments(e, f, true, err);
    if (!rc) rc = tn_json_read(&j, state, err);
    if (!rc) read_state(j, st);
    json_decref(j);
    tn_st_close(f);
    free(opt);
    free(state);
    return rc;
}

int tn_checkpoint_start(tn_engine *e, const char *resume, tn_trainer_state *st, tn_error *err)
{
    if (resume) {
        TN_TRY(tn_checkpoint_load(resume, e, err));
        return load_state(resume, e, st, err);
    }
    if (!e->s->training.init_from) return 0;
    char *dir = tn_expand_path(e->s->training.init_from);
    const int rc = dir ? tn_checkpoint_load(dir, e, err) : tn_oom(err);
    free(dir);
    return rc;
}

int tn_checkpoint_threshold(float *out, const char *dir, tn_error *err)
{
    char *path = tn_path(dir, "run.json");
    json_t *j = NULL;
    *out = 0;
    int rc = !path ? tn_oom(err) : tn_is_file(path) ? tn_json_read(&j, path, err) : 0;
    const json_t *v = json_object_get(j, "threshold");
    const double t = v && !json_is_null(v) ? json_is_number(v) ? json_number_value(v) : -1 : 0;
    if (!rc && !(t >= 0 && t <= 1)) rc = tn_fail(err, TN_ERR_FORMAT, "%s: \"threshold\" is no number from 0 to 1", path);
    if (!rc) *out = (float)t;
    json_decref(j);
    free(path);
    return rc;
}

int tn_checkpoint_config(tn_config **c, const char *checkpoint, const char *const *overrides, int n_overrides, const tn_log *log,
                         tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(c, "tn_checkpoint_config's result", err));
    *c = NULL;
    TN_TRY(tn_required(checkpoint, "tn_checkpoint_config's folder", err));
    char *path = tn_path(checkpoint, "config.yaml");
    if (!path) return tn_oom(err);
    tn_replace_repair(checkpoint);
    int rc = tn_is_file(path) ? 0
                              : tn_fail(err, TN_ERR_IO,
                                        "'%s' is no checkpoint: it holds no config.yaml; training writes "
                                        "<output_dir>/best and /last",
                                        checkpoint);
    const tn_config_source s = {
        .version = TN_CONFIG_SOURCE_VERSION, .merged = path, .overrides = overrides, .n_overrides = n_overrides, .log = log};
    if (!rc) rc = tn_config_load(c, &s, err);
    free(path);
    return rc;
}
