/* Adapters as slots: which linear layers get them, of which rank and scale, and what else is trained with them. */
#include "lora_select.h"
#include "match.h"
#include "names.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int tn_pissa_iterations(const char *init)
{
    int n = 0, end = 0;
    if (!strcasecmp(init, "pissa")) return 0;
    return sscanf(init, "pissa_niter_%d%n", &n, &end) == 1 && end && !init[end] && n >= 0 ? n : -1;
}

static float scale_of(const tn_lora *l, int r, double alpha)
{
    return (float)(l->rslora ? alpha / sqrt(r) : alpha / r);
}

/* What a convolution's adapter may be, as PEFT has it. */
static int check_kernel(const tn_model *m, const tn_slot *w, const char *module, double r, tn_error *err)
{
    const int groups = tn_slot_groups(w);
    if (m->lora.init == TN_LORA_PISSA || m->lora.init == TN_LORA_OLORA)
        return tn_fail(
            err, TN_ERR_CONFIG,
            "model.lora.init_lora_weights takes a matrix apart, and %s is a convolution; begin with kaiming or gaussian, or "
            "leave it out of "
            "model.lora.target_modules",
            module);
    if ((int)r % groups == 0) return 0;
    return tn_fail(
        err, TN_ERR_CONFIG,
        "model.lora.r is %g, and %s is a convolution of %d groups, which must divide it; choose a multiple (rank_pattern), or "
        "leave it out of model.lora.target_modules",
        r, module, groups);
}

static int check_rank(const tn_model *m, const tn_slot *w, const char *module, double r, tn_error *err)
{
    const int in = w->cols * tn_slot_groups(w), most = TN_MIN(w->rows, in);
    if (tn_slot_is_kernel(w)) TN_TRY(check_kernel(m, w, module, r, err));
    if (r <= most || m->lora.foreign) return 0;
    return tn_fail(err, TN_ERR_CONFIG, "model.lora.r is %g, larger than %s [%d, %d]; use at most %d", r, module, w->rows, in, most);
}

/* A and B of a linear layer, [r, in] and [out, r]; beside a convolution [r, in, k, k] and [out, r / groups, 1, 1], and DoRA's
 * magnitudes [1, out, 1, 1] instead of [out]: shapes tell LoRA+ what is a vector. */
static int add_slots(tn_model *m, const tn_slot *w, const char *module, int r, float scale, tn_error *err)
{
    char name[200];
    const int out = w->rows, groups = tn_slot_groups(w), ndim = w->ndim, k = ndim == 4 ? w->shape[2] : 1;
    tn_slot s = {.ndim = ndim, .group = TN_GROUP_LORA, .trainable = true, .lora_scale = scale};
    s.init = m->lora.init == TN_LORA_GAUSSIAN ? TN_INIT_LORA_GAUSSIAN : TN_INIT_LORA_A;
    s.init_fan = w->cols * groups;
    s.shape[0] = r, s.shape[1] = w->shape[1] * groups, s.shape[2] = s.shape[3] = k;
    snprintf(name, sizeof name, "%s.lora_A.weight", module);
    if (tn_model_add(m, s, name) < 0) return tn_oom(err);
    s.init = TN_INIT_ZERO;
    s.shape[0] = out, s.shape[1] = r / groups, s.shape[2] = s.shape[3] = 1;
    snprintf(name, sizeof name, "%s.lora_B.weight", module);
    if (tn_model_add(m, s, name) < 0) return tn_oom(err);
    if (!m->lora.dora) return 0;
    tn_slot mag = {
        .ndim = ndim == 4 ? 4 : 1, .group = TN_GROUP_LORA, .trainable = true, .init = TN_INIT_ONE, .shape = {1, out, 1, 1}};
    if (mag.ndim == 1) mag.shape[0] = out;
    snprintf(name, sizeof name, "%s.lora_magnitude_vector", module);
    return tn_model_add(m, mag, name) < 0 ? tn_oom(err) : 0;
}

static int add_adapter(tn_lora_modules *f, int i, tn_error *err)
{
    tn_model *m = f->m;
    const char *module = f->names.v[i];
    double r = m->lora.r, alpha = m->lora.alpha;
    TN_TRY(tn_lora_number(&r, f, i, &m->lora.rank_pattern, "model.lora.rank_pattern", err));
    TN_TRY(tn_lora_number(&alpha, f, i, &m->lora.alpha_pattern, "model.lora.alpha_pattern", err));
    char name[200];
    snprintf(name, sizeof name, "%s.weight", module);
    const tn_slot *w = &m->slots[tn_model_slot(m, name)];
    TN_TRY(check_rank(m, w, module, r, err));
    return add_slots(m, w, module, (int)r, scale_of(&m->lora, (int)r, alpha), err);
}

static bool is_saved_whole(const tn_model *m, const char *module, const char *path)
{
    char common[320];
    tn_common_name(common, sizeof common, module);
    for (int k = 0; k < m->lora.modules_to_save.n; k++)
        if (tn_match_component(module, m->lora.modules_to_save.v[k]) || tn_match_component(path, m->lora.modules_to_save.v[k]) ||
            !strcmp(common, m->lora.modules_to_save.v[k]))
            return true;
    return false;
}

static void train_with_adapter(tn_slot *s, bool whole)
{
    s->trainable = true;
    s->group = TN_GROUP_LORA;
    s->saved_whole = whole;
}

/* Biases trained beside the adapters, and modules trained whole. A quantised base keeps its biases in float. */
static int free_others(tn_lora_modules *f, tn_error *err)
{
    tn_model *m = f->m;
    const bool all = !strcmp(m->lora.bias, "all"), only = !strcmp(m->lora.bias, "lora_only");
    bool any = !m->lora.modules_to_save.n || m->lora.foreign;
    for (int i = 0; i < m->n_slots; i++) any |= m->slots[i].saved_whole;
    if (!any)
        return tn_fail(err, TN_ERR_CONFIG, "model.lora.modules_to_save [%s] names no module of the backbone",
                       m->lora.modules_to_save.v[0]);
    for (int i = 0; i < m->n_slots; i++) {
        tn_slot *s = &m->slots[i];
        char module[200];
        if (s->group != TN_GROUP_BACKBONE || !tn_ends(s->name, ".bias")) continue;
        snprintf(module, sizeof module, "%.*s.lora_A.weight", (int)(strlen(s->name) - 5), s->name);
        if (all || (only && tn_model_slot(m, module) >= 0)) train_with_adapter(s, false);
    }
    return 0;
}

static void save_whole(tn_lora_modules *f)
{
    tn_model *m = f->m;
    for (int i = 0; m->lora.modules_to_save.n && i < m->n_slots; i++) {
        tn_slot *s = &m->slots[i];
        char path[200], module[200];
        const char *dot = strrchr(s->name, '.');
        if (!s->backbone || !dot) continue;
        snprintf(module, sizeof module, "%.*s", (int)(dot - s->name), s->name);
        tn_module_path(path, sizeof path, m->backbone.family, module);
        if (is_saved_whole(m, module, path)) train_with_adapter(s, true);
    }
}

static int add_adapters(tn_lora_modules *f, tn_error *err)
{
    int hits = 0;
    TN_TRY(tn_lora_settle(f, err));
    for (int i = 0; i < f->names.n; i++) {
        bool hit;
        TN_TRY(tn_lora_selects(&hit, f, i, err));
        if (!hit || is_saved_whole(f->m, f->names.v[i], f->paths.v[i])) continue;
        TN_TRY(add_adapter(f, i, err));
        hits++;
    }
    return hits ? 0 : tn_lora_no_match(f, err);
}

int tn_lora_slots(tn_model *m, const tn_log *log, tn_error *err)
{
    tn_lora_modules f;
    if (!m->lora.targets.n && !m->lora.target_pattern) {
        for (const char *const *t = m->backbone.family->lora_default; *t; t++) tn_strs_add(&m->lora.targets, *t);
    }
    int rc = tn_lora_modules_find(&f, m, log, err);
    if (!rc) save_whole(&f);
    if (!rc) rc = add_adapters(&f, err);
    if (!rc) rc = free_others(&f, err);
    tn_lora_modules_free(&f);
    return rc;
}

/* ---- copying ---- */

static bool copy_pattern(tn_lora_pattern *d, const tn_lora_pattern *s)
{
    *d = (tn_lora_pattern){0};
    if (!s->key.n) return true;
    d->value = malloc(sizeof *d->value * (size_t)s->key.n);
    if (d->value) memcpy(d->value, s->value, sizeof *d->value * (size_t)s->key.n);
    return d->value && tn_strs_copy(&d->key, &s->key);
}

bool tn_lora_copy(tn_lora *d, const tn_lora *s)
{
    *d = *s;
    d->target_pattern = s->target_pattern ? strdup(s->target_pattern) : NULL;
    d->exclude_pattern = s->exclude_pattern ? strdup(s->exclude_pattern) : NULL;
    d->targets = d->exclude = d->modules_to_save = d->layers_pattern = (tn_strs){0};
    bool ok = copy_pattern(&d->rank_pattern, &s->rank_pattern);
    ok &= copy_pattern(&d->alpha_pattern, &s->alpha_pattern);
    ok &= tn_strs_copy(&d->targets, &s->targets);
    ok &= tn_strs_copy(&d->exclude, &s->exclude);
    ok &= tn_strs_copy(&d->modules_to_save, &s->modules_to_save);
    ok &= tn_strs_copy(&d->layers_pattern, &s->layers_pattern);
    return ok && (!s->target_pattern || d->target_pattern) && (!s->exclude_pattern || d->exclude_pattern);
}

void tn_lora_free(tn_lora *l)
{
    free(l->target_pattern);
    free(l->exclude_pattern);
    tn_strs_free(&l->targets);
    tn_strs_free(&l->exclude);
    tn_strs_free(&l->modules_to_save);
    tn_strs_free(&l->layers_pattern);
    tn_strs_free(&l->rank_pattern.key);
    tn_strs_free(&l->alpha_pattern.key);
    free(l->rank_pattern.value);
    free(l->alpha_pattern.value);
    *l = (tn_lora){0};
}
