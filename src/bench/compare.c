#include "compare.h"
#include "entry.h"
#include "units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 56, CELL = 25 };

tn_column *tn_columns_of(const tn_bench_result *const *r, int n, int *count)
{
    size_t all = 0;
    *count = 0;
    for (int i = 0; i < n; i++) all += tn_bench_devices(r[i]);
    tn_column *c = calloc(all + 1, sizeof *c);
    for (int i = 0; c && i < n; i++)
        for (size_t k = 0; k < tn_bench_devices(r[i]); k++) c[(*count)++] = (tn_column){r[i], tn_bench_device(r[i], k)};
    return c;
}

void tn_column_name(char *out, size_t n, const tn_column *c)
{
    snprintf(out, n, "%s%s%s", c->of->name, c->of->name[0] ? ": " : "", tn_bench_device_name(c->device));
}

static double busy_of(const tn_column *c)
{
    const bool cpu = !strcmp(tn_json_str(json_object_get(c->device, "identity"), "type", ""), "CPU");
    const long long processors = tn_json_int(json_object_get(c->of->j, "host"), "processors", 0);
    return cpu && processors > 0 ? tn_json_num(c->device, "others", 0) / (double)processors : 0;
}

double tn_columns_busy(const tn_column *a, const tn_column *b)
{
    return TN_MAX(busy_of(a), busy_of(b));
}

static bool has_id(const tn_compared *v, int n, const char *id)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(v[i].id, id)) return true;
    return false;
}

/* Adds what of the columns is new, of the work or of all else. */
static int add_ids(tn_compared *v, int have, const tn_column *c, int n, bool work)
{
    size_t k;
    json_t *m;
    for (int i = 0; i < n; i++) json_array_foreach(json_object_get(c[i].device, "measurements"), k, m)
        {
            const tn_compared one = {tn_json_str(m, "id", ""), tn_json_str(m, "name", ""), tn_json_str(m, "group", "")};
            if (!strcmp(one.group, "work") == work && !has_id(v, have, one.id)) v[have++] = one;
        }
    return have;
}

tn_compared *tn_compared_ids(const tn_column *c, int n, int *count)
{
    size_t room = 1;
    *count = 0;
    for (int i = 0; i < n; i++) room += json_array_size(json_object_get(c[i].device, "measurements"));
    tn_compared *v = calloc(room, sizeof *v);
    if (v) *count = add_ids(v, add_ids(v, 0, c, n, true), c, n, false);
    return v;
}

/* ---- as a table ---- */

static void compare_add_cell(tn_text *t, const json_t *base, const json_t *m, double busy)
{
    char value[TN_FIGURE], cell[96];
    if (!m) snprintf(cell, sizeof cell, "-");
    else if (!tn_bench_has_value(m)) snprintf(cell, sizeof cell, "%s", tn_json_str(m, "check", ""));
    else tn_bench_figure(value, tn_json_num(m, "value", 0), tn_json_str(m, "unit", ""));
    const bool valued = m && tn_bench_has_value(m), ratio = valued && m != base && base && tn_bench_has_value(base);
    if (valued && !ratio) snprintf(cell, sizeof cell, "%s        ", value);
    if (ratio)
        snprintf(cell, sizeof cell, "%s  %5.2f%s", value, tn_bench_ratio(base, m), tn_bench_is_noise(base, m, busy) ? "~" : " ");
    tn_text_addf(t, "  %*s", CELL, cell);
}

static void compare_as_table(tn_text *t, const tn_column *c, int n, const tn_compared *ids, int n_ids)
{
    char name[300];
    const char *group = "";
    for (int i = 0; i < n; i++) {
        const json_t *id = json_object_get(c[i].device, "identity");
        tn_column_name(name, sizeof name, &c[i]);
        tn_text_addf(t, "%c  %s; driver %s, %s effort, %s\n", 'A' + i % 26, name, tn_json_str(id, "driver", ""),
                     tn_json_str(c[i].of->j, "effort", ""), tn_json_str(c[i].of->j, "time", ""));
    }
    tn_text_addf(t, "Ratios say how much better a device is than A; ~ is noise: measuring again could turn it round.\n");
    for (int k = 0; k < n_ids; k++) {
        const json_t *base = tn_bench_find(c[0].device, ids[k].id);
        if (strcmp(group, ids[k].group) != 0) {
            tn_text_addf(t, "\n%-*s", NAME, ids[k].group);
            for (int i = 0; i < n; i++) tn_text_addf(t, "  %*c        ", CELL - 8, 'A' + i % 26);
            tn_text_addf(t, "\n");
        }
        group = ids[k].group;
        tn_text_addf(t, "  %-*.*s", NAME - 2, NAME - 2, ids[k].name);
        for (int i = 0; i < n; i++) compare_add_cell(t, base, tn_bench_find(c[i].device, ids[k].id), tn_columns_busy(&c[0], &c[i]));
        tn_text_addf(t, "\n");
    }
}

/* ---- as JSON ---- */

static json_t *cell_json(const json_t *base, const json_t *m, double busy)
{
    if (!m || !tn_bench_has_value(m)) return json_pack("{s:s}", "check", m ? tn_json_str(m, "check", "") : "absent");
    json_t *j = json_pack("{s:f, s:f, s:f}", "value", tn_json_num(m, "value", 0), "low", tn_json_num(m, "low", 0), "high",
                          tn_json_num(m, "high", 0));
    if (!j || !base || !tn_bench_has_value(base)) return j;
    json_object_set_new(j, "ratio", json_real(tn_bench_ratio(base, m)));
    json_object_set_new(j, "noise", json_boolean(base != m && tn_bench_is_noise(base, m, busy)));
    return j;
}

static json_t *compare_as_json(const tn_column *c, int n, const tn_compared *ids, int n_ids)
{
    char name[300];
    json_t *columns = json_array(), *rows = json_array();
    for (int i = 0; i < n; i++) {
        tn_column_name(name, sizeof name, &c[i]);
        json_array_append_new(columns, tn_json_text(name));
    }
    for (int k = 0; k < n_ids; k++) {
        json_t *cells = json_array();
        const json_t *base = tn_bench_find(c[0].device, ids[k].id);
        for (int i = 0; i < n; i++)
            json_array_append_new(cells, cell_json(base, tn_bench_find(c[i].device, ids[k].id), tn_columns_busy(&c[0], &c[i])));
        json_array_append_new(rows, json_pack("{s:s, s:s, s:o}", "id", ids[k].id, "name", ids[k].name, "figures", cells));
    }
    return json_pack("{s:o, s:o}", "columns", columns, "rows", rows);
}

static int comparison(const tn_column *c, int n, bool json, tn_text *t, tn_error *err)
{
    int n_ids;
    tn_compared *ids = tn_compared_ids(c, n, &n_ids);
    if (!ids) return tn_oom(err);
    if (!json) {
        compare_as_table(t, c, n, ids, n_ids);
    } else {
        json_t *j = compare_as_json(c, n, ids, n_ids);
        char *s = j ? json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) : NULL;
        tn_text_add(t, s ? s : "", s ? strlen(s) : 0);
        t->oom |= !s;
        free(s);
        json_decref(j);
    }
    free(ids);
    return t->oom ? tn_oom(err) : 0;
}

int tn_bench_compare(const tn_bench_result *const *r, int n, bool json, char **text, tn_error *err)
{
    tn_text t = {0};
    int columns;
    TN_ENTRY(err);
    TN_TRY(tn_required(r, "tn_bench_compare's results", err));
    TN_TRY(tn_required(text, "tn_bench_compare's text", err));
    tn_column *c = tn_columns_of(r, n, &columns);
    if (!c) return tn_oom(err);
    int rc = columns > 1 ? 0 : tn_fail(err, TN_ERR_ARGUMENT, "there is one device to compare: name a second result");
    if (!rc) rc = comparison(c, columns, json, &t, err);
    free(c);
    if (rc) tn_text_free(&t);
    else *text = t.s;
    return rc;
}
