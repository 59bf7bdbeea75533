/* One value of a settings key: read from a node of the tree, checked, freed. */
#include "values.h"
#include "layer.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const tn_key *tn_key_find(const char *name)
{
    for (int i = 0; i < tn_schema_size; i++)
        if (!strcmp(tn_schema[i].name, name)) return &tn_schema[i];
    return NULL;
}

const tn_key *tn_key_find_moved(const char *name)
{
    char buf[256];
    return tn_key_find(tn_layer_name(name, buf, sizeof buf));
}

static int values_wrong(const tn_ynode *n, const tn_key *k, const char *want, tn_error *err)
{
    char place[512];
    const char *have = n->kind == TN_Y_MAP ? "a mapping" : n->kind == TN_Y_SEQ ? "a list" : n->text;
    return tn_fail(err, TN_ERR_CONFIG, "%s: %s must be %s, not '%s'", tn_yaml_place(place, sizeof place, n), k->name, want, have);
}

static bool in_range(const tn_key *k, double v)
{
    return v >= k->min && v <= k->max;
}

static const char *range_text(char *buf, size_t n, const tn_key *k, const char *what)
{
    snprintf(buf, n, k->max >= 1e9 ? "%s of at least %g" : "%s from %g to %g", what, k->min, k->max);
    return buf;
}

static bool values_to_int(const tn_ynode *n, int *v)
{
    double d;
    if (!tn_yaml_number(n, &d) || d != floor(d) || fabs(d) > INT_MAX) return false;
    *v = (int)d;
    return true;
}

static int set_bool(bool *out, const tn_key *k, const tn_ynode *n, tn_error *err)
{
    return tn_yaml_bool(n, out) ? 0 : values_wrong(n, k, "true or false", err);
}

static int set_seed(uint64_t *out, const tn_key *k, const tn_ynode *n, tn_error *err)
{
    return tn_yaml_whole(n, out) ? 0 : values_wrong(n, k, "a whole number from 0 to 18446744073709551615", err);
}

static int set_int(int *out, const tn_key *k, const tn_ynode *n, tn_error *err)
{
    char buf[96];
    int v;
    if (!values_to_int(n, &v) || !in_range(k, v)) return values_wrong(n, k, range_text(buf, sizeof buf, k, "a whole number"), err);
    *out = v;
    return 0;
}

static int set_float(double *out, const tn_key *k, const tn_ynode *n, tn_error *err)
{
    char buf[96];
    double v;
    if (!tn_yaml_number(n, &v) || !in_range(k, v)) return values_wrong(n, k, range_text(buf, sizeof buf, k, "a number"), err);
    *out = v;
    return 0;
}

/* Lightning tells 1 (one batch) from 1.0 (all of them) by the number's type, which in a file is its point. */
static int set_limit(double *out, const tn_key *k, const tn_ynode *n, tn_error *err)
{
    double v;
    const bool number = tn_yaml_number(n, &v), fraction = number && strpbrk(n->text, ".eE");
    if (!number || !in_range(k, v) || (fraction ? v > 1 : v != floor(v)))
        return values_wrong(n, k, "a whole number of batches, or a fraction of them from 0.0 to 1.0", err);
    *out = fraction && v == 1 ? 0 : v;
    return 0;
}

/* The choice that v is in any case, in a fresh string. */
static char *choice_of(const char *choices, const char *v)
{
    for (const char *s = choices; s; s = strchr(s, '|'), s = s ? s + 1 : NULL) {
        const size_t n = strcspn(s, "|");
        if (n == strlen(v) && !strncasecmp(s, v, n)) return strndup(s, n);
    }
    return NULL;
}

static int set_str(char **out, const tn_key *k, const tn_ynode *n, tn_error *err)
{
    char buf[240];
    if (n->kind != TN_Y_SCALAR) return values_wrong(n, k, "text", err);
    char *text = k->choices ? choice_of(k->choices, n->text) : strdup(n->text);
    if (!text && k->choices) {
        snprintf(buf, sizeof buf, "one of %s", k->choices);
        return values_wrong(n, k, buf, err);
    }
    free(*out);
    *out = text;
    return text ? 0 : tn_oom(err);
}

static int set_strs(tn_strs *out, const tn_key *k, const tn_ynode *n, tn_error *err)
{
    tn_strs_free(out);
    if (n->kind == TN_Y_SCALAR && n->text[0]) return tn_strs_add(out, n->text) ? 0 : tn_oom(err);
    if (n->kind != TN_Y_SEQ) return values_wrong(n, k, "a list of names", err);
    for (int i = 0; i < n->n; i++) {
        if (n->child[i]->kind != TN_Y_SCALAR || tn_yaml_is_null(n->child[i]))
            return values_wrong(n->child[i], k, "a list of names", err);
        if (!tn_strs_add(out, n->child[i]->text)) return tn_oom(err);
    }
    return 0;
}

static int set_names(tn_names *out, const tn_key *k, const tn_ynode *n, tn_error *err)
{
    free(out->pattern);
    out->pattern = NULL;
    tn_strs_free(&out->list);
    if (n->kind != TN_Y_SCALAR || !n->text[0]) return set_strs(&out->list, k, n, err);
    out->pattern = strdup(n->text);
    return out->pattern ? 0 : tn_oom(err);
}

static int set_pairs(tn_pairs *out, const tn_key *k, const tn_ynode *n, tn_error *err)
{
    char buf[96];
    if (n->kind != TN_Y_MAP) return values_wrong(n, k, "a mapping from names to numbers", err);
    tn_strs_free(&out->key);
    free(out->value);
    out->value = calloc((size_t)n->n + 1, sizeof *out->value);
    if (!out->value) return tn_oom(err);
    for (int i = 0; i < n->n; i++) {
        double v;
        const bool whole = k->min >= 1;
        if (!tn_yaml_number(n->child[i], &v) || !in_range(k, v) || (whole && v != floor(v)))
            return values_wrong(n->child[i], k, range_text(buf, sizeof buf, k, whole ? "whole numbers" : "numbers"), err);
        if (!tn_strs_add(&out->key, n->child[i]->key)) return tn_oom(err);
        out->value[i] = v;
    }
    return 0;
}

static int set_ints(tn_ints *out, const tn_key *k, const tn_ynode *n, tn_error *err)
{
    char buf[96];
    const bool layers = k->type == TN_S_LAYERS;
    const int most = layers ? TN_LAYER_INTS : TN_INTS;
    out->n = 0;
    if (layers && n->kind == TN_Y_SCALAR) return set_int(&out->v[out->n++], k, n, err);
    snprintf(buf, sizeof buf, "a list of at most %d whole numbers", most);
    if (n->kind != TN_Y_SEQ || n->n > most) return values_wrong(n, k, buf, err);
    for (int i = 0; i < n->n; i++) TN_TRY(set_int(&out->v[out->n++], k, n->child[i], err));
    return 0;
}

static int set_pair(tn_pair *out, const tn_key *k, const tn_ynode *n, tn_error *err)
{
    if (n->kind != TN_Y_SEQ || n->n != 2) return values_wrong(n, k, "[width, height]", err);
    TN_TRY(set_int(&out->w, k, n->child[0], err));
    TN_TRY(set_int(&out->h, k, n->child[1], err));
    out->set = true;
    return 0;
}

static int set_range(tn_interval *out, const tn_key *k, const tn_ynode *n, tn_error *err)
{
    if (n->kind != TN_Y_SEQ || n->n != 2) return values_wrong(n, k, "[least, most]", err);
    TN_TRY(set_float(&out->least, k, n->child[0], err));
    TN_TRY(set_float(&out->most, k, n->child[1], err));
    out->set = true;
    return out->least <= out->most ? 0 : values_wrong(n->child[0], k, "[least, most] with the smaller number first", err);
}

static void free_names(tn_names *n)
{
    tn_strs_free(&n->list);
    free(n->pattern);
    n->pattern = NULL;
}

static void free_pairs(tn_pairs *p)
{
    tn_strs_free(&p->key);
    free(p->value);
    p->value = NULL;
}

static void set_null(const tn_key *k, void *at)
{
    if (tn_key_is_text(k)) {
        free(*(char **)at);
        *(char **)at = NULL;
    }
    if (k->type == TN_S_STRS) tn_strs_free(at);
    if (k->type == TN_S_INTS || k->type == TN_S_LAYERS) ((tn_ints *)at)->n = 0;
    if (k->type == TN_S_PAIR) ((tn_pair *)at)->set = false;
    if (k->type == TN_S_RANGE) ((tn_interval *)at)->set = false;
    if (k->type == TN_S_NAMES) free_names(at);
    if (k->type == TN_S_PAIRS) free_pairs(at);
}

int tn_value_set(tn_settings *s, const tn_key *k, const tn_ynode *n, tn_error *err)
{
    void *at = (char *)s + k->offset;
    if (tn_yaml_is_null(n)) {
        if (!k->nullable && k->type != TN_S_STRS) return values_wrong(n, k, "given", err);
        set_null(k, at);
        return 0;
    }
    switch (k->type) {
    case TN_S_BOOL: return set_bool(at, k, n, err);
    case TN_S_INT: return set_int(at, k, n, err);
    case TN_S_FLOAT: return set_float(at, k, n, err);
    case TN_S_SEED: return set_seed(at, k, n, err);
    case TN_S_PATH:
    case TN_S_STR: return set_str(at, k, n, err);
    case TN_S_STRS: return set_strs(at, k, n, err);
    case TN_S_LAYERS:
    case TN_S_INTS: return set_ints(at, k, n, err);
    case TN_S_PAIR: return set_pair(at, k, n, err);
    case TN_S_RANGE: return set_range(at, k, n, err);
    case TN_S_NAMES: return set_names(at, k, n, err);
    case TN_S_PAIRS: return set_pairs(at, k, n, err);
    case TN_S_LIMIT: return set_limit(at, k, n, err);
    default: return 0;
    }
}

int tn_value_set_default(tn_settings *s, const tn_key *k, tn_error *err)
{
    if (!k->dflt) return 0;
    tn_ynode *n;
    TN_TRY(tn_yaml_parse(&n, k->dflt, strlen(k->dflt), "default", err));
    int rc = tn_value_set(s, k, n, err);
    tn_yaml_free(n);
    return rc;
}

int tn_value_is_default(bool *is, const tn_settings *s, const tn_key *k, tn_error *err)
{
    tn_settings dflt;
    TN_TRY(tn_value_set_default(&dflt, k, err));
    const void *a = (const char *)s + k->offset, *b = (const char *)&dflt + k->offset;
    if (k->type == TN_S_BOOL) *is = *(const bool *)a == *(const bool *)b;
    else if (k->type == TN_S_INT) *is = *(const int *)a == *(const int *)b;
    else *is = *(const double *)a == *(const double *)b;
    return 0;
}

void tn_values_free(tn_settings *s)
{
    for (int i = 0; i < tn_schema_size; i++) {
        void *at = (char *)s + tn_schema[i].offset;
        if (tn_key_is_text(&tn_schema[i])) free(*(char **)at);
        if (tn_schema[i].type == TN_S_STRS) tn_strs_free(at);
        if (tn_schema[i].type == TN_S_NAMES) free_names(at);
        if (tn_schema[i].type == TN_S_PAIRS) free_pairs(at);
    }
    memset(s, 0, sizeof *s);
}
