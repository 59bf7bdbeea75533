#include "result.h"
#include "entry.h"
#include "files.h"

#include <stdlib.h>
#include <string.h>

int tn_bench_result_new(tn_bench_result **out, json_t *j, const char *name, tn_error *err)
{
    tn_bench_result *r = *out = calloc(1, sizeof *r);
    if (r) r->name = strdup(name);
    if (r && r->name && j) {
        r->j = j;
        return 0;
    }
    json_decref(j);
    free(r);
    *out = NULL;
    return tn_oom(err);
}

void tn_bench_free(tn_bench_result *r)
{
    if (!r) return;
    json_decref(r->j);
    free(r->name);
    free(r);
}

size_t tn_bench_devices(const tn_bench_result *r)
{
    return json_array_size(json_object_get(r->j, "devices"));
}

json_t *tn_bench_device(const tn_bench_result *r, size_t i)
{
    return json_array_get(json_object_get(r->j, "devices"), i);
}

const char *tn_bench_device_name(const json_t *device)
{
    return tn_json_str(json_object_get(device, "identity"), "name", "");
}

bool tn_bench_has_value(const json_t *m)
{
    return json_is_number(json_object_get(m, "value"));
}

json_t *tn_bench_find(const json_t *device, const char *id)
{
    size_t i;
    json_t *m;
    json_array_foreach(json_object_get(device, "measurements"), i, m) if (!strcmp(tn_json_str(m, "id", ""), id)) return m;
    return NULL;
}

int tn_bench_failures(const tn_bench_result *r)
{
    int failed = 0;
    for (size_t i = 0; r && i < tn_bench_devices(r); i++) {
        size_t k;
        json_t *m;
        json_array_foreach(json_object_get(tn_bench_device(r, i), "measurements"), k, m) failed +=
            !strcmp(tn_json_str(m, "check", ""), "failed");
    }
    return failed;
}

int tn_bench_json(const tn_bench_result *r, char **text, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(r, "tn_bench_json's result", err));
    TN_TRY(tn_required(text, "tn_bench_json's text", err));
    *text = json_dumps(r->j, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(9));
    return *text ? 0 : tn_oom(err);
}

int tn_bench_write(const tn_bench_result *r, const char *path, tn_error *err)
{
    char *text;
    TN_ENTRY(err);
    TN_TRY(tn_required(path, "tn_bench_write's path", err));
    TN_TRY(tn_bench_json(r, &text, err));
    const int rc = tn_write_file(path, text, strlen(text), err);
    free(text);
    return rc;
}

/* ---- reading: everything that the rest of this room takes for granted ---- */

/* NULL: all is there; else what is not. */
static const char *measurement_lacks(const json_t *m)
{
    static const char *const texts[] = {"id", "group", "name", "unit", "better", "check"}, *const numbers[] = {"low", "high"};
    for (size_t i = 0; i < TN_COUNT(texts); i++)
        if (!json_is_string(json_object_get(m, texts[i]))) return texts[i];
    for (size_t i = 0; i < TN_COUNT(numbers); i++)
        if (tn_bench_has_value(m) && !json_is_number(json_object_get(m, numbers[i]))) return numbers[i];
    return NULL;
}

static int device_check(const json_t *d, const char *path, size_t at, tn_error *err)
{
    size_t i;
    json_t *m;
    if (!json_is_object(json_object_get(d, "identity")) || !json_is_array(json_object_get(d, "measurements")))
        return tn_fail(err, TN_ERR_FORMAT,
                       "%s: device %zu has no identity or no measurements; it was not written by 'tracknet bench'", path, at);
    json_array_foreach(json_object_get(d, "measurements"), i, m)
    {
        const char *lacks = measurement_lacks(m);
        if (lacks)
            return tn_fail(err, TN_ERR_FORMAT, "%s: measurement %zu of device %zu has no '%s'; docs/bench.md has the schema", path,
                           i, at, lacks);
    }
    return 0;
}

static int document_check(const json_t *j, const char *path, tn_error *err)
{
    size_t i;
    json_t *d;
    const long long version = tn_json_int(j, "version", 0);
    if (!json_is_object(j) || strcmp(tn_json_str(j, "schema", ""), TN_BENCH_SCHEMA) != 0)
        return tn_fail(err, TN_ERR_FORMAT, "%s is JSON, but no result of 'tracknet bench --json' (its \"schema\" is not \"%s\")",
                       path, TN_BENCH_SCHEMA);
    if (version != TN_BENCH_SCHEMA_VERSION)
        return tn_fail(
            err, TN_ERR_FORMAT,
            "%s has version %lld of the schema, this tracknet reads version %d: measure again with this one, or compare with "
            "the tracknet that wrote it (%s)",
            path, version, TN_BENCH_SCHEMA_VERSION, tn_json_str(j, "tracknet", "not said"));
    if (!json_array_size(json_object_get(j, "devices"))) return tn_fail(err, TN_ERR_FORMAT, "%s has no devices", path);
    json_array_foreach(json_object_get(j, "devices"), i, d) TN_TRY(device_check(d, path, i, err));
    return 0;
}

int tn_bench_read(tn_bench_result **out, const char *path, tn_error *err)
{
    json_t *j = NULL;
    TN_ENTRY(err);
    TN_TRY(tn_required(out, "tn_bench_read's result", err));
    TN_TRY(tn_required(path, "tn_bench_read's path", err));
    *out = NULL;
    TN_TRY(tn_json_read(&j, path, err));
    const int rc = document_check(j, path, err);
    if (rc) {
        json_decref(j);
        return rc;
    }
    const char *slash = strrchr(path, '/');
    return tn_bench_result_new(out, j, slash ? slash + 1 : path, err);
}
