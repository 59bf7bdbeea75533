/* Convolutions of CPU devices (cl/cpu/conv.cl): a kernel of registers whose left rows are cut out of the images as it goes. */
#include "conv.h"
#include "cpu.h"
#include "gemm_rows.h"

#define CPU_CONV "cpu/conv.cl"

void tn_conv_put_rows(tn_arg *to, const tn_conv_rows *r)
{
    const tn_arg args[TN_CONV_ROWS_ARGS] = {TN_BUF(r->image.mem), TN_UINT(r->from),  TN_INT(r->image.cols), TN_INT(r->channels),
                                            TN_INT(r->size.h),    TN_INT(r->size.w), TN_INT(r->grid.h),     TN_INT(r->grid.w),
                                            TN_INT(r->top),       TN_INT(r->left),   TN_INT(r->stride),     TN_INT(r->kh),
                                            TN_INT(r->kw)};
    for (int i = 0; i < TN_CONV_ROWS_ARGS; i++) to[i] = args[i];
}

void tn_conv_put_place(tn_arg *to, const tn_conv_args *a)
{
    const tn_arg args[TN_CONV_PLACE_ARGS] = {TN_INT(a->to.h), TN_INT(a->to.w), TN_INT(a->step), TN_INT(a->y), TN_INT(a->x)};
    for (int i = 0; i < TN_CONV_PLACE_ARGS; i++) to[i] = args[i];
}

/* Bands of rows, which stay in a core's cache beside a panel, and panels to an item, as many as stay there too: few enough that all
 * cores have items. */
static void cut_panels(const tn_ctx *c, int rows, int panels, size_t row_bytes, size_t panel_bytes, int mr, int *band, int *group)
{
    enum { ITEMS_A_UNIT = 8, ROWS = 512 << 10, PANELS = 4096 << 10, BLOCKS = 16 };
    const int want = ITEMS_A_UNIT * (int)c->dev->info.compute_units;
    *group = (int)TN_MIN((size_t)panels, TN_MAX((size_t)1, PANELS / panel_bytes));
    const int across = TN_CEIL_DIV(panels, *group), most = (int)TN_MIN((size_t)BLOCKS, ROWS / (row_bytes * (size_t)mr));
    *group = TN_CEIL_DIV(panels, across);
    *band = mr * TN_MAX(1, TN_MIN(most, TN_CEIL_DIV(rows, mr) * across / want));
}

/* dot: in pairs of bfloat16. */
static int run_panels(tn_ctx *c, const tn_conv_args *a, bool dot, tn_error *err)
{
    enum { FIXED = TN_CONV_ROWS_ARGS + 9 };
    const int rows = tn_conv_rows_count(&a->rows), depth = tn_conv_rows_length(&a->rows) / (dot ? 2 : 1), N = a->C.cols;
    const int lda = TN_ROUND_UP(depth, 16) + 16; /* not a power of two: rows would share a cache's sets */
    const size_t mark = c->ws_used;
    int mr, nrv, band, group;
    tn_tensor P;
    tn_options o;
    tn_arg list[FIXED + TN_CONV_PLACE_ARGS + 1 + TN_CPU_SCRATCH_ARGS];
    tn_gemm_block(c, N, &mr, &nrv);
    const int panels = TN_CEIL_DIV(N, 16 * nrv);
    cut_panels(c, rows, panels, (size_t)lda * sizeof(float), (size_t)depth * 16 * (size_t)nrv * sizeof(float), mr, &band, &group);
    TN_TRY(tn_gemm_panels(c, &P, &a->W, nrv, dot, err));
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DMR=%d -DNRV=%d%s%s", (int)a->C.dtype, mr, nrv, dot ? " -DDOT" : "",
                          a->bias ? " -DBIAS" : ""));
    tn_conv_put_rows(list, &a->rows);
    const tn_arg fixed[] = {TN_BUF(P.mem), TN_BUF(a->C.mem), TN_UINT(a->C.off), TN_INT(a->C.ld), TN_INT(rows),
                            TN_INT(N),     TN_INT(band),     TN_INT(group),     TN_INT(lda)};
    int n = TN_CONV_ROWS_ARGS;
    for (size_t i = 0; i < TN_COUNT(fixed); i++) list[n++] = fixed[i];
    tn_conv_put_place(list + n, a);
    n += TN_CONV_PLACE_ARGS;
    if (a->bias) list[n++] = TN_BUF(a->bias);
    TN_TRY(tn_cpu_scratch(c, (size_t)band * (size_t)(lda + 16 * nrv + 2), list + n, err));
    n += TN_CPU_SCRATCH_ARGS;
    const tn_range range = {2, {(size_t)TN_CEIL_DIV(rows, band), (size_t)TN_CEIL_DIV(panels, group)}, {1, 1}};
    TN_TRY(tn_op_run(c, CPU_CONV, "conv_panels", o.s, list, n, &range, err));
    c->ws_used = mark;
    return 0;
}

int tn_conv_cpu(tn_ctx *c, const void *args, tn_error *err)
{
    return run_panels(c, args, false, err);
}

bool tn_conv_dot_can(const tn_ctx *c, const void *args)
{
    const tn_conv_args *a = args;
    (void)c;
    return a->W.dtype == TN_BF16 && a->rows.image.dtype == TN_BF16 && tn_conv_rows_length(&a->rows) % 2 == 0;
}

int tn_conv_dot(tn_ctx *c, const void *args, tn_error *err)
{
    return run_panels(c, args, true, err);
}

/* ---- the kernel's gradient ---- */

static int run_grad(tn_ctx *c, const tn_conv_grad_args *a, bool dot, tn_error *err)
{
    enum { CHUNK = 64, BLOCKS = 4, ITEMS_A_UNIT = 4, LEAST = 4 * CHUNK, FIXED = TN_CONV_ROWS_ARGS + 9 }; /* as in the kernel */
    const int M = a->dy.rows, N = a->dy.cols, K = tn_conv_rows_length(&a->rows);
    const size_t mark = c->ws_used;
    int mr, nrv;
    tn_tensor P;
    tn_options o;
    tn_arg list[FIXED + TN_CPU_SCRATCH_ARGS];
    tn_gemm_block(c, K, &mr, &nrv);
    const int nr = 16 * nrv, groups = TN_CEIL_DIV(K, nr * BLOCKS), whole = TN_ROUND_UP(N, mr);
    const int pitch = TN_ROUND_UP(whole, 32) + 16; /* an odd number of cache lines: rows spread over a cache's sets */
    const int want = TN_CEIL_DIV(ITEMS_A_UNIT * (int)c->dev->info.compute_units, groups);
    const int rows = TN_ROUND_UP(TN_CEIL_DIV(M, TN_MAX(1, TN_MIN(want, M / LEAST))), CHUNK), splits = TN_CEIL_DIV(M, rows);
    TN_TRY(tn_ws_take(c, &P, TN_F32, splits * N, K, err));
    TN_TRY(tn_options_set(&o, err, "-DACT=%d -DMR=%d -DNRV=%d%s", (int)a->dy.dtype, mr, nrv, dot ? " -DDOT" : ""));
    tn_conv_put_rows(list, &a->rows);
    const tn_arg fixed[] = {TN_BUF(a->dy.mem), TN_UINT(a->dy.off), TN_INT(a->dy.ld), TN_BUF(P.mem), TN_INT(M),
                            TN_INT(N),         TN_INT(rows),       TN_INT(whole),    TN_INT(pitch)};
    for (size_t i = 0; i < TN_COUNT(fixed); i++) list[TN_CONV_ROWS_ARGS + i] = fixed[i];
    TN_TRY(tn_cpu_scratch(c, (size_t)BLOCKS * (size_t)(CHUNK + 1 + whole) * (size_t)nr + (size_t)(CHUNK + 1) * (size_t)pitch,
                          list + FIXED, err));
    const tn_range range = {2, {(size_t)groups, (size_t)splits}, {1, 1}};
    TN_TRY(tn_op_run(c, CPU_CONV, "conv_grad", o.s, list, TN_COUNT(list), &range, err));
    const tn_gemm_args end = {.alpha = 1, .beta = a->add ? 1 : 0, .C = a->sum, .M = N, .N = K};
    TN_TRY(tn_gemm_sum(c, &P, splits, &end, NULL, err));
    c->ws_used = mark;
    return 0;
}

int tn_conv_grad_cpu(tn_ctx *c, const void *args, tn_error *err)
{
    return run_grad(c, args, false, err);
}

bool tn_conv_grad_dot_can(const tn_ctx *c, const void *args)
{
    const tn_conv_grad_args *a = args;
    (void)c;
    return a->dy.dtype == TN_BF16 && a->rows.image.dtype == TN_BF16;
}

int tn_conv_grad_dot(tn_ctx *c, const void *args, tn_error *err)
{
    return run_grad(c, args, true, err);
}
