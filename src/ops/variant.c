#include "variant.h"

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

int tn_variant_run(tn_ctx *c, const tn_variant_op *op, const void *args, tn_error *err)
{
    for (int i = 0; i < op->n; i++)
        if (tn_variant_can(c, &op->rows[i], args)) return op->rows[i].run(c, args, err);
    return tn_fail(err, TN_ERR_ARGUMENT, "%s: no variant runs these arguments", op->name);
}
