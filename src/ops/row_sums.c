#include "ops.h"

#define FILE_ "portable/row_sums.cl"

bool tn_sums_fit(const tn_tensor *x, const tn_tensor *sums)
{
    return x->cols % TN_SUM_COLUMNS == 0 && sums->rows == x->cols / TN_SUM_COLUMNS && sums->cols == 2 * x->rows;
}

static int check_sums(const tn_tensor *x, const tn_tensor *sums, tn_error *err)
{
    if (tn_sums_fit(x, sums)) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "row sums: [%d,%d] do not fit [%d,%d], whose columns come in blocks of %d", sums->rows,
                   sums->cols, x->rows, x->cols, (int)TN_SUM_COLUMNS);
}

static int sums_launch(tn_ctx *c, const char *entry, const tn_tensor *x, const tn_arg *args, int n, tn_error *err)
{
    enum { GROUP = 64 };
    tn_options o;
    const int width = tn_run_width(c, x->dtype, TN_SUM_COLUMNS);
    const tn_range range = {1, {TN_ROUND_UP(tn_tensor_count(x) / (size_t)width, (size_t)GROUP)}, {GROUP}};
    TN_TRY(tn_countable(entry, tn_tensor_count(x), err));
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DVW=%d -DWG=%d", (int)x->dtype, width, (int)GROUP));
    return tn_op_run(c, FILE_, entry, o.s, args, n, &range, err);
}

int tn_row_sums(tn_ctx *c, const tn_tensor *x, const tn_tensor *sums, tn_error *err)
{
    tn_dtype act;
    TN_TRY(tn_storage(&act, "row sums", TN_LIST(x), TN_LIST(sums), err));
    TN_TRY(check_sums(x, sums, err));
    const tn_arg args[] = {TN_BUF(x->mem), TN_BUF(sums->mem), TN_INT(sums->rows), TN_INT(sums->rows * x->rows)};
    return sums_launch(c, "row_sums", x, args, TN_COUNT(args), err);
}

int tn_row_norm(tn_ctx *c, const tn_tensor *x, const tn_tensor *sums, float eps, const tn_tensor *y, tn_error *err)
{
    tn_dtype act;
    TN_TRY(check_sums(x, sums, err));
    if (y->rows != x->rows || y->cols != x->cols) return tn_fail(err, TN_ERR_ARGUMENT, "row norm: y is [%d,%d]", y->rows, y->cols);
    TN_TRY(tn_storage(&act, "row norm", TN_LIST(x, y), TN_LIST(sums), err));
    const tn_arg args[] = {TN_BUF(x->mem),     TN_BUF(sums->mem), TN_BUF(y->mem),
                           TN_INT(sums->rows), TN_FLT(eps),       TN_INT(sums->rows * x->rows)};
    return sums_launch(c, "row_norm", x, args, TN_COUNT(args), err);
}
