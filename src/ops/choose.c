/* Which row runs an operation. */
#include "tuning.h"
#include "used.h"

#include <string.h>

/* A name that no operation has is told when the first row is chosen. */
static int check_list(const tn_ctx *c, tn_error *err)
{
    return c->registry ? tn_variant_list_check(c->dev->variants, c->registry->ops, err) : 0;
}

/* The last row is right everywhere: the self-test and the tests have it. */
static int row_is_good(bool *good, tn_ctx *c, const tn_variant_op *op, int row, const void *args, tn_error *err)
{
    *good = row == op->n - 1;
    return *good || !c->registry ? 0 : c->registry->check(good, c->dev, op, row, args, err);
}

int tn_variant_choose(tn_choice *out, tn_ctx *c, const tn_variant_op *op, const void *args, tn_error *err)
{
    const int forced = tn_variant_forced(c->dev->variants, op);
    bool good = false;
    TN_TRY(check_list(c, err));
    *out = tn_variant_defaults(op, op->n - 1);
    if (forced >= 0 && tn_variant_can(c, &op->rows[forced], args)) {
        *out = tn_variant_defaults(op, forced);
        good = c->plan_only;
        if (!good) TN_TRY(row_is_good(&good, c, op, forced, args, err));
        if (good) return 0;
    }
    TN_TRY(tn_tuned(&good, out, c->dev, op, args, err));
    if (good && tn_variant_can(c, &op->rows[out->row], args)) return 0;
    for (int i = 0; i < op->n; i++) {
        const bool last = i == op->n - 1; /* what is left where nothing else was good */
        if (tn_variant_apart(c->dev, &op->rows[i]) || !tn_variant_tries(c, op, i, args, last)) continue;
        *out = tn_variant_defaults(op, i);
        good = c->plan_only;
        const int rc = good ? 0 : row_is_good(&good, c, op, i, args, err);
        if (rc == TN_ERR_MEMORY) continue; /* no room to check it */
        if (rc || good) return rc;
    }
    return tn_fail(err, TN_ERR_ARGUMENT, "%s: no variant runs these arguments", op->name);
}

/* In a self-test: the row under test for its own kind, the last row for everything else. */
static tn_choice forced_choice(tn_ctx *c, const tn_variant_op *op, const void *args)
{
    tn_forced *f = c->forced;
    char kind[TN_KEY];
    op->kind(kind, sizeof kind, args);
    if (f->op != op || (f->kind && strcmp(f->kind, kind)) || !tn_variant_can(c, &op->rows[f->row], args))
        return tn_variant_defaults(op, op->n - 1);
    f->runs++;
    return tn_variant_defaults(op, f->row);
}

static int choose_want(tn_ctx *c, const tn_variant_op *op, const void *args, tn_error *err)
{
    TN_TRY(check_list(c, err));
    return tn_wanted_add(c->wanted, c, op, args, err);
}

int tn_variant_pick(tn_choice *out, tn_ctx *c, const tn_variant_op *op, const void *args, tn_error *err)
{
    *out = tn_variant_defaults(op, op->n - 1);
    if (c->forced) *out = forced_choice(c, op, args);
    else if (c->wanted) TN_TRY(choose_want(c, op, args, err));
    else {
        TN_TRY(tn_variant_choose(out, c, op, args, err));
        if (!c->dry) TN_TRY(tn_used_note(c, op, out, args, err));
    }
    return 0;
}

int tn_variant_run(tn_ctx *c, const tn_variant_op *op, const void *args, tn_error *err)
{
    tn_choice k;
    TN_TRY(tn_variant_pick(&k, c, op, args, err));
    return tn_variant_run_row(c, op, &k, args, err);
}
