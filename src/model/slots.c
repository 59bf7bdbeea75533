/* The list of a model's weights. */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int tn_model_slot(const tn_model *m, const char *name)
{
    for (int i = 0; i < m->n_slots; i++)
        if (!strcmp(m->slots[i].name, name)) return i;
    return -1;
}

int tn_model_beside(const tn_model *m, const tn_slot *weight, const char *suffix)
{
    char name[200];
    snprintf(name, sizeof name, "%.*s.%s", (int)(strlen(weight->name) - strlen(".weight")), weight->name, suffix);
    return tn_model_slot(m, name);
}

int tn_model_add(tn_model *m, tn_slot s, const char *name)
{
    if (m->n_slots == m->cap_slots) {
        int cap = m->cap_slots ? 2 * m->cap_slots : 128;
        tn_slot *v = realloc(m->slots, sizeof *v * (size_t)cap);
        if (!v) return -1;
        m->slots = v;
        m->cap_slots = cap;
    }
    s.norm = -1;
    s.name = strdup(name);
    if (!s.name) return -1;
    s.rows = s.ndim > 1 ? s.shape[0] : 1;
    s.cols = s.ndim > 1 ? 1 : s.ndim == 1 ? s.shape[0] : 1;
    for (int i = 1; i < s.ndim; i++) s.cols *= s.shape[i];
    m->slots[m->n_slots] = s;
    return m->n_slots++;
}

int tn_model_norm_of(const tn_model *m, int w)
{
    const tn_slot *s = &m->slots[w];
    return s->trainable || s->cols % TN_SUM_COLUMNS ? -1 : s->norm;
}

bool tn_slot_is_kernel(const tn_slot *s)
{
    return s->group == TN_GROUP_BACKBONE && s->ndim == 4 && s->rows > 1 && tn_ends(s->name, ".weight");
}

int tn_slot_groups(const tn_slot *s)
{
    return s->ndim == 4 && s->shape[1] == 1 ? s->shape[0] : 1;
}

int tn_model_modules(const tn_model *m, tn_strs *out)
{
    for (int i = 0; i < m->n_slots; i++) {
        const tn_slot *s = &m->slots[i];
        if (s->group != TN_GROUP_BACKBONE || (!s->linear && !tn_slot_is_kernel(s))) continue;
        char *module = tn_strf("%.*s", (int)(strlen(s->name) - strlen(".weight")), s->name);
        bool ok = module && tn_strs_add(out, module);
        free(module);
        if (!ok) return TN_ERR_MEMORY;
    }
    return 0;
}

long long tn_model_count(const tn_model *m, int groups, bool trainable_only)
{
    long long n = 0;
    for (int i = 0; i < m->n_slots; i++) {
        const tn_slot *s = &m->slots[i];
        if ((s->group & groups) && !s->buffer && (s->trainable || !trainable_only)) n += (long long)s->rows * s->cols;
    }
    return n;
}

bool tn_is_trained(const void *user, int slot)
{
    const tn_trained *t = user;
    const tn_slot *s = &t->m->slots[slot];
    return s->trainable && (s->group & t->groups);
}
