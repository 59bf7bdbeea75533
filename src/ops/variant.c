#include "tuning.h"
#include "used.h"

#include <stdio.h>
#include <string.h>

bool tn_variant_can(const tn_ctx *c, const tn_variant *v, const void *args)
{
    return (c->dev->caps & v->needs) == v->needs && (!v->can || v->can(c, args));
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

int tn_variant_list_check(const char *list, tn_error *err)
{
    char o[TN_KEY], name[TN_KEY];
    while (next_entry(&list, o, name, sizeof o)) {
        bool found = false;
        for (int i = 0; tn_variant_ops[i]; i++)
            found |= (!o[0] || !strcmp(o, tn_variant_ops[i]->name)) && tn_variant_find(tn_variant_ops[i], name) >= 0;
        if (!found)
            return tn_fail(err, TN_ERR_ARGUMENT, "no operation has a kernel variant '%s%s%s'; 'tracknet devices --tune' lists them",
                           o, o[0] ? "=" : "", name);
    }
    return 0;
}

int tn_variant_choose(tn_choice *out, tn_ctx *c, const tn_variant_op *op, const void *args, tn_error *err)
{
    const int forced = tn_variant_forced(c->dev->variants, op);
    bool good = false;
    *out = tn_variant_defaults(op, op->n - 1);
    if (forced >= 0 && tn_variant_can(c, &op->rows[forced], args)) {
        *out = tn_variant_defaults(op, forced);
        TN_TRY(tn_checked(&good, c->dev, op, forced, args, err));
        if (good) return 0;
    }
    TN_TRY(tn_tuned(&good, out, c->dev, op, args, err));
    if (good && tn_variant_can(c, &op->rows[out->row], args)) return 0;
    for (int i = 0; i < op->n; i++) {
        const bool slow = op->rows[i].slow_to_build && (c->dev->caps & TN_CAP_CPU);
        if (slow || !tn_variant_can(c, &op->rows[i], args)) continue;
        *out = tn_variant_defaults(op, i);
        good = c->plan_only;
        if (!good) TN_TRY(tn_checked(&good, c->dev, op, i, args, err));
        if (good) return 0;
    }
    return tn_fail(err, TN_ERR_ARGUMENT, "%s: no variant runs these arguments", op->name);
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

/* In a self-test: the row under test for its own kind, the last row for everything else. */
static tn_choice forced_choice(tn_ctx *c, const tn_variant_op *op, const void *args)
{
    tn_forced *f = c->forced;
    char kind[TN_KEY];
    op->kind(kind, sizeof kind, args);
    if (f->op != op || (f->kind && strcmp(f->kind, kind)) || !tn_variant_can(c, &op->rows[f->row], args))
        return tn_variant_defaults(op, op->n - 1);
    f->runs += !c->dry;
    return tn_variant_defaults(op, f->row);
}

int tn_variant_run(tn_ctx *c, const tn_variant_op *op, const void *args, tn_error *err)
{
    tn_choice k = tn_variant_defaults(op, op->n - 1);
    if (c->forced) k = forced_choice(c, op, args);
    else if (c->wanted) TN_TRY(tn_wanted_add(c->wanted, c->dev, op, args, err));
    else {
        TN_TRY(tn_variant_choose(&k, c, op, args, err));
        if (!c->dry) TN_TRY(tn_used_note(c, op, &k, args, err));
    }
    return tn_variant_run_row(c, op, &k, args, err);
}
