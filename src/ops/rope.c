#include "cpu.h"

/* A row's angles are read once for all its heads. */
static int rope_cpu(tn_ctx *c, const char *options, const tn_arg *args, int n, int rows, tn_error *err)
{
    enum { ROWS = 16 };
    tn_options o;
    TN_TRY(tn_options_set(&o, err, "%s -DROWS=%d", options, (int)ROWS));
    const tn_range range = {1, {(size_t)TN_CEIL_DIV(rows, ROWS)}, {1}};
    return tn_op_run(c, "cpu/rope.cl", "rope", o.s, args, n, &range, err);
}

int tn_rope(tn_ctx *c, tn_tensor *qkv, const tn_tensor *table, int batch, int heads, int skip, int direction, tn_error *err)
{
    const int hd = qkv->cols / 3 / heads, n = qkv->rows / batch, rows = batch * (n - skip);
    tn_options o;
    tn_dtype act;
    TN_TRY(tn_storage(&act, "rope", TN_LIST(qkv), TN_LIST(table), err));
    const int vw = tn_run_width(c, act, hd / 2);
    const size_t width = (size_t)(hd / 2 / vw) * (size_t)heads * 2;
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DVW=%d -DHD=%d -DDIR=%d", (int)act, vw, hd, direction));
    tn_arg args[] = {TN_BUF(qkv->mem), TN_BUF(table->mem), TN_INT(n), TN_INT(heads), TN_INT(skip), TN_INT(rows)};
    if (tn_cpu_kernels(c->dev) && hd % 32 == 0) return rope_cpu(c, o.s, args, TN_COUNT(args), rows, err);
    const tn_range range = {2, {width, (size_t)rows}, {tn_group_items(c, width), 1}};
    return tn_op_run(c, "portable/rope.cl", "rope", o.s, args, TN_COUNT(args), &range, err);
}
