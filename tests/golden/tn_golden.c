/* tn-golden FOLDER [options]: runs every case of a folder in the format of tests/golden/README.md on one device and
 * prints, case by case, the largest relative error ||a-b||/||b|| of each kind of value. Exit 1 when a bound is passed. */
#include "golden.h"
#include "adapter_use.h"
#include "checkpoint_dir.h"
#include "files.h"
#include "session.h"
#include "../testdev.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    double bound;          /* in float32, or what --bound said */
    double worst, allowed; /* the error that goes furthest towards what it may be */
    bool fixed;            /* by --bound */
    int count;
    char where[160];
} measure;

static measure kinds[KINDS] = {
    [HIDDEN] = {"hidden", 1e-5},     [HEATMAP] = {"heatmap", 1e-5},  [LOSS] = {"loss", 1e-5},
    [GRADIENT] = {"gradient", 1e-4}, [TRACE] = {"trace.loss", 1e-4}, [NORM] = {"trace.grad_norm", 1e-3},
    [FINAL] = {"final", 1e-3},       [CODES] = {"quantised", 0},     [VALUES] = {"dequantised", 0},
};

static struct {
    const char *device;
    int recompute;
    bool unfused;
    bool verbose;
    tn_dtype act;
} options;

/* The real library's own error in bfloat16 of this case, by the names of golden.safetensors; NULL in other types. */
static json_t *bf16_error;

static double relative(const float *a, const float *b, size_t n)
{
    return tn_relative_error(a, b, n, 0);
}

/* Twice what the real library loses in bfloat16 itself; traces have one figure for all steps. */
static double allowed(const measure *m, const char *where)
{
    if (!bf16_error || m->fixed) return m->bound;
    return 2 * tn_json_num(bf16_error, where, tn_json_num(bf16_error, m->name, 0));
}

/* How far an error goes towards what it may be; above 1 where it passes it. */
static double share(double e, double may)
{
    if (may > 0 && !isnan(e)) return e / may;
    return e == 0 ? 0 : INFINITY;
}

void note(int kind, const char *where, double e)
{
    measure *m = &kinds[kind];
    const double may = allowed(m, where);
    if (options.verbose) printf("    %-12s %-72s %.2e of %.1e\n", m->name, where, e, may);
    if (m->count++ && share(e, may) <= share(m->worst, m->allowed)) return;
    m->worst = e, m->allowed = may;
    snprintf(m->where, sizeof m->where, "%s", where);
}

/* ---- reading ---- */

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

typedef struct {
    char *dir;
    tn_hf_dir *hf;
    tn_st_file *golden, *decoder, *adapter;
    json_t *spec, *peft;
    tn_adapter *foreign; /* an adapter of any PEFT run, on a backbone case */
    tn_dev *dev;
    tn_model *model;
    tn_session *session;
    int batch, height, width;
    bool bn;
} test;

static void close_test(test *t)
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

static int open_st(tn_st_file **f, const char *dir, const char *name, tn_error *err)
{
    char *p = tn_path(dir, name);
    int rc = tn_st_open(f, p, err);
    free(p);
    return rc;
}

static int read_decoder(tn_decoder *d, const json_t *j, int *heat_h, int *heat_w)
{
    const json_t *ch = json_object_get(j, "channels"), *up = json_object_get(j, "upsample"),
                 *size = json_object_get(j, "out_size_hw");
    *d = (tn_decoder){.blocks = (int)tn_json_int(j, "n", 1),
                      .batch_norm = !strcmp(tn_json_str(j, "norm", "gn"), "bn"),
                      .relu = !strcmp(tn_json_str(j, "act", "gelu"), "relu"),
                      .depthwise = tn_json_bool(j, "depthwise", 1),
                      .se = tn_json_bool(j, "se", 0),
                      .se_reduction = (int)tn_json_int(j, "red", 8)};
    for (size_t i = 0; i < json_array_size(ch) && i < 16; i++)
        d->channels[d->n_channels++] = (int)json_integer_value(json_array_get(ch, i));
    for (size_t i = 0; i < json_array_size(up) && i < 16; i++)
        d->upsample[d->n_upsample++] = (int)json_integer_value(json_array_get(up, i));
    *heat_h = (int)json_integer_value(json_array_get(size, 0));
    *heat_w = (int)json_integer_value(json_array_get(size, 1));
    return 0;
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

/* ---- setting up ---- */

/* A folder without config.json and case.json: quantised matrices. */
static bool is_quantized(const test *t)
{
    for (int i = 0; i < t->golden->n; i++)
        if (tn_ends(t->golden->t[i].name, ".dequantized")) return true;
    return false;
}

static int open_files(test *t, tn_error *err)
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

static int build(test *t, tn_error *err)
{
    tn_vit vit;
    tn_decoder dec;
    tn_lora lora = {0};
    int hh = 0, hw = 0;
    const tn_st_tensor *px = tn_st_find(t->golden, "pixel_values");
    if (!px) return tn_fail(err, TN_ERR_FORMAT, "%s: no pixel_values", t->dir);
    t->batch = (int)px->shape[0], t->height = (int)px->shape[2], t->width = (int)px->shape[3];
    TN_TRY(tn_vit_configure(&vit, t->hf->config, "config.json", err));
    if (t->spec) {
        read_decoder(&dec, json_object_get(t->spec, "decoder"), &hh, &hw);
        t->bn = dec.batch_norm;
    }
    if (t->peft && t->spec) read_lora(&lora, t->peft);
    if (t->foreign) TN_TRY(tn_adapter_union(&lora, &t->foreign, 1, err));
    const bool full = t->spec && tn_json_bool(t->spec, "full_finetune", 0);
    int rc =
        tn_model_new(&t->model, &(tn_model_spec){&vit, t->spec ? &dec : NULL, &lora, t->height, t->width, hh, hw, full}, NULL, err);
    tn_lora_free(&lora);
    TN_TRY(rc);
    TN_TRY(test_device(&t->dev, options.device, err));
    tn_store *store;
    tn_qshape have;
    tn_quant_spec quant = {.enabled = false};
    if (!t->spec && tn_qfile_config(t->hf, &have))
        quant = (tn_quant_spec){.enabled = true, .type = have.type, .nested = have.nested, .block = have.block};
    TN_TRY(tn_store_new(&store, t->dev, t->model, &quant, options.act, t->spec != NULL, false, err));
    TN_TRY(tn_session_new(&t->session, t->dev, t->model, store, err));
    TN_TRY(tn_store_load_backbone(store, t->hf, 42, NULL, err));
    tn_engine e = {.model = t->model, .session = t->session, .dev = t->dev};
    return t->foreign ? tn_adapter_apply(t->foreign, &e, err) : 0;
}

static int load_trained(test *t, tn_error *err)
{
    for (int i = 0; i < t->model->n_slots; i++) {
        const tn_slot *s = &t->model->slots[i];
        const bool lora = strstr(s->name, ".lora_") != NULL;
        if (s->group != TN_GROUP_HEAD && !lora) continue;
        const tn_st_file *f = lora ? t->adapter : t->decoder;
        const tn_st_tensor *v = lora ? tn_st_find_common(f, s->name) : tn_st_find(f, s->name);
        if (!v || v->count != (int64_t)s->rows * s->cols)
            return tn_fail(err, TN_ERR_FORMAT, "%s: '%s' is missing or misshapen", f->path, s->name);
        float *w = malloc((size_t)v->count * sizeof *w);
        int rc = w ? tn_st_read_f32(f, v, w, err) : tn_oom(err);
        if (!rc) rc = tn_store_set(t->session->store, i, w, err);
        free(w);
        TN_TRY(rc);
    }
    return 0;
}

/* ---- comparing ---- */

/* The name PyTorch gives a slot in these files. */
static char *torch_name(const test *t, const tn_slot *s)
{
    if (s->group == TN_GROUP_HEAD) return strdup(s->name);
    const char *wrap = t->peft ? "backbone.base_model.model." : "backbone.";
    const char *lora = strstr(s->name, ".lora_");
    if (!lora) return tn_strf("%s%s", wrap, s->name);
    const size_t tail = tn_ends(s->name, ".weight") ? strlen(".weight") : 0; /* DoRA's magnitudes have none */
    return tn_strf("%s%.*s.default.weight", wrap, (int)(strlen(s->name) - tail), s->name);
}

/* transformers 5 nests a DINOv3 block under "model."; try both. */
static const tn_st_tensor *find_golden(const test *t, const char *kind, const tn_slot *s)
{
    char *name = torch_name(t, s);
    const char *at = name ? strstr(name, s->name[0] ? ".layer." : "?") : NULL;
    char full[300];
    snprintf(full, sizeof full, "%s.%s", kind, name ? name : "");
    const tn_st_tensor *v = tn_st_find(t->golden, full);
    if (!v && at) {
        snprintf(full, sizeof full, "%s.%.*s.model%s", kind, (int)(at - name), name, at);
        v = tn_st_find(t->golden, full);
    }
    if (!v) { /* transformers 5's own path */
        char path[300];
        tn_module_path(path, sizeof path, t->model->vit.model_type, s->name);
        snprintf(full, sizeof full, "%s.backbone.%s", kind, path);
        v = tn_st_find(t->golden, full);
    }
    free(name);
    return v;
}

static int compare_slots(test *t, const char *prefix, int kind, tn_error *err)
{
    int compared = 0;
    float *norm = values_of(t->golden, "trace.grad_norm", NULL, err);
    const double whole = norm ? norm[0] : 0; /* a key's bias has no gradient but rounding: measured against the whole */
    free(norm);
    for (int i = 0; i < t->model->n_slots; i++) {
        const tn_slot *s = &t->model->slots[i];
        if (!s->trainable) continue;
        const tn_st_tensor *g = find_golden(t, prefix, s);
        if (!g) return tn_fail(err, TN_ERR_FORMAT, "%s: no %s of '%s'", t->dir, prefix, s->name);
        size_t n = (size_t)g->count;
        float *want = malloc(n * 4), *got = malloc(n * 4);
        int rc = want && got ? tn_st_read_f32(t->golden, g, want, err) : tn_oom(err);
        if (!rc)
            rc =
                kind == GRADIENT ? tn_store_get_grad(t->session->store, i, got, err) : tn_store_get(t->session->store, i, got, err);
        if (!rc) note(kind, g->name, kind == GRADIENT ? tn_relative_error(got, want, n, 1e-4 * whole) : relative(got, want, n));
        free(want);
        free(got);
        TN_TRY(rc);
        compared++;
    }
    int listed = 0; /* mask_token is listed by PyTorch, but nothing but masked pre-training reads it */
    for (int i = 0; i < t->golden->n; i++) {
        const char *name = t->golden->t[i].name;
        listed += tn_starts(name, prefix) && name[strlen(prefix)] == '.' && !strstr(name, "mask_token");
    }
    if (listed != compared)
        return tn_fail(err, TN_ERR_FORMAT, "%s: %d values of '%s', but %d trained slots", t->dir, listed, prefix, compared);
    return 0;
}

static int compare_tensor(test *t, tn_exec *e, int id, int kind, const char *name, tn_error *err)
{
    size_t n = 0;
    float *want = values_of(t->golden, name, &n, err), *got = malloc((n + 1) * 4);
    int rc = !want ? err->status : got ? 0 : tn_oom(err);
    if (!rc && n != (size_t)e->g.t[id].rows * (size_t)e->g.t[id].cols)
        rc = tn_fail(err, TN_ERR_FORMAT, "%s: '%s' has %zu values", t->dir, name, n);
    if (!rc) rc = tn_session_download(t->session, e, id, got, err);
    if (!rc) note(kind, name, relative(got, want, n));
    free(want);
    free(got);
    return rc;
}

static int upload(test *t, tn_exec *e, int id, const char *name, tn_error *err)
{
    float *v = values_of(t->golden, name, NULL, err);
    if (!v) return err->status;
    int rc = tn_session_upload(t->session, e, id, v, err);
    free(v);
    return rc;
}

static int run_backbone(test *t, tn_error *err)
{
    tn_pass p = {.batch = t->batch, .act = options.act, .hidden = true, .unfused = options.unfused};
    tn_exec *e;
    TN_TRY(tn_session_get(&e, t->session, &p, err));
    TN_TRY(upload(t, e, e->g.pixels, "pixel_values", err));
    TN_TRY(tn_session_run(t->session, e, err));
    for (int i = 0; i < e->g.n_t; i++) {
        if (e->g.t[i].kind != TN_G_OUTPUT) continue;
        if (!tn_st_find(t->golden, e->g.t[i].name)) continue;
        TN_TRY(compare_tensor(t, e, i, HIDDEN, e->g.t[i].name, err));
    }
    return kinds[HIDDEN].count ? 0 : tn_fail(err, TN_ERR_FORMAT, "%s: no hidden state to compare", t->dir);
}

/* ---- training ---- */

static int mask_of(test *t, tn_exec *e, double *inv, tn_error *err)
{
    size_t n = 0;
    float *m = values_of(t->golden, "mask", &n, err);
    if (!m) return err->status;
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += m[i];
    for (int b = 0; b < t->batch; b++) m[b] = m[(size_t)b * (n / (size_t)t->batch)];
    *inv = 1 / fmax(sum, 1e-8);
    int rc = tn_session_upload(t->session, e, e->g.mask, m, err);
    free(m);
    return rc;
}

static int other_losses(test *t, tn_exec *e, bool focal, tn_error *err)
{
    for (int k = 0; k < 2; k++) {
        const char *name = k ? "loss.focal" : "loss.mse";
        if (!tn_st_find(t->golden, name) || (k == 1) == focal) continue;
        double got;
        float *want = values_of(t->golden, name, NULL, err);
        if (!want) return err->status;
        t->session->loss.focal = k == 1;
        int rc = tn_session_run(t->session, e, err);
        if (!rc) rc = tn_session_loss(t->session, e, &got, err);
        if (!rc) note(LOSS, name, fabs(got - want[0]) / fabs(want[0]));
        t->session->loss.focal = focal;
        free(want);
        TN_TRY(rc);
    }
    return 0;
}

static int step(test *t, tn_exec *e, int i, float want_loss, float want_norm, tn_error *err)
{
    tn_session *s = t->session;
    tn_store *st = s->store;
    static const tn_adam_spec adam = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f};
    tn_optim_state o;
    double loss;
    char where[32];
    snprintf(where, sizeof where, "step %d", i);
    TN_TRY(tn_store_zero_grad(st, err));
    TN_TRY(tn_session_run(s, e, err));
    TN_TRY(tn_session_loss(s, e, &loss, err));
    TN_TRY(tn_clip(&s->ctx, st->grads, 0, st->n_params, &adam, err));
    TN_TRY(tn_ctx_state_get(&s->ctx, &o, err));
    note(TRACE, where, fabs(loss - want_loss) / fabs(want_loss));
    note(NORM, where, fabs(o.norm - want_norm) / fabs(want_norm));
    if (i == 0) {
        note(LOSS, s->loss.focal ? "loss.focal" : "loss.mse", fabs(loss - want_loss) / fabs(want_loss));
        TN_TRY(compare_tensor(t, e, e->g.heat, HEATMAP, "heatmap", err));
        TN_TRY(compare_slots(t, "grad", GRADIENT, err));
    }
    for (int g = 0; g < TN_GROUPS; g++) {
        const tn_optim_range r = tn_store_range(st, g);
        if (r.n) TN_TRY(tn_adamw(&s->ctx, &r, &adam, err));
    }
    return 0;
}

static int run_training(test *t, tn_error *err)
{
    TN_TRY(load_trained(t, err));
    TN_TRY(tn_store_make_shadow(t->session->store, err));
    tn_pass p = {.batch = t->batch,
                 .act = options.act,
                 .groups = 7,
                 .training = t->bn,
                 .loss = true,
                 .heat = true,
                 .recompute = options.recompute,
                 .unfused = options.unfused};
    tn_exec *e;
    tn_session *s = t->session;
    const bool focal = !strcmp(tn_json_str(t->spec, "loss", "mse"), "focal");
    const int steps = (int)tn_json_int(t->spec, "steps", 1);
    double inv = 0;
    TN_TRY(tn_session_get(&e, s, &p, err));
    TN_TRY(mask_of(t, e, &inv, err));
    s->loss = (tn_loss_spec){focal, 2, 4};
    const tn_step_constants now = {.inv_mask = (float)inv,
                                   .lr = (float)tn_json_num(t->spec, "lr", 1e-3),
                                   .weight_decay = (float)tn_json_num(t->spec, "weight_decay", 0),
                                   .max_norm = (float)tn_json_num(t->spec, "grad_clip_norm", 0),
                                   .groups = (1u << TN_GROUPS) - 1};
    TN_TRY(tn_ctx_step(&s->ctx, &now, err));
    TN_TRY(upload(t, e, e->g.pixels, "pixel_values", err));
    TN_TRY(upload(t, e, e->g.target, "target", err));
    if (!t->bn) TN_TRY(other_losses(t, e, focal, err));
    float *loss = values_of(t->golden, "trace.loss", NULL, err), *norm = values_of(t->golden, "trace.grad_norm", NULL, err);
    int rc = loss && norm ? 0 : err->status;
    for (int i = 0; !rc && i < steps; i++) rc = step(t, e, i, loss[i], norm[i], err);
    free(loss);
    free(norm);
    return rc ? rc : compare_slots(t, "final", FINAL, err);
}

/* ---- one case, all cases ---- */

static int run_matrices(test *t, tn_error *err)
{
    tn_st_file *model = NULL;
    TN_TRY(test_device(&t->dev, options.device, err));
    TN_TRY(open_st(&model, t->dir, "model.safetensors", err));
    int rc = run_quantized(t->dev, t->golden, model, err);
    tn_st_close(model);
    return rc;
}

static int run_model(test *t, tn_error *err)
{
    TN_TRY(build(t, err));
    if (options.act == TN_BF16) {
        char *path = tn_path(t->dir, "bf16_error.json");
        int rc = tn_json_read(&bf16_error, path, err);
        free(path);
        TN_TRY(rc);
    }
    return t->spec ? run_training(t, err) : run_backbone(t, err);
}

static int run_case(const char *folder, const char *name)
{
    test t = {.dir = tn_path(folder, name)};
    tn_error err = {0};
    for (int i = 0; i < KINDS; i++) kinds[i].count = 0;
    int rc = open_files(&t, &err);
    if (!rc) rc = is_quantized(&t) ? run_matrices(&t, &err) : run_model(&t, &err);
    int bad = rc != 0;
    printf("%s\n", name);
    if (rc) printf("  FAILED: %s\n", err.message);
    for (int i = 0; i < KINDS; i++) {
        const measure *m = &kinds[i];
        if (!m->count) continue;
        const bool ok = m->worst <= m->allowed;
        bad |= !ok;
        printf("  %-16s %.2e of %.0e  %s  (%d compared, worst %s)\n", m->name, m->worst, m->allowed, ok ? "ok" : "TOO LARGE",
               m->count, m->where);
    }
    close_test(&t);
    json_decref(bf16_error);
    bf16_error = NULL;
    return bad;
}

static int usage(void)
{
    printf("usage: tn-golden FOLDER [--device D] [--case NAME] [--recompute 0|1|2] [--unfused] [--dtype float32|bfloat16|float16]\n"
           "                 [--verbose] [--bound KIND=VALUE ...]\nkinds:");
    for (int i = 0; i < KINDS; i++) printf(" %s (%.0e)", kinds[i].name, kinds[i].bound);
    printf("\n");
    return 2;
}

static bool set_bound(const char *arg)
{
    for (int i = 0; i < KINDS; i++) {
        size_t n = strlen(kinds[i].name);
        if (strncmp(arg, kinds[i].name, n) || arg[n] != '=') continue;
        kinds[i].bound = atof(arg + n + 1);
        kinds[i].fixed = true;
        return kinds[i].bound > 0;
    }
    return false;
}

int main(int argc, char **argv)
{
    const char *folder = NULL, *only = NULL;
    for (int i = 1; i < argc; i++) {
        const char *v = i + 1 < argc ? argv[i + 1] : "";
        if (!strcmp(argv[i], "--device")) options.device = v, i++;
        else if (!strcmp(argv[i], "--case")) only = v, i++;
        else if (!strcmp(argv[i], "--recompute")) options.recompute = atoi(v), i++;
        else if (!strcmp(argv[i], "--dtype"))
            options.act = !strcmp(v, "bfloat16") ? TN_BF16 : !strcmp(v, "float16") ? TN_F16 : TN_F32, i++;
        else if (!strcmp(argv[i], "--unfused")) options.unfused = true;
        else if (!strcmp(argv[i], "--verbose")) options.verbose = true;
        else if (!strcmp(argv[i], "--bound") && set_bound(v)) i++;
        else if (argv[i][0] != '-' && !folder) folder = argv[i];
        else return usage();
    }
    if (!folder) return usage();
    tn_strs names = {0};
    tn_error err = {0};
    if (tn_list_dir(&names, folder, &err)) {
        fprintf(stderr, "tn-golden: %s\n", err.message);
        return 2;
    }
    int run = 0, failed = 0;
    for (int i = 0; i < names.n; i++) {
        char *g = tn_strf("%s/%s/golden.safetensors", folder, names.v[i]);
        if (tn_is_file(g) && (!only || !strcmp(only, names.v[i]))) {
            run++;
            failed += run_case(folder, names.v[i]);
        }
        free(g);
    }
    tn_strs_free(&names);
    printf("%d passed, %d failed\n", run - failed, failed);
    return failed || !run;
}
