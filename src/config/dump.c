/* Settings -> YAML. */
#include "fail.h"
#include "settings.h"
#include "text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_string(tn_text *t, const char *s)
{
    if (!s) {
        tn_text_addf(t, "null");
        return;
    }
    tn_text_addf(t, "\"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') tn_text_addf(t, "\\%c", *s);
        else if ((unsigned char)*s < 32) tn_text_addf(t, "\\x%02x", (unsigned char)*s);
        else tn_text_add(t, s, 1);
    }
    tn_text_addf(t, "\"");
}

static void dump_put_float(tn_text *t, double v)
{
    char buf[40];
    for (int p = 6; p <= 17; p++) {
        snprintf(buf, sizeof buf, "%.*g", p, v);
        if (strtod(buf, NULL) == v) break;
    }
    tn_text_addf(t, "%s%s", buf, strpbrk(buf, ".en") ? "" : ".0");
}

/* The point is what makes a fraction of a number. */
static void put_limit(tn_text *t, double v)
{
    if (v > 0 && v < 1) dump_put_float(t, v);
    else tn_text_addf(t, "%.0f", v);
}

static void put_strings(tn_text *t, const tn_strs *l)
{
    tn_text_addf(t, "[");
    for (int i = 0; i < l->n; i++) {
        if (i) tn_text_addf(t, ", ");
        put_string(t, l->v[i]);
    }
    tn_text_addf(t, "]");
}

static void put_pairs(tn_text *t, const tn_pairs *p)
{
    tn_text_addf(t, "{");
    for (int i = 0; i < p->key.n; i++) {
        if (i) tn_text_addf(t, ", ");
        put_string(t, p->key.v[i]);
        tn_text_addf(t, ": %.17g", p->value[i]);
    }
    tn_text_addf(t, "}");
}

static void put_value(tn_text *t, const tn_settings *s, const tn_key *k)
{
    const void *at = (const char *)s + k->offset;
    switch (k->type) {
    case TN_S_BOOL: tn_text_addf(t, "%s", *(const bool *)at ? "true" : "false"); break;
    case TN_S_INT: tn_text_addf(t, "%d", *(const int *)at); break;
    case TN_S_FLOAT: dump_put_float(t, *(const double *)at); break;
    case TN_S_LIMIT: put_limit(t, *(const double *)at); break;
    case TN_S_STR: put_string(t, *(char *const *)at); break;
    case TN_S_STRS: put_strings(t, at); break;
    case TN_S_NAMES: {
        const tn_names *l = at;
        if (l->pattern) put_string(t, l->pattern);
        else put_strings(t, &l->list);
        break;
    }
    case TN_S_PAIRS: put_pairs(t, at); break;
    case TN_S_INTS: {
        const tn_ints *l = at;
        tn_text_addf(t, "[");
        for (int i = 0; i < l->n; i++) tn_text_addf(t, "%s%d", i ? ", " : "", l->v[i]);
        tn_text_addf(t, "]");
        break;
    }
    case TN_S_PAIR: {
        const tn_pair *p = at;
        if (p->set) tn_text_addf(t, "[%d, %d]", p->w, p->h);
        else tn_text_addf(t, "null");
        break;
    }
    default: break;
    }
}

/* Opens the sections that `name` has and `last` had not; returns the depth of the leaf. */
static int open_sections(tn_text *t, const char *name, const char *last)
{
    int depth = 0;
    bool same = true;
    for (const char *dot; (dot = strchr(name, '.')); name = dot + 1, depth++) {
        size_t n = (size_t)(dot - name) + 1;
        same = same && !strncmp(name, last, n);
        if (same) last += n;
        else tn_text_addf(t, "%*s%.*s:\n", depth * 2, "", (int)n - 1, name);
    }
    return depth;
}

int tn_settings_dump(const tn_settings *s, char **yaml, tn_error *err)
{
    tn_text t = {0};
    const char *last = "";
    for (int i = 0; i < tn_schema_size; i++) {
        const tn_key *k = &tn_schema[i];
        if (k->type == TN_S_UNUSED) continue;
        int depth = open_sections(&t, k->name, last);
        tn_text_addf(&t, "%*s%s: ", depth * 2, "", strrchr(k->name, '.') + 1);
        put_value(&t, s, k);
        tn_text_addf(&t, "\n");
        last = k->name;
    }
    if (t.oom) {
        tn_text_free(&t);
        return tn_oom(err);
    }
    *yaml = t.s;
    return 0;
}
