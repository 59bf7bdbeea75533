#include "tuning.h"

void tn_ctx_init(tn_ctx *c, tn_dev *d)
{
    tn_ctx_bare(c, d);
    c->registry = &tn_registry_checked;
}
