/* A case: its files, and a model and a session made from them. */
#include "golden.h"
#include "../testdev.h"
#include "parts_of.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

float *values_of(const tn_st_file *f, const char *name, size_t *n, tn_error *err)
{
    const tn_st_tensor *t = tn_st_find(f, name);
    if (!t) {
        tn_fail(err, TN_ERR_FORMAT, "%s: tensor '%s' is missing", f->path, name);
        return NULL;
    }
    float *v = malloc(((size_t)t->count + 1) * sizeof *v);
    if (!v || tn_st_read_f32(f, t, v, err)) {
        free(v);
        return NULL;
    }
    if (n) *n = (size_t)t->count;
    return v;
}

void close_test(test *t)
{
    tn_session_free(t->session);
    tn_model_free(t->model);
    tn_dev_close(t->dev);
    tn_hf_close(t->hf);
    tn_st_close(t->golden);
    tn_st_close(t->decoder);
    tn_st_close(t->adapter);
    tn_adapter_close(t->foreign);
    json_decref(t->spec);
    json_decref(t->peft);
    free(t->dir);
}

int open_st(tn_st_file **f, const char *dir, const char *name, tn_error *err)
{
    char *p = tn_path(dir, name);
    int rc = tn_st_open(f, p, err);
    free(p);
    return rc;
}

static void read_size(const json_t *size, int *h, int *w)
{
    *h = (int)json_integer_value(json_array_get(size, 0));
    *w = (int)json_integer_value(json_array_get(size, 1));
}

/* The section `model` as a file of configuration has it: it takes the way of every run. */
static int read_section(tn_backbone *body, tn_decoder *dec, const json_t *section, tn_error *err)
{
    char path[] = "/tmp/tn-golden-XXXXXX";
    const int fd = mkstemp(path);
    if (fd < 0) return tn_fail(err, TN_ERR_IO, "cannot make a file in /tmp");
    json_t *whole = json_pack("{s:O}", "model", (json_t *)section);
    tn_config *c = NULL;
    int rc = whole && !json_dumpfd(whole, fd, 0) ? 0 : tn_oom(err);
    const tn_config_source source = {.version = TN_CONFIG_SOURCE_VERSION, .merged = path};
    if (!rc) rc = tn_config_load(&c, &source, err);
    const tn_settings *s = rc ? NULL : tn_config_settings(c);
    if (!rc) rc = tn_backbone_return(body, s->model.return_stages.v, s->model.return_stages.n, err);
    if (!rc) rc = tn_decoder_of_settings(dec, s, err);
    tn_config_free(c);
    json_decref(whole);
    close(fd);
    unlink(path);
    return rc;
}

/* As make.py writes it, in words of its own. */
static void read_decoder(tn_decoder *dec, const json_t *j)
{
    tn_upsampling *d = &dec->upsampling;
    const json_t *ch = json_object_get(j, "channels"), *up = json_object_get(j, "upsample");
    *dec = (tn_decoder){.kind = tn_decoder_find("upsampling")};
    *d = (tn_upsampling){.blocks = (int)tn_json_int(j, "n", 1),
                         .batch_norm = !strcmp(tn_json_str(j, "norm", "gn"), "bn"),
                         .relu = !strcmp(tn_json_str(j, "act", "gelu"), "relu"),
                         .depthwise = tn_json_bool(j, "depthwise", 1),
                         .se = tn_json_bool(j, "se", 0),
                         .se_reduction = (int)tn_json_int(j, "red", 8)};
    for (size_t i = 0; i < json_array_size(ch) && i < 16; i++)
        d->channels[d->n_channels++] = (int)json_integer_value(json_array_get(ch, i));
    for (size_t i = 0; i < json_array_size(up) && i < 16; i++)
        d->upsample[d->n_upsample++] = (int)json_integer_value(json_array_get(up, i));
}

static int read_heatmap_model(tn_backbone *body, tn_decoder *dec, const json_t *spec, int *heat_h, int *heat_w, tn_error *err)
{
    const json_t *decoder = json_object_get(spec, "decoder"), *section = json_object_get(spec, "model");
    read_size(section ? json_object_get(spec, "heatmap_hw") : json_object_get(decoder, "out_size_hw"), heat_h, heat_w);
    if (section) return read_section(body, dec, section, err);
    read_decoder(dec, decoder);
    return 0;
}

/* Does it normalise by the batch, whose statistics it follows? */
static bool has_statistics(const tn_model *m)
{
    bool any = false;
    for (int i = 0; i < m->n_slots; i++) any |= m->slots[i].buffer;
    return any;
}

static void read_lora(tn_lora *l, const json_t *peft)
{
    *l = (tn_lora){.enabled = true,
                   .r = (int)tn_json_int(peft, "r", 8),
                   .alpha = (float)tn_json_num(peft, "lora_alpha", 8),
                   .rslora = tn_json_bool(peft, "use_rslora", 0),
                   .dora = tn_json_bool(peft, "use_dora", 0),
                   .bias = "none"};
    const json_t *t = json_object_get(peft, "target_modules");
    for (size_t i = 0; i < json_array_size(t); i++) tn_strs_add(&l->targets, json_string_value(json_array_get(t, i)));
}

/* A folder without config.json and case.json: quantised matrices. */
bool is_quantized(const test *t)
{
    for (int i = 0; i < t->golden->n; i++)
        if (tn_ends(t->golden->t[i].name, ".dequantized")) return true;
    return false;
}

int open_files(test *t, tn_error *err)
{
    char *spec = tn_path(t->dir, "case.json"), *peft = tn_path(t->dir, "adapter/adapter_config.json");
    const bool training = tn_is_file(spec);
    char *backbone = training ? tn_path(t->dir, "backbone") : strdup(t->dir);
    int rc = open_st(&t->golden, t->dir, "golden.safetensors", err);
    if (!rc && !is_quantized(t)) rc = tn_hf_open(&t->hf, backbone, true, err);
    if (!rc && training) rc = tn_json_read(&t->spec, spec, err);
    if (!rc && training) rc = open_st(&t->decoder, t->dir, "decoder.safetensors", err);
    if (!rc && tn_is_file(peft)) {
        char *dir = tn_path(t->dir, "adapter");
        if (!training) rc = tn_adapter_open(&t->foreign, dir, err);
        free(dir);
        if (!rc) rc = tn_json_read(&t->peft, peft, err);
        if (!rc) rc = open_st(&t->adapter, t->dir, "adapter/adapter_model.safetensors", err);
    }
    free(spec);
    free(peft);
    free(backbone);
    return rc;
}

int build(test *t, tn_error *err)
{
    tn_backbone body;
    tn_decoder dec;
    tn_lora lora = {0};
    int hh = 0, hw = 0;
    const tn_st_tensor *px = tn_st_find(t->golden, "pixel_values");
    if (!px) return tn_fail(err, TN_ERR_FORMAT, "%s: no pixel_values", t->dir);
    t->batch = (int)px->shape[0], t->height = (int)px->shape[2], t->width = (int)px->shape[3];
    TN_TRY(tn_backbone_configure(&body, t->hf->config, "config.json", err));
    if (t->spec) TN_TRY(read_heatmap_model(&body, &dec, t->spec, &hh, &hw, err));
    if (t->peft && t->spec) read_lora(&lora, t->peft);
    if (t->foreign) TN_TRY(tn_adapter_union(&lora, &t->foreign, 1, err));
    const bool full = t->spec && tn_json_bool(t->spec, "full_finetune", 0);
    const tn_st_tensor *heat = tn_st_find(t->golden, "heatmap");
    const int heats = heat ? (int)heat->shape[1] : 1;
    int rc = tn_model_new(
        &t->model,
        &(tn_model_spec){&body, t->spec ? &dec : NULL, &lora, t->height, t->width, hh, hw, full, body.channels / 3, heats}, NULL,
        err);
    tn_lora_free(&lora);
    TN_TRY(rc);
    t->bn = has_statistics(t->model);
    TN_TRY(test_device(&t->dev, options.device, err));
    tn_store *store;
    tn_qshape have;
    tn_quant_spec quant = {.enabled = false};
    if (!t->spec && tn_qfile_config(t->hf, &have))
        quant = (tn_quant_spec){.enabled = true, .type = have.type, .nested = have.nested, .block = have.block};
    const tn_store_spec kept = {
        .quant = &quant, .act = options.act, .optimiser = t->spec != NULL, .norms = options.merged && !t->spec};
    TN_TRY(tn_store_new_of(&store, t->dev, t->model, &kept, err));
    TN_TRY(tn_session_new(&t->session, t->dev, t->model, store, err));
    TN_TRY(tn_store_load_backbone(store, t->hf, 42, NULL, err));
    tn_engine e = {.model = t->model, .session = t->session, .dev = t->dev};
    return t->foreign ? tn_adapter_apply(t->foreign, &e, err) : 0;
}

int load_trained(test *t, tn_error *err)
{
    for (int i = 0; i < t->model->n_slots; i++) {
        const tn_slot *s = &t->model->slots[i];
        const bool lora = strstr(s->name, ".lora_") != NULL;
        if (s->group != TN_GROUP_HEAD && !lora) continue;
        const tn_st_file *f = lora ? t->adapter : t->decoder;
        const tn_st_tensor *v = lora ? tn_st_find_common(f, s->name) : tn_st_find(f, s->name);
        if (!v || v->count != (int64_t)s->rows * s->cols)
            return tn_fail(err, TN_ERR_FORMAT, "%s: '%s' [%d, %d] is missing or misshapen", f->path, s->name, s->rows, s->cols);
        float *w = malloc((size_t)v->count * sizeof *w);
        int rc = w ? tn_st_read_f32(f, v, w, err) : tn_oom(err);
        if (!rc) rc = tn_store_set(t->session->store, i, w, err);
        free(w);
        TN_TRY(rc);
    }
    return 0;
}
