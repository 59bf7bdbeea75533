/* Values of no meaning, to be timed. */
#include "tuning.h"

#include <stdlib.h>

/* The first values, and these again and again, copied on the device: a period that hardly any matrix has. */
enum { PERIOD = 65538 };

static int set_first(tn_dev *d, const tn_tensor *t, size_t n, tn_error *err)
{
    float *v = malloc((n + 1) * sizeof *v);
    if (!v) return tn_oom(err);
    tn_rng r = tn_rng_named(tn_tensor_count(t), "tuning");
    for (size_t i = 0; i < n; i++) v[i] = (float)tn_rng_normal(&r);
    const tn_tensor first = {.mem = t->mem, .off = t->off, .rows = 1, .cols = (int)n, .ld = (int)n, .dtype = t->dtype};
    const int rc = tn_tensor_set(d, &first, v, err);
    free(v);
    return rc;
}

int tn_tensor_random(tn_dev *d, const tn_tensor *t, tn_error *err)
{
    const size_t n = tn_tensor_count(t), bytes = tn_dtype_size(t->dtype), at = t->off * bytes;
    size_t have = TN_MIN(n, (size_t)PERIOD);
    TN_TRY(set_first(d, t, have, err));
    for (size_t more; have < n; have += more) {
        more = TN_MIN(have, n - have);
        TN_TRY(tn_buffer_copy(t->mem, at, t->mem, at + have * bytes, more * bytes, err));
    }
    return 0;
}
