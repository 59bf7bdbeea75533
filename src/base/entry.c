#include "entry.h"

int tn_required(const void *p, const char *what, tn_error *err)
{
    return p ? 0 : tn_fail(err, TN_ERR_ARGUMENT, "%s is NULL, and is needed", what);
}

int tn_versioned(const void *p, unsigned newest, const char *type, tn_error *err)
{
    if (!p) return 0;
    const unsigned have = *(const unsigned *)p;
    if (have <= newest) return 0; /* 0, which = {0} leaves, is the first version */
    return tn_fail(
        err, TN_ERR_ARGUMENT,
        "a %s has version %u, and this library knows versions to %u; begin it with its INIT macro and compile against the "
        "headers of this library",
        type, have, newest);
}

int tn_struct(const void *p, unsigned newest, const char *type, tn_error *err)
{
    TN_TRY(tn_required(p, type, err));
    return tn_versioned(p, newest, type, err);
}

int tn_run_check(const tn_run_options **o, tn_error *err)
{
    static const tn_run_options defaults = TN_RUN_OPTIONS_INIT;
    if (!*o) *o = &defaults;
    TN_TRY(tn_versioned(*o, TN_RUN_OPTIONS_VERSION, "tn_run_options", err));
    if ((*o)->n_adapters < 0 || ((*o)->n_adapters && !(*o)->adapters))
        return tn_fail(err, TN_ERR_ARGUMENT, "tn_run_options has n_adapters %d without adapters", (*o)->n_adapters);
    for (int i = 0; i < (*o)->n_adapters; i++) TN_TRY(tn_required((*o)->adapters[i], "an entry of tn_run_options.adapters", err));
    return 0;
}
