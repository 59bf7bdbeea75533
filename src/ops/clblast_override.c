#include "clblast.h"
#include "dev_cl.h"

#include <clblast_c.h>

int tn_clblast_override(tn_dev *d, const char *kernel, int n, const char *const *names, const size_t *values, tn_error *err)
{
    const CLBlastStatusCode s =
        CLBlastOverrideParameters(d->cl->id, kernel, CLBlastPrecisionSingle, (size_t)n, (const char **)(uintptr_t)names, values);
    if (s == CLBlastSuccess) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "CLBlast takes no such parameters for its kernel %s (%d)", kernel, (int)s);
}
