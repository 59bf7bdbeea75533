/* Typed setters and getters: values by dotted key, no YAML in between. */
#include "entry.h"
#include "values.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALLER "setting"

static int access_scalar(tn_config *c, const char *key, const char *text, bool quoted, tn_error *err)
{
    tn_ynode *n = tn_yaml_new_scalar(text, quoted, CALLER);
    return n ? tn_config_put(c, key, n, err) : tn_oom(err);
}

int tn_config_set_str(tn_config *c, const char *key, const char *value, tn_error *err)
{
    TN_ENTRY(err);
    const tn_key *k = key ? tn_key_find_moved(key) : NULL;
    const bool number = k && (k->type == TN_S_INT || k->type == TN_S_FLOAT || k->type == TN_S_SEED);
    if (value && number) return tn_fail(err, TN_ERR_CONFIG, CALLER ": %s must be a number, not the text '%s'", key, value);
    return value ? access_scalar(c, key, value, true, err) : access_scalar(c, key, "null", false, err);
}

int tn_config_set_int(tn_config *c, const char *key, long long value, tn_error *err)
{
    char text[32];
    TN_ENTRY(err);
    snprintf(text, sizeof text, "%lld", value);
    return access_scalar(c, key, text, false, err);
}

int tn_config_set_real(tn_config *c, const char *key, double value, tn_error *err)
{
    char text[40];
    TN_ENTRY(err);
    if (!isfinite(value)) return tn_fail(err, TN_ERR_CONFIG, CALLER ": %s must be a finite number", key ? key : "(NULL)");
    snprintf(text, sizeof text, "%.17g", value);
    return access_scalar(c, key, text, false, err);
}

int tn_config_set_bool(tn_config *c, const char *key, bool value, tn_error *err)
{
    TN_ENTRY(err);
    return access_scalar(c, key, value ? "true" : "false", false, err);
}

static int access_append(tn_ynode *seq, const char *text, bool quoted, tn_error *err)
{
    tn_ynode *n = tn_yaml_new_scalar(text, quoted, CALLER);
    return tn_yaml_add(seq, n) ? 0 : tn_oom(err);
}

int tn_config_set_list(tn_config *c, const char *key, const char *const *values, int n, tn_error *err)
{
    TN_ENTRY(err);
    if (n) TN_TRY(tn_required(values, "tn_config_set_list's values", err));
    tn_ynode *seq = tn_yaml_new(TN_Y_SEQ, CALLER);
    int rc = seq ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < n; i++) {
        rc = tn_required(values[i], "an entry of tn_config_set_list's values", err);
        if (!rc) rc = access_append(seq, values[i], true, err);
    }
    if (!rc) return tn_config_put(c, key, seq, err);
    tn_yaml_free(seq);
    return rc;
}

int tn_config_set_ints(tn_config *c, const char *key, const int *values, int n, tn_error *err)
{
    TN_ENTRY(err);
    if (n) TN_TRY(tn_required(values, "tn_config_set_ints' values", err));
    tn_ynode *seq = tn_yaml_new(TN_Y_SEQ, CALLER);
    int rc = seq ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < n; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", values[i]);
        rc = access_append(seq, text, false, err);
    }
    if (!rc) return tn_config_put(c, key, seq, err);
    tn_yaml_free(seq);
    return rc;
}

/* The field of a key that has one of two types. */
static int access_field(const void **at, const tn_config *c, const char *key, tn_stype a, tn_stype b, tn_error *err)
{
    TN_TRY(tn_required(c, "the configuration", err));
    TN_TRY(tn_required(key, "a getter's key", err));
    const tn_key *k = tn_key_find_moved(key);
    if (!k) return tn_fail(err, TN_ERR_CONFIG, "there is no key '%s'; docs/configuration.md lists them", key);
    const tn_stype type = k->type == TN_S_LIMIT ? TN_S_FLOAT : k->type;
    if (type != a && type != b) return tn_fail(err, TN_ERR_CONFIG, "%s is of another kind than was asked for", k->name);
    *at = (const char *)tn_config_settings(c) + k->offset;
    return 0;
}

int tn_config_get_str(const tn_config *c, const char *key, const char **value, tn_error *err)
{
    const void *at = NULL;
    TN_ENTRY(err);
    TN_TRY(tn_required(value, "tn_config_get_str's value", err));
    TN_TRY(access_field(&at, c, key, TN_S_STR, TN_S_PATH, err));
    *value = *(char *const *)at;
    return 0;
}

int tn_config_get_int(const tn_config *c, const char *key, long long *value, tn_error *err)
{
    const void *at = NULL;
    TN_ENTRY(err);
    TN_TRY(tn_required(value, "tn_config_get_int's value", err));
    TN_TRY(access_field(&at, c, key, TN_S_INT, TN_S_SEED, err));
    const bool seed = tn_key_find_moved(key)->type == TN_S_SEED;
    if (seed && *(const uint64_t *)at > LLONG_MAX)
        return tn_fail(err, TN_ERR_CONFIG, "%s is %" PRIu64 ", more than a long long holds", key, *(const uint64_t *)at);
    *value = seed ? (long long)*(const uint64_t *)at : *(const int *)at;
    return 0;
}

int tn_config_get_real(const tn_config *c, const char *key, double *value, tn_error *err)
{
    const void *at = NULL;
    TN_ENTRY(err);
    TN_TRY(tn_required(value, "tn_config_get_real's value", err));
    TN_TRY(access_field(&at, c, key, TN_S_FLOAT, TN_S_INT, err));
    *value = tn_key_find_moved(key)->type == TN_S_INT ? *(const int *)at : *(const double *)at;
    return 0;
}

int tn_config_get_bool(const tn_config *c, const char *key, bool *value, tn_error *err)
{
    const void *at = NULL;
    TN_ENTRY(err);
    TN_TRY(tn_required(value, "tn_config_get_bool's value", err));
    TN_TRY(access_field(&at, c, key, TN_S_BOOL, TN_S_BOOL, err));
    *value = *(const bool *)at;
    return 0;
}
