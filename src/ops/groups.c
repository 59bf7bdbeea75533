#include "spatial.h"

#define GROUPS "portable/groups.cl"

static int groups_check(const tn_tensor *narrow, const tn_tensor *wide, int groups, tn_error *err)
{
    if (groups > 0 && narrow->rows % groups == 0 && wide->rows == narrow->rows && wide->cols == narrow->cols * groups) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "%d groups of [%d,%d] do not make [%d,%d]", groups, narrow->rows, narrow->cols, wide->rows,
                   wide->cols);
}

int tn_groups_spread(tn_ctx *c, const tn_tensor *b, int groups, tn_tensor *wide, tn_error *err)
{
    tn_dtype act;
    TN_TRY(groups_check(b, wide, groups, err));
    TN_TRY(tn_storage(&act, "spreading groups", TN_LIST(wide), NULL, err));
    if (b->dtype != act) return tn_fail(err, TN_ERR_ARGUMENT, "spreading groups does not convert between storage types");
    TN_TRY(tn_countable("groups_spread", b->off + tn_tensor_count(b), err));
    const tn_arg args[] = {TN_BUF(b->mem), TN_BUF(wide->mem), TN_UINT(b->off), TN_INT(b->rows), TN_INT(b->cols), TN_INT(groups)};
    return tn_spatial_run(c, &(tn_spatial_kernel){GROUPS, "groups_spread", "", act}, (size_t)wide->cols, (size_t)wide->rows, args,
                          TN_COUNT(args), err);
}

int tn_groups_collect(tn_ctx *c, const tn_tensor *wide, int groups, tn_tensor *d, tn_error *err)
{
    tn_dtype none;
    TN_TRY(groups_check(d, wide, groups, err));
    TN_TRY(tn_storage(&none, "collecting groups", TN_LIST(wide, d), TN_LIST(wide), err));
    const tn_arg args[] = {TN_BUF(wide->mem), TN_BUF(d->mem), TN_INT(d->rows), TN_INT(d->cols), TN_INT(groups)};
    return tn_spatial_run(c, &(tn_spatial_kernel){GROUPS, "groups_collect", "", TN_F32}, (size_t)d->cols, (size_t)d->rows, args,
                          TN_COUNT(args), err);
}
