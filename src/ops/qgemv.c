/* A quantised matrix times few tokens: kernels that unpack on the way, or unpacking and a product. */
#include "args.h"
#include "gemm.h"
#include "tuning.h"
#include "unpack.h"

#include <stdio.h>

enum { LANES = 32 };

/* ---- the rows ---- */

static bool can_fuse(const tn_ctx *c, const void *args)
{
    const tn_qgemv_args *a = args;
    (void)c;
    return tn_qcount(&a->q) < 0xffffffffu && a->x.rows <= TN_QGEMV_ROWS && a->q.s.cols % 8 == 0 && a->q.s.block % 8 == 0 &&
           a->x.dtype == a->y.dtype;
}

static bool qgemv_can_cpu(const tn_ctx *c, const void *args)
{
    const tn_qgemv_args *a = args;
    return can_fuse(c, args) && a->q.s.block % 16 == 0 && a->q.s.cols % 16 == 0;
}

/* Where a kernel stands and how a work-group shares W: `local` items, `lanes` of them on `rows` rows at once. run: the
 * elements of K that lie in one block. */
typedef struct {
    const char *file;
    size_t local;
    int lanes, rows, run, lookup;
} kernel;

static int qgemv_launch(tn_ctx *c, const tn_qgemv_args *a, const kernel *g, tn_error *err)
{
    char format[160];
    tn_options o;
    const size_t per = g->local / (size_t)g->lanes * (size_t)g->rows;
    const size_t global = TN_CEIL_DIV((size_t)a->q.s.rows, per) * g->local;
    tn_qoptions(format, sizeof format, &a->q.s, TN_F32);
    TN_TRY(tn_options_set(&o, err, "%s -DACT=%d -DWG=%d -DLANES=%d -DNR=%d -DM=%d -DRUN=%d -DLOOKUP=%d", format, (int)a->x.dtype,
                          (int)g->local, g->lanes, g->rows, a->x.rows, g->run, g->lookup));
    tn_arg args[17] = {TN_BUF(a->x.mem)};
    int k = 1 + tn_qargs(args + 1, &a->q);
    args[k++] = TN_BUF(a->bias ? a->bias : a->q.tables);
    args[k++] = TN_BUF(a->y.mem);
    args[k++] = TN_UINT(a->y.off);
    args[k++] = TN_INT(a->y.ld);
    args[k++] = TN_INT(a->q.s.rows);
    args[k++] = TN_INT(a->q.s.cols);
    args[k++] = TN_INT(a->bias != NULL);
    return tn_op_run(c, g->file, "qgemv", o.s, args, k, &(tn_range){1, {global}, {g->local}}, err);
}

static int qgemv_run_portable(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_qgemv_args *a = args;
    const int wg = c->dev->row_wg;
    const kernel g = {"portable/qgemv.cl", (size_t)wg, TN_MIN(wg, LANES), wg > 1 || a->x.rows > 4 ? 2 : 4, 8, 0};
    return qgemv_launch(c, a, &g, err);
}

static int qgemv_run_cpu(tn_ctx *c, const tn_qgemv_args *a, int lookup, tn_error *err)
{
    const int run = TN_MIN(tn_qrun(a->q.s.block), tn_qrun(a->q.s.cols)); /* whole blocks in a row, or whole rows in a block */
    const kernel g = {"cpu/qgemv.cl", 1, 1, a->x.rows > 4 ? 2 : 4, run, lookup};
    return qgemv_launch(c, a, &g, err);
}

static int qgemv_run_vectors(tn_ctx *c, const void *args, tn_error *err)
{
    return qgemv_run_cpu(c, args, 0, err);
}

static int qgemv_run_avx512(tn_ctx *c, const void *args, tn_error *err)
{
    return qgemv_run_cpu(c, args, 1, err);
}

static int run_unpacked(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_qgemv_args *a = args;
    tn_gemm_args g = {.tb = true, .alpha = 1, .A = a->x, .C = a->y, .e.bias = a->bias};
    tn_gemm_quantised(&g, (const tn_qtensor *const[]){&a->q}, 1);
    return tn_gemm_run(c, &g, err);
}

/* ---- the operation ---- */

static void qgemv_kind(char *out, size_t n, const void *args)
{
    const tn_qgemv_args *a = args;
    char format[TN_KEY];
    tn_qkind(format, sizeof format, &a->q.s);
    snprintf(out, n, "%.60s %s", format, tn_dtype_name(a->x.dtype));
}

static void qgemv_key(char *out, size_t n, const void *args)
{
    const tn_qgemv_args *a = args;
    char kind[TN_KEY];
    qgemv_kind(kind, sizeof kind, args);
    snprintf(out, n, "%.60s %dx%dx%d", kind, a->x.rows, a->q.s.rows, a->q.s.cols);
}

/* The matrix is read once whatever the tokens are. */
static double qgemv_work(const void *args)
{
    return 2.0 * (double)tn_qcount(&((const tn_qgemv_args *)args)->q);
}

static void qgemv_shrink(void *args, double most)
{
    tn_qgemv_args *a = args;
    (void)most;
    a->x.rows = tn_bucket(a->x.rows);
}

static int qgemv_make(void *copy, tn_ctx *c, const void *args, tn_error *err)
{
    tn_qgemv_args *a = copy;
    const tn_qgemv_args *from = args;
    TN_TRY(tn_qtensor_random(&a->q, c, &from->q.s, err));
    TN_TRY(tn_tensor_new(&a->x, c->dev, from->x.dtype, from->x.rows, from->q.s.cols, "tuning", err));
    TN_TRY(tn_tensor_random(c->dev, &a->x, err));
    return tn_tensor_new(&a->y, c->dev, from->x.dtype, from->x.rows, from->q.s.rows, "tuning", err);
}

static void qgemv_release(void *copy, tn_ctx *c)
{
    tn_qgemv_args *a = copy;
    tn_tensor_free(c->dev, &a->y);
    tn_tensor_free(c->dev, &a->x);
    tn_qtensor_free(&a->q, c->dev);
}

static const tn_variant rows[] = {
    {.name = "cpu-avx512", .needs = TN_CAP_VECTORS | TN_CAP_AVX512, .can = qgemv_can_cpu, .run = qgemv_run_avx512},
    {.name = "cpu", .needs = TN_CAP_VECTORS, .can = qgemv_can_cpu, .run = qgemv_run_vectors},
    {.name = "portable", .can = can_fuse, .run = qgemv_run_portable, .not_on_cpus = true},
    {.name = "unpacked", .run = run_unpacked},
};

const tn_variant_op tn_qgemv_op = {
    .name = "qgemv",
    .rows = rows,
    .n = TN_COUNT(rows),
    .key = qgemv_key,
    .kind = qgemv_kind,
    .make = qgemv_make,
    .release = qgemv_release,
    .args_size = sizeof(tn_qgemv_args),
    .work = qgemv_work,
    .shrink = qgemv_shrink,
};

static int qgemv_prepare(tn_qgemv_args *a, const tn_tensor *x, const tn_qtensor *q, tn_error *err)
{
    tn_dtype act;
    *a = (tn_qgemv_args){.x = *x, .q = *q, .y = {.dtype = x->dtype, .rows = x->rows, .cols = q->s.rows}};
    TN_TRY(tn_storage(&act, "the product with a quantised matrix", TN_LIST(x), NULL, err));
    if (x->cols == q->s.cols) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT, "the product with a quantised matrix: [%d, %d] x [%d, %d]", x->rows, x->cols, q->s.rows,
                   q->s.cols);
}

int tn_qgemv(tn_ctx *c, const tn_tensor *x, const tn_qtensor *q, tn_buffer *bias, tn_tensor y, tn_error *err)
{
    tn_qgemv_args a;
    TN_TRY(qgemv_prepare(&a, x, q, err));
    a.bias = bias;
    a.y = y;
    return tn_variant_run(c, &tn_qgemv_op, &a, err);
}

int tn_qgemv_pays(tn_ctx *c, const tn_qtensor *q, const tn_tensor *x, bool *pays, tn_error *err)
{
    tn_qgemv_args a;
    tn_choice k;
    *pays = false;
    if (x->rows > TN_QGEMV_ROWS || x->ld != x->cols || x->off) return 0;
    TN_TRY(qgemv_prepare(&a, x, q, err));
    if (c->wanted) return tn_wanted_add(c->wanted, c, &tn_qgemv_op, &a, err);
    TN_TRY(tn_variant_choose(&k, c, &tn_qgemv_op, &a, err));
    *pays = k.row != tn_qgemv_op.n - 1;
    return 0;
}
