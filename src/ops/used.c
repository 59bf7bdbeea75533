#include "used.h"

#include <stdio.h>
#include <string.h>

static void used_value(char *out, size_t n, const tn_variant_op *op, const tn_choice *k)
{
    const tn_variant *v = &op->rows[k->row];
    size_t at = (size_t)snprintf(out, n, "%s", v->name);
    for (int i = 0; v->tunables && v->tunables[i].name && at < n; i++) at += (size_t)snprintf(out + at, n - at, " %d", k->tune[i]);
}

int tn_used_note(tn_ctx *c, const tn_variant_op *op, const tn_choice *k, const void *args, tn_error *err)
{
    char key[TN_KEY], value[TN_KEY];
    if (!c->used) c->used = json_object();
    json_t *of = c->used ? json_object_get(c->used, op->name) : NULL;
    if (!of && !json_object_set_new(c->used, op->name, json_object())) of = json_object_get(c->used, op->name);
    op->key(key, sizeof key, args);
    used_value(value, sizeof value, op, k);
    return of && !json_object_set_new(of, key, json_string(value)) ? 0 : tn_oom(err);
}

int tn_used_differences(const json_t *before, const json_t *now, char *first, size_t n)
{
    const char *op, *key;
    json_t *shapes, *value;
    int count = 0;
    json_object_foreach((json_t *)now, op, shapes)
    {
        json_object_foreach(shapes, key, value)
        {
            const char *was = json_string_value(json_object_get(json_object_get(before, op), key)), *is = json_string_value(value);
            if (!was || !is || !strcmp(was, is)) continue;
            if (!count++) snprintf(first, n, "%s %s by '%s', now by '%s'", op, key, was, is);
        }
    }
    return count;
}
