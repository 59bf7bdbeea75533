/* Which linear layers get adapters: exact name or suffix after a dot (PEFT's rule for lists). */
#include "model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

float tn_lora_scale(const tn_lora *l)
{
    return l->rslora ? l->alpha / sqrtf((float)l->r) : l->alpha / (float)l->r;
}

static bool suffix_match(const char *module, const char *target)
{
    if (!strcmp(module, target)) return true;
    char dotted[128];
    snprintf(dotted, sizeof dotted, ".%s", target);
    return tn_ends(module, dotted);
}

static bool matches(const char *module, const tn_strs *targets)
{
    for (int i = 0; i < targets->n; i++)
        if (suffix_match(module, targets->v[i])) return true;
    return false;
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
    {"down_proj", {"fc2", "weights_out"}},
};

static bool any_match(const tn_strs *linears, const char *target)
{
    for (int i = 0; i < linears->n; i++)
        if (suffix_match(linears->v[i], target)) return true;
    return false;
}

static int map_targets(tn_lora *l, const tn_strs *linears, const tn_log *log, tn_error *err)
{
    tn_strs out = {0};
    bool mapped = false;
    for (int i = 0; i < l->targets.n; i++) {
        const char *t = l->targets.v[i];
        bool known = any_match(linears, t);
        if (known && !tn_strs_add(&out, t)) return tn_oom(err);
        for (size_t a = 0; !known && a < TN_COUNT(aliases); a++)
            for (int k = 0; k < 4 && !strcmp(aliases[a].from, t) && aliases[a].to[k]; k++)
                if (any_match(linears, aliases[a].to[k]) && !tn_strs_has(&out, aliases[a].to[k])) {
                    mapped = true;
                    if (!tn_strs_add(&out, aliases[a].to[k])) return tn_oom(err);
                }
    }
    if (mapped) {
        char *from = tn_strs_join(&l->targets, ", "), *to = tn_strs_join(&out, ", ");
        tn_logf(log, TN_LOG_INFO, "model.lora.target_modules [%s] mean [%s] in this backbone", from ? from : "",
                to ? to : "");
        free(from);
        free(to);
    }
    tn_strs_free(&l->targets);
    l->targets = out;
    return 0;
}

static int no_match(const tn_strs *asked, const tn_strs *linears, tn_error *err)
{
    char *a = tn_strs_join(asked, ", ");
    tn_text kinds = {0};
    tn_strs seen = {0};
    for (int i = 0; i < linears->n; i++) {
        const char *last = strrchr(linears->v[i], '.'), *name = last ? last + 1 : linears->v[i];
        if (tn_strs_has(&seen, name)) continue;
        tn_text_addf(&kinds, "%s%s", seen.n ? ", " : "", name);
        tn_strs_add(&seen, name);
    }
    int rc = tn_fail(err, TN_ERR_CONFIG, "model.lora.target_modules [%s] matches no linear module; there are: %s",
                     a ? a : "", kinds.s ? kinds.s : "none");
    free(a);
    tn_text_free(&kinds);
    tn_strs_free(&seen);
    return rc;
}

static int add_pair(tn_model *m, const char *module, tn_error *err)
{
    char name[200];
    snprintf(name, sizeof name, "%s.weight", module);
    const tn_slot *w = &m->slots[tn_model_slot(m, name)];
    const int out = w->rows, in = w->cols, r = m->lora.r;
    if (r > TN_MIN(out, in))
        return tn_fail(err, TN_ERR_CONFIG, "model.lora.r is %d, larger than %s [%d, %d]; use at most %d", r, module, out, in,
                       TN_MIN(out, in));
    tn_slot s = {.ndim = 2, .group = TN_GROUP_LORA, .trainable = true, .init = TN_INIT_LORA_A, .init_fan = in};
    s.shape[0] = r, s.shape[1] = in;
    snprintf(name, sizeof name, "%s.lora_A.weight", module);
    if (tn_model_add(m, s, name) < 0) return tn_oom(err);
    s.init = TN_INIT_ZERO;
    s.shape[0] = out, s.shape[1] = r;
    snprintf(name, sizeof name, "%s.lora_B.weight", module);
    return tn_model_add(m, s, name) < 0 ? tn_oom(err) : 0;
}

/* Biases trained beside the adapters. A quantised base keeps its biases in float, so this is always possible. */
static void free_biases(tn_model *m)
{
    const bool all = !strcmp(m->lora.bias, "all"), only = !strcmp(m->lora.bias, "lora_only");
    for (int i = 0; i < m->n_slots; i++) {
        tn_slot *s = &m->slots[i];
        if (s->group != TN_GROUP_BACKBONE || !tn_ends(s->name, ".bias")) continue;
        char module[160];
        snprintf(module, sizeof module, "%.*s", (int)(strlen(s->name) - 5), s->name);
        if (all || (only && matches(module, &m->lora.targets))) {
            s->trainable = true;
            s->group = TN_GROUP_LORA;
        }
    }
}

int tn_lora_slots(tn_model *m, const tn_log *log, tn_error *err)
{
    tn_strs linears = {0}, asked = {0};
    int rc = tn_model_linears(m, &linears), hits = 0;
    if (rc) return tn_oom(err);
    if (!m->lora.targets.n) {
        const tn_backbone *b = tn_backbone_find(m->vit.model_type);
        for (const char *const *t = b->lora_default; *t; t++) tn_strs_add(&m->lora.targets, *t);
    }
    tn_strs_copy(&asked, &m->lora.targets);
    rc = map_targets(&m->lora, &linears, log, err);
    for (int i = 0; !rc && i < linears.n; i++) {
        if (!matches(linears.v[i], &m->lora.targets)) continue;
        rc = add_pair(m, linears.v[i], err);
        hits++;
    }
    if (!rc && !hits) rc = no_match(&asked, &linears, err);
    if (!rc) free_biases(m);
    tn_strs_free(&linears);
    tn_strs_free(&asked);
    return rc;
}
