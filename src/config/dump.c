/* Settings -> YAML. */
#include "binary.h"
#include "fail.h"
#include "numeric.h"
#include "settings.h"
#include "utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A character that YAML reads only as an escape: controls, DEL, C1, line ends of Unicode, a byte order mark, no character. */
static bool needs_escape(uint32_t c)
{
    return c < 32 || (c >= 127 && c < 160) || c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe || c == 0xffff;
}

/* Bytes that are no text in UTF-8, as a path may hold, are what YAML calls !!binary. */
static void put_string(tn_text *t, const char *s)
{
    const bool text = s && tn_is_utf8(s);
    tn_text_addf(t, s ? text ? "\"" : "!!binary \"" : "null");
    if (s && !text) tn_base64_add(t, s, strlen(s));
    uint32_t c;
    for (int n; text && *s; s += n) {
        n = tn_utf8_character(s, &c);
        if (c == '"' || c == '\\') tn_text_addf(t, "\\%c", (int)c);
        else if (needs_escape(c)) tn_text_addf(t, c < 256 ? "\\x%02X" : "\\u%04X", (unsigned)c);
        else tn_text_add(t, s, (size_t)n);
    }
    if (s) tn_text_addf(t, "\"");
}

/* PyYAML takes 1e-05 for text: a number has a point. */
static void dump_put_float(tn_text *t, double v)
{
    char buf[TN_NUMBER_TEXT];
    tn_print_double(buf, v);
    const size_t head = strcspn(buf, "e");
    tn_text_addf(t, "%.*s%s%s", (int)head, buf, memchr(buf, '.', head) ? "" : ".0", buf + head);
}

/* As before, but a whole number stays one. */
static void dump_put_number(tn_text *t, double v)
{
    if (v == floor(v) && fabs(v) < 1e15) tn_text_addf(t, "%.0f", v);
    else dump_put_float(t, v);
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
        tn_text_addf(t, ": ");
        dump_put_number(t, p->value[i]);
    }
    tn_text_addf(t, "}");
}

static void put_range(tn_text *t, const tn_interval *s)
{
    tn_text_addf(t, s->set ? "[" : "null");
    if (!s->set) return;
    dump_put_float(t, s->least);
    tn_text_addf(t, ", ");
    dump_put_float(t, s->most);
    tn_text_addf(t, "]");
}

static void put_value(tn_text *t, const tn_settings *s, const tn_key *k)
{
    const void *at = (const char *)s + k->offset;
    switch (k->type) {
    case TN_S_BOOL: tn_text_addf(t, "%s", *(const bool *)at ? "true" : "false"); break;
    case TN_S_INT: tn_text_addf(t, "%d", *(const int *)at); break;
    case TN_S_FLOAT: dump_put_float(t, *(const double *)at); break;
    case TN_S_SEED: tn_text_addf(t, "%" PRIu64, *(const uint64_t *)at); break;
    case TN_S_LIMIT: put_limit(t, *(const double *)at); break;
    case TN_S_PATH:
    case TN_S_STR: put_string(t, *(char *const *)at); break;
    case TN_S_STRS: put_strings(t, at); break;
    case TN_S_NAMES: {
        const tn_names *l = at;
        if (l->pattern) put_string(t, l->pattern);
        else put_strings(t, &l->list);
        break;
    }
    case TN_S_PAIRS: put_pairs(t, at); break;
    case TN_S_LAYERS:
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
    case TN_S_RANGE: put_range(t, at); break;
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
