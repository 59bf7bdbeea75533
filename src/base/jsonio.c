#include "jsonio.h"
#include "files.h"
#include "utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int tn_json_parse(json_t **out, const char *text, size_t len, const char *where, tn_error *err)
{
    json_error_t je;
    *out = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    if (!*out) return tn_fail(err, TN_ERR_FORMAT, "%s: not valid JSON (line %d column %d: %s)", where, je.line, je.column, je.text);
    return 0;
}

int tn_json_read(json_t **out, const char *path, tn_error *err)
{
    char *text;
    size_t len;
    TN_TRY(tn_read_file(&text, &len, path, err));
    int rc = tn_json_parse(out, text, len, path, err);
    free(text);
    return rc;
}

int tn_json_write(const json_t *v, const char *path, tn_error *err)
{
    char *s = json_dumps(v, JSON_INDENT(2) | JSON_SORT_KEYS);
    if (!s) return tn_oom(err);
    char *t = tn_strf("%s\n", s);
    free(s);
    if (!t) return tn_oom(err);
    int rc = tn_write_file(path, t, strlen(t), err);
    free(t);
    return rc;
}

long long tn_json_int(const json_t *o, const char *key, long long dflt)
{
    const json_t *v = json_object_get(o, key);
    return json_is_integer(v) ? json_integer_value(v) : dflt;
}

double tn_json_num(const json_t *o, const char *key, double dflt)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : dflt;
}

int tn_json_bool(const json_t *o, const char *key, int dflt)
{
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : dflt;
}

const char *tn_json_str(const json_t *o, const char *key, const char *dflt)
{
    const json_t *v = json_object_get(o, key);
    return json_is_string(v) ? json_string_value(v) : dflt;
}

json_t *tn_json_number(double v)
{
    return v == floor(v) && fabs(v) < 1e15 ? json_integer((json_int_t)v) : json_real(v);
}

json_t *tn_json_real(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

json_t *tn_json_text(const char *s)
{
    char *clean = s ? tn_utf8_clean(s) : NULL;
    json_t *j = clean ? json_string(clean) : s ? NULL : json_null();
    free(clean);
    return j;
}
