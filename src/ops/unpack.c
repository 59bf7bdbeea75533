/* Reading quantised weights on a device: unpacking them, and multiplying few tokens with them. Every variant unpacks the
 * same values; a CPU's own take sixteen at once. */
#include "gemm.h"
#include "ops.h"

#include <stdio.h>
#include <string.h>

enum { WG = 64, STEPS = 2, RUN = 64, SPAN = 4096, LANES = 32 };

const char *const tn_qvariant_names[TN_QV_COUNT] = {"portable", "cpu", "cpu-avx512"};

static size_t elements(const tn_qtensor *q)
{
    return (size_t)q->s.rows * (size_t)q->s.cols;
}

/* packed, scales, nested, zeros, tables, offset, block: what every kernel here begins with. */
static int fill_args(tn_arg *a, const tn_qtensor *q)
{
    const tn_arg args[] = {TN_BUF(q->packed),
                           TN_BUF(q->scales),
                           TN_BUF(q->nested ? q->nested : q->tables),
                           TN_BUF(q->zeros ? q->zeros : q->packed),
                           TN_BUF(q->tables),
                           TN_FLT(q->offset),
                           TN_UINT(q->s.block)};
    memcpy(a, args, sizeof args);
    return TN_COUNT(args);
}

/* The largest power of two up to RUN that divides v. */
static int run_of(int v)
{
    int run = RUN;
    while (v % run) run /= 2;
    return run;
}

static bool forced_portable(const tn_ctx *c)
{
    return tn_gemm_forced(c->dev, "portable");
}

static bool cpu_can(const tn_ctx *c, const tn_qtensor *q)
{
    return c->dev->info.type == TN_DEVICE_CPU && !forced_portable(c) && q->s.block % 16 == 0;
}

/* ---- unpacking ---- */

static int run_unpack(tn_ctx *c, const char *file, const char *entry, const char *own, const tn_qtensor *q, const tn_tensor *out,
                      size_t items, size_t local, tn_error *err)
{
    char opts[160], full[256];
    tn_arg args[10];
    int k = fill_args(args, q);
    args[k++] = TN_BUF(out->mem);
    args[k++] = TN_UINT(out->off);
    args[k++] = TN_UINT(elements(q));
    tn_qoptions(opts, sizeof opts, &q->s, out->dtype);
    snprintf(full, sizeof full, "%s %s", opts, own);
    return tn_op_run(c, file, entry, full, args, k, 1, &items, &local, err);
}

/* The shift that divides by a block's size; 0 where there is none. */
static int shift_of(int block)
{
    int k = 0;
    while (1 << k < block) k++;
    return 1 << k == block ? k : 0;
}

static int unpack_portable(tn_ctx *c, const tn_qtensor *q, tn_tensor *out, tn_error *err)
{
    char own[64];
    const size_t n = elements(q);
    if (n % 8 || q->s.block % 8 || out->off % 8) {
        const int per = q->s.block % 8 ? 1 : 8;
        snprintf(own, sizeof own, "-DPER=%d", per);
        return run_unpack(c, "portable/quant.cl", "unpack", own, q, out, TN_CEIL_DIV(n, (size_t)per), WG, err);
    }
    const size_t group = (size_t)(WG * STEPS) * (out->dtype == TN_F32 ? 4 : 8);
    snprintf(own, sizeof own, "-DSHIFT=%d -DSTEPS=%d", shift_of(q->s.block), STEPS);
    return run_unpack(c, "portable/quant.cl", "unpack_runs", own, q, out, TN_CEIL_DIV(n, group) * WG, WG, err);
}

/* Spans short enough that every core has several. */
static int span_of(const tn_ctx *c, size_t n)
{
    int span = SPAN;
    while (span > 4 * RUN && n / (size_t)span < 8 * (size_t)c->dev->info.compute_units) span /= 2;
    return span;
}

static int unpack_cpu(tn_ctx *c, tn_qvariant v, const tn_qtensor *q, tn_tensor *out, tn_error *err)
{
    char own[96];
    const int span = span_of(c, elements(q));
    snprintf(own, sizeof own, "-DRUN=%d -DSPAN=%d -DSHIFT=%d -DLOOKUP=%d", run_of(q->s.block), span, shift_of(q->s.block),
             v == TN_QV_CPU_AVX512);
    return run_unpack(c, "cpu/quant.cl", "unpack16", own, q, out, TN_CEIL_DIV(elements(q), (size_t)span), 1, err);
}

int tn_unpack_with(tn_ctx *c, tn_qvariant v, const tn_qtensor *q, tn_tensor *out, bool *can, tn_error *err)
{
    *can = v == TN_QV_PORTABLE || (cpu_can(c, q) && elements(q) % (size_t)run_of(q->s.block) == 0);
    if (!*can) return 0;
    return v == TN_QV_PORTABLE ? unpack_portable(c, q, out, err) : unpack_cpu(c, v, q, out, err);
}

int tn_unpack(tn_ctx *c, const tn_qtensor *q, tn_tensor *out, tn_error *err)
{
    bool can = false;
    tn_gemm_tuning *t;
    if (cpu_can(c, q)) {
        TN_TRY(tn_tuning_get_quant(&t, c->dev, err));
        TN_TRY(tn_unpack_with(c, (tn_qvariant)t->unpack, q, out, &can, err));
    }
    return can ? 0 : tn_unpack_with(c, TN_QV_PORTABLE, q, out, &can, err);
}

/* ---- few tokens ---- */

bool tn_qgemv_can(const tn_qtensor *q, const tn_tensor *x)
{
    return elements(q) < 0xffffffffu && x->rows <= TN_QGEMV_ROWS && q->s.cols % 8 == 0 && q->s.block % 8 == 0 && x->ld == x->cols &&
           x->off == 0;
}

/* The K that a run divides lies in whole blocks, or a block in whole rows. */
static int qgemv_run(const tn_qtensor *q)
{
    return TN_MIN(run_of(q->s.block), run_of(q->s.cols));
}

/* How a work-group shares W: `local` items, `lanes` of them on `rows` rows at once. Measured on PoCL and an H100. */
typedef struct {
    size_t local;
    int lanes, rows;
} gemv_shape;

static gemv_shape gemv_shape_of(const tn_ctx *c, int tokens)
{
    if (c->dev->info.type == TN_DEVICE_CPU) return (gemv_shape){1, 1, tokens > 4 ? 2 : 4};
    const int wg = c->dev->row_wg;
    return (gemv_shape){(size_t)wg, TN_MIN(wg, LANES), 2};
}

int tn_qgemv_with(tn_ctx *c, tn_qvariant v, const tn_tensor *x, const tn_qtensor *q, tn_buffer *bias, tn_tensor y, bool *can,
                  tn_error *err)
{
    char opts[160], full[288];
    const bool cpu = v != TN_QV_PORTABLE;
    const gemv_shape g = gemv_shape_of(c, x->rows);
    const size_t per = g.local / (size_t)g.lanes * (size_t)g.rows;
    const size_t global = TN_CEIL_DIV((size_t)q->s.rows, per) * g.local;
    *can = tn_qgemv_can(q, x) && (!cpu || (cpu_can(c, q) && q->s.cols % 16 == 0));
    if (!*can) return 0;
    tn_qoptions(opts, sizeof opts, &q->s, TN_F32);
    snprintf(full, sizeof full, "%s -DWG=%d -DLANES=%d -DNR=%d -DM=%d -DBIAS=%d -DRUN=%d -DLOOKUP=%d", opts, (int)g.local, g.lanes,
             g.rows, x->rows, bias != NULL, cpu ? qgemv_run(q) : 8, v == TN_QV_CPU_AVX512);
    tn_arg args[16] = {TN_BUF(x->mem)};
    int k = 1 + fill_args(args + 1, q);
    args[k++] = TN_BUF(bias ? bias : q->tables);
    args[k++] = TN_BUF(y.mem);
    args[k++] = TN_UINT(y.off);
    args[k++] = TN_INT(y.ld);
    args[k++] = TN_INT(q->s.rows);
    args[k++] = TN_INT(q->s.cols);
    return tn_op_run(c, cpu ? "cpu/qgemv.cl" : "portable/qgemv.cl", "qgemv", full, args, k, 1, &global, &g.local, err);
}

int tn_qgemv(tn_ctx *c, const tn_tensor *x, const tn_qtensor *q, tn_buffer *bias, tn_tensor y, tn_error *err)
{
    bool can;
    tn_gemm_tuning *t;
    TN_TRY(tn_tuning_get_quant(&t, c->dev, err));
    TN_TRY(tn_qgemv_with(c, (tn_qvariant)t->qgemv, x, q, bias, y, &can, err));
    return can ? 0 : tn_qgemv_with(c, TN_QV_PORTABLE, x, q, bias, y, &can, err);
}

int tn_qgemv_pays(tn_ctx *c, const tn_qtensor *q, const tn_tensor *x, bool *pays, tn_error *err)
{
    tn_gemm_tuning *t;
    *pays = false;
    if (!tn_qgemv_can(q, x)) return 0;
    TN_TRY(tn_tuning_get_quant(&t, c->dev, err));
    *pays = x->rows <= t->qgemv_rows;
    return 0;
}
