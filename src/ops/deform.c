/* Multi-scale deformable attention: what is checked, and who runs it. */
#include "deform.h"
#include "spatial.h"

enum { MOST_WIDTH = 256, MOST_SAMPLES = 256 }; /* of a head: a group and its local memory hold them */

/* like: [B*N, D] */
static int deform_prepare(tn_deform_call *k, const tn_deform *f, const tn_tensor *like, tn_error *err)
{
    const int n = f->levels->n, cells = tn_levels_rows(f->levels, n), heads = f->heads;
    *k = (tn_deform_call){.f = f, .cells = cells, .width = like->cols, .hd = like->cols / heads, .each = n * f->points};
    k->batch = like->rows / cells, k->pairs = like->rows * heads;
    if (k->hd > MOST_WIDTH)
        return tn_fail(err, TN_ERR_ARGUMENT, "deformable attention: a head of width %d is wider than %d", k->hd, MOST_WIDTH);
    if (k->each > MOST_SAMPLES)
        return tn_fail(err, TN_ERR_ARGUMENT, "deformable attention: %d samples of %d levels each are more than %d for a head",
                       f->points, n, MOST_SAMPLES);
    if (k->hd * heads != like->cols || k->batch * cells != like->rows || f->samples->cols != 3 * heads * k->each ||
        f->samples->rows != like->rows)
        return tn_fail(err, TN_ERR_ARGUMENT,
                       "deformable attention: values [%d, %d] and samples [%d, %d] are none of %d heads, %d samples of %d cells",
                       like->rows, like->cols, f->samples->rows, f->samples->cols, heads, k->each, cells);
    TN_TRY(tn_countable("deformable attention", TN_MAX(tn_tensor_count(like), tn_tensor_count(f->samples)), err));
    tn_options levels;
    TN_TRY(tn_levels_options(&levels, f->levels, err));
    return tn_options_set(&k->sizes, err, "-DHD=%d -DHEADS=%d -DPOINTS=%d %s", k->hd, heads, f->points, levels.s);
}

int tn_deform_forward(tn_ctx *c, const tn_deform *f, tn_tensor *o, tn_error *err)
{
    tn_deform_call k;
    TN_TRY(deform_prepare(&k, f, o, err));
    TN_TRY(tn_storage(&k.act, "deformable attention", TN_LIST(f->value, f->samples, o), NULL, err));
    return (tn_deform_cpu_can(c, &k) ? tn_deform_cpu_forward : tn_deform_portable_forward)(c, &k, o, err);
}

int tn_deform_dsamples(tn_ctx *c, const tn_deform *f, const tn_tensor *d_o, tn_tensor *dsamples, tn_error *err)
{
    tn_deform_call k;
    TN_TRY(deform_prepare(&k, f, d_o, err));
    TN_TRY(tn_storage(&k.act, "deformable attention's backward", TN_LIST(f->value, f->samples, d_o, dsamples), NULL, err));
    return (tn_deform_cpu_can(c, &k) ? tn_deform_cpu_dsamples : tn_deform_portable_dsamples)(c, &k, d_o, dsamples, err);
}

int tn_deform_dvalue(tn_ctx *c, const tn_deform *f, const tn_tensor *d_o, tn_tensor *dvalue, tn_error *err)
{
    tn_deform_call k;
    TN_TRY(deform_prepare(&k, f, d_o, err));
    TN_TRY(tn_storage(&k.act, "deformable attention's backward", TN_LIST(f->samples, d_o, dvalue), NULL, err));
    return (tn_deform_cpu_can(c, &k) ? tn_deform_cpu_dvalue : tn_deform_portable_dvalue)(c, &k, d_o, dvalue, err);
}
