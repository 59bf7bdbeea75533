#include "variant.h"

#include <stdio.h>
#include <string.h>

#define FIRST "first"

bool tn_variant_fits(const tn_variant *v, unsigned caps)
{
    return (caps & v->needs) == v->needs && (!v->any || (caps & v->any));
}

bool tn_variant_apart(const tn_dev *d, const tn_variant *v)
{
    return v->apart || ((v->needs & TN_CAP_VECTORS) && (d->quirk_flags & TN_QUIRK_UNTRIED));
}

bool tn_variant_can(const tn_ctx *c, const tn_variant *v, const void *args)
{
    return tn_variant_fits(v, c->dev->caps) && (!v->can || v->can(c, args));
}

bool tn_variant_tries(const tn_ctx *c, const tn_variant_op *op, int row, const void *args, bool all)
{
    const bool left_out = op->rows[row].not_on_cpus && (c->dev->caps & TN_CAP_CPU);
    return (all || !left_out) && tn_variant_can(c, &op->rows[row], args);
}

int tn_variant_find(const tn_variant_op *op, const char *name)
{
    for (int i = 0; i < op->n; i++)
        if (!strcmp(op->rows[i].name, name)) return i;
    return -1;
}

tn_choice tn_variant_defaults(const tn_variant_op *op, int row)
{
    tn_choice k = {.row = row};
    const tn_tunable *t = op->rows[row].tunables;
    for (int i = 0; t && t[i].name; i++) k.tune[i] = t[i].values[0];
    return k;
}

/* The next entry of "op=name,op=name"; op is "" where the entry has no '='. */
static bool next_entry(const char **list, char *op, char *name, size_t n)
{
    const char *s = *list ? *list : "";
    s += strspn(s, ", ");
    const size_t len = strcspn(s, ",");
    const char *eq = memchr(s, '=', len);
    const size_t of_op = eq ? (size_t)(eq - s) : 0, skip = eq ? of_op + 1 : 0;
    *list = s + len;
    snprintf(op, n, "%.*s", (int)of_op, s);
    snprintf(name, n, "%.*s", (int)(len - skip), s + skip);
    return len > 0;
}

int tn_variant_forced(const char *list, const tn_variant_op *op)
{
    char o[TN_KEY], name[TN_KEY];
    int forced = -1;
    while (next_entry(&list, o, name, sizeof o)) {
        const int row = tn_variant_find(op, name);
        if (row >= 0 && (!o[0] || !strcmp(o, op->name))) forced = row;
    }
    return forced;
}

bool tn_variant_first(const char *list)
{
    char o[TN_KEY], name[TN_KEY];
    bool first = false;
    while (next_entry(&list, o, name, sizeof o)) first |= !o[0] && !strcmp(name, FIRST);
    return first;
}

int tn_variant_list_check(const char *list, const tn_variant_op *const *ops, tn_error *err)
{
    char o[TN_KEY], name[TN_KEY];
    while (next_entry(&list, o, name, sizeof o)) {
        bool found = !o[0] && !strcmp(name, FIRST);
        for (int i = 0; ops[i]; i++) found |= (!o[0] || !strcmp(o, ops[i]->name)) && tn_variant_find(ops[i], name) >= 0;
        if (!found)
            return tn_fail(err, TN_ERR_ARGUMENT, "no operation has a kernel variant '%s%s%s'; 'tracknet devices --tune' lists them",
                           o, o[0] ? "=" : "", name);
    }
    return 0;
}

int tn_variant_run_row(tn_ctx *c, const tn_variant_op *op, const tn_choice *k, const void *args, tn_error *err)
{
    int outer[TN_MAX_TUNABLES]; /* a row may run other operations */
    memcpy(outer, c->tune, sizeof outer);
    memcpy(c->tune, k->tune, sizeof outer);
    const int rc = op->rows[k->row].run(c, args, err);
    memcpy(c->tune, outer, sizeof outer);
    return rc;
}
