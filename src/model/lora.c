/* Which linear layers get adapters, of which rank and scale: PEFT's rules over both spellings of a module's path, the
 * checkpoint's (layer.0.attention.q_proj) and the one transformers 5 has in memory (model.layer.0.attention.q_proj). */
#include "match.h"
#include "model.h"
#include "names.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TARGETS "model.lora.target_modules"

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

/* Names of one family that people use for another: from -> to (a NULL-terminated list). */
static const struct {
    const char *from, *to[4];
} aliases[] = {
    {"query", {"q_proj"}},
    {"key", {"k_proj"}},
    {"value", {"v_proj"}},
    {"dense", {"o_proj", "up_proj", "down_proj"}},
    {"q_proj", {"query"}},
    {"k_proj", {"key"}},
    {"v_proj", {"value"}},
    {"o_proj", {"attention.output.dense"}},
    {"up_proj", {"intermediate.dense", "fc1", "weights_in"}},
    {"down_proj", {"fc2", "output.dense", "weights_out"}},
};

typedef struct {
    tn_model *m;
    tn_strs linears; /* the checkpoint's spelling */
    tn_strs paths;   /* transformers 5's, one for each */
    tn_strs common;  /* the one behind all, one for each */
    const tn_log *log;
} finder;

static bool suffix_of(const finder *f, int i, const char *item)
{
    return tn_match_suffix(f->linears.v[i], item) || tn_match_suffix(f->paths.v[i], item) || !strcmp(f->common.v[i], item);
}

static bool any_suffix(const finder *f, const char *item)
{
    for (int i = 0; i < f->linears.n; i++)
        if (suffix_of(f, i, item)) return true;
    return false;
}

static bool in_list(const finder *f, int i, const tn_strs *items)
{
    for (int k = 0; k < items->n; k++)
        if (suffix_of(f, i, items->v[k])) return true;
    return false;
}

static int pattern_hit(bool *hit, const finder *f, int i, const char *pattern, const char *key, tn_error *err)
{
    TN_TRY(tn_match_full(hit, pattern, f->linears.v[i], key, err));
    if (!*hit) TN_TRY(tn_match_full(hit, pattern, f->paths.v[i], key, err));
    return 0;
}

/* A list, or a pattern ("all-linear" matches everything), against module i. */
static int selected(bool *hit, const finder *f, int i, const tn_strs *list, const char *pattern, const char *key, tn_error *err)
{
    *hit = false;
    if (!pattern) return *hit = in_list(f, i, list), 0;
    if (!strcasecmp(pattern, "all-linear")) return *hit = true, 0;
    return pattern_hit(hit, f, i, pattern, key, err);
}

/* A pattern that matches nothing as a regular expression may be a plain name. */
static int pattern_as_name(finder *f, tn_lora *l, tn_error *err)
{
    if (!l->target_pattern || !strcasecmp(l->target_pattern, "all-linear")) return 0;
    for (int i = 0; i < f->linears.n; i++) {
        bool hit;
        TN_TRY(pattern_hit(&hit, f, i, l->target_pattern, TARGETS, err));
        if (hit) return 0;
    }
    if (!tn_strs_add(&l->targets, l->target_pattern)) return tn_oom(err);
    free(l->target_pattern);
    l->target_pattern = NULL;
    return 0;
}

static bool targets_anything(const finder *f, const char *item)
{
    if (any_suffix(f, item)) return true;
    for (size_t a = 0; a < TN_COUNT(aliases); a++)
        for (int k = 0; k < 4 && !strcmp(aliases[a].from, item) && aliases[a].to[k]; k++)
            if (any_suffix(f, aliases[a].to[k])) return true;
    return false;
}

static int map_targets(finder *f, tn_lora *l, tn_error *err)
{
    tn_strs out = {0};
    bool mapped = false;
    for (int i = 0; i < l->targets.n; i++) {
        const char *t = l->targets.v[i];
        const bool known = any_suffix(f, t);
        if ((known || !targets_anything(f, t)) && !tn_strs_add(&out, t)) return tn_oom(err);
        for (size_t a = 0; !known && a < TN_COUNT(aliases); a++)
            for (int k = 0; k < 4 && !strcmp(aliases[a].from, t) && aliases[a].to[k]; k++)
                if (any_suffix(f, aliases[a].to[k]) && !tn_strs_has(&out, aliases[a].to[k])) {
                    mapped = true;
                    if (!tn_strs_add(&out, aliases[a].to[k])) return tn_oom(err);
                }
    }
    if (mapped) {
        char *from = tn_strs_join(&l->targets, ", "), *to = tn_strs_join(&out, ", ");
        tn_logf(f->log, TN_LOG_INFO, TARGETS " [%s] mean [%s] in this backbone", from ? from : "", to ? to : "");
        free(from);
        free(to);
    }
    tn_strs_free(&l->targets);
    l->targets = out;
    return 0;
}

static int no_match(const finder *f, const char *asked, tn_error *err)
{
    tn_text kinds = {0};
    tn_strs seen = {0};
    for (int i = 0; i < f->linears.n; i++) {
        const char *last = strrchr(f->linears.v[i], '.'), *name = last ? last + 1 : f->linears.v[i];
        if (tn_strs_has(&seen, name)) continue;
        tn_text_addf(&kinds, "%s%s", seen.n ? ", " : "", name);
        tn_strs_add(&seen, name);
    }
    int rc = tn_fail(err, TN_ERR_CONFIG, TARGETS " [%s] matches no linear module; there are: %s (such as %s)", asked,
                     kinds.s ? kinds.s : "none", f->linears.n ? f->linears.v[0] : "none");
    tn_text_free(&kinds);
    tn_strs_free(&seen);
    return rc;
}

/* The first pattern that matches decides. */
static int from_pattern(double *value, const finder *f, int i, const tn_lora_pattern *p, const char *key, tn_error *err)
{
    for (int k = 0; k < p->key.n; k++) {
        bool hit;
        TN_TRY(tn_match_pattern(&hit, p->key.v[k], f->linears.v[i], key, err));
        if (!hit) TN_TRY(tn_match_pattern(&hit, p->key.v[k], f->paths.v[i], key, err));
        if (!hit) TN_TRY(tn_match_pattern(&hit, p->key.v[k], f->common.v[i], key, err));
        if (!hit) continue;
        *value = p->value[k];
        return 0;
    }
    return 0;
}

static int add_adapter(finder *f, int i, tn_error *err)
{
    tn_model *m = f->m;
    const char *module = f->linears.v[i];
    double r = m->lora.r, alpha = m->lora.alpha;
    TN_TRY(from_pattern(&r, f, i, &m->lora.rank_pattern, "model.lora.rank_pattern", err));
    TN_TRY(from_pattern(&alpha, f, i, &m->lora.alpha_pattern, "model.lora.alpha_pattern", err));
    char name[200];
    snprintf(name, sizeof name, "%s.weight", module);
    const tn_slot *w = &m->slots[tn_model_slot(m, name)];
    const int out = w->rows, in = w->cols;
    if (r > TN_MIN(out, in))
        return tn_fail(err, TN_ERR_CONFIG, "model.lora.r is %g, larger than %s [%d, %d]; use at most %d", r, module, out, in,
                       TN_MIN(out, in));
    tn_slot s = {.ndim = 2, .group = TN_GROUP_LORA, .trainable = true, .init_fan = in};
    s.init = m->lora.init == TN_LORA_GAUSSIAN ? TN_INIT_LORA_GAUSSIAN : TN_INIT_LORA_A;
    s.lora_scale = scale_of(&m->lora, (int)r, alpha);
    s.shape[0] = (int)r, s.shape[1] = in;
    snprintf(name, sizeof name, "%s.lora_A.weight", module);
    if (tn_model_add(m, s, name) < 0) return tn_oom(err);
    s.init = TN_INIT_ZERO;
    s.shape[0] = out, s.shape[1] = (int)r;
    snprintf(name, sizeof name, "%s.lora_B.weight", module);
    if (tn_model_add(m, s, name) < 0) return tn_oom(err);
    if (!m->lora.dora) return 0;
    tn_slot mag = {.ndim = 1, .group = TN_GROUP_LORA, .trainable = true, .init = TN_INIT_ONE, .shape = {out}};
    snprintf(name, sizeof name, "%s.lora_magnitude_vector", module);
    return tn_model_add(m, mag, name) < 0 ? tn_oom(err) : 0;
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
static int free_others(finder *f, tn_error *err)
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

static void save_whole(finder *f)
{
    tn_model *m = f->m;
    for (int i = 0; m->lora.modules_to_save.n && i < m->n_slots; i++) {
        tn_slot *s = &m->slots[i];
        char path[200], module[200];
        const char *dot = strrchr(s->name, '.');
        if (!s->backbone || !dot) continue;
        snprintf(module, sizeof module, "%.*s", (int)(dot - s->name), s->name);
        tn_module_path(path, sizeof path, m->vit.model_type, module);
        if (is_saved_whole(m, module, path)) train_with_adapter(s, true);
    }
}

static int find_paths(finder *f, tn_error *err)
{
    if (tn_model_linears(f->m, &f->linears)) return tn_oom(err);
    for (int i = 0; i < f->linears.n; i++) {
        char path[200];
        tn_module_path(path, sizeof path, f->m->vit.model_type, f->linears.v[i]);
        if (!tn_strs_add(&f->paths, path)) return tn_oom(err);
        tn_common_name(path, sizeof path, f->linears.v[i]);
        if (!tn_strs_add(&f->common, path)) return tn_oom(err);
    }
    return 0;
}

static int add_adapters(finder *f, tn_error *err)
{
    tn_lora *l = &f->m->lora;
    int hits = 0;
    char *asked = l->target_pattern ? strdup(l->target_pattern) : tn_strs_join(&l->targets, ", ");
    int rc = pattern_as_name(f, l, err);
    if (!rc) rc = map_targets(f, l, err);
    for (int i = 0; !rc && i < f->linears.n; i++) {
        bool hit, excluded = false;
        rc = selected(&hit, f, i, &l->targets, l->target_pattern, TARGETS, err);
        if (!rc && hit && (l->exclude.n || l->exclude_pattern))
            rc = selected(&excluded, f, i, &l->exclude, l->exclude_pattern, "model.lora.exclude_modules", err);
        if (rc || !hit || excluded || is_saved_whole(f->m, f->linears.v[i], f->paths.v[i])) continue;
        rc = add_adapter(f, i, err);
        hits++;
    }
    if (!rc && !hits) rc = no_match(f, asked ? asked : "", err);
    free(asked);
    return rc;
}

int tn_lora_slots(tn_model *m, const tn_log *log, tn_error *err)
{
    finder f = {.m = m, .log = log};
    if (!m->lora.targets.n && !m->lora.target_pattern) {
        const tn_backbone *b = tn_backbone_find(m->vit.model_type);
        for (const char *const *t = b->lora_default; *t; t++) tn_strs_add(&m->lora.targets, *t);
    }
    int rc = find_paths(&f, err);
    if (!rc) save_whole(&f);
    if (!rc) rc = add_adapters(&f, err);
    if (!rc) rc = free_others(&f, err);
    tn_strs_free(&f.linears);
    tn_strs_free(&f.paths);
    tn_strs_free(&f.common);
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
    d->targets = d->exclude = d->modules_to_save = (tn_strs){0};
    bool ok = copy_pattern(&d->rank_pattern, &s->rank_pattern);
    ok &= copy_pattern(&d->alpha_pattern, &s->alpha_pattern);
    ok &= tn_strs_copy(&d->targets, &s->targets);
    ok &= tn_strs_copy(&d->exclude, &s->exclude);
    ok &= tn_strs_copy(&d->modules_to_save, &s->modules_to_save);
    return ok && (!s->target_pattern || d->target_pattern) && (!s->exclude_pattern || d->exclude_pattern);
}

void tn_lora_free(tn_lora *l)
{
    free(l->target_pattern);
    free(l->exclude_pattern);
    tn_strs_free(&l->targets);
    tn_strs_free(&l->exclude);
    tn_strs_free(&l->modules_to_save);
    tn_strs_free(&l->rank_pattern.key);
    tn_strs_free(&l->alpha_pattern.key);
    free(l->rank_pattern.value);
    free(l->alpha_pattern.value);
    *l = (tn_lora){0};
}
