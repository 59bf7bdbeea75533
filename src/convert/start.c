#include "start.h"
#include "model.h"

#include <string.h>
#include <strings.h>

int tn_wrong_base(const tn_adapter *a, const char *name, int rows, int cols, tn_error *err)
{
    return tn_fail(err, TN_ERR_FORMAT, "adapter '%s' does not fit '%s' [%d, %d]; it was made for another base", a->dir, name, rows,
                   cols);
}

static bool is_olora(const tn_adapter *a)
{
    return !strcasecmp(tn_adapter_init(a), "olora");
}

bool tn_start_is_low_rank(const tn_adapter *a)
{
    return is_olora(a) || tn_pissa_iterations(tn_adapter_init(a)) >= 0;
}

int tn_start_factors(float *B0, float *A0, float *scale, const tn_adapter *a, const tn_adapter_module *m, const float *w,
                     tn_error *err)
{
    const int iterations = tn_pissa_iterations(tn_adapter_init(a));
    if (m->r > TN_MIN(m->in, m->out))
        return tn_fail(err, TN_ERR_FORMAT, "adapter '%s': rank %d at '%s' is more than its base has, so it cannot have begun as %s",
                       a->dir, m->r, m->path, tn_adapter_init(a));
    const tn_low_rank_of of = {w, m->out, m->in, m->r, TN_MAX(iterations, 0), 42};
    *scale = is_olora(a) ? m->scale : 1; /* PiSSA's factors hold the scale already */
    return is_olora(a) ? tn_leading_qr(&of, B0, A0, err) : tn_low_rank(&of, B0, A0, err);
}
