#include "thin_both.h"
#include "gemm_rows.h"
#include "tuning.h"

#include <stdio.h>
#include <string.h>

/* As in cl/nvidia/thin_both.cl: items of a group, its warps, columns of dt and dB; and a slice's columns are a multiple of UNIT, of
 * which a group's registers hold so many. */
enum { ITEMS = 256, WARPS = 8, RANK = 16, UNIT = 128, MOST_UNITS = 8, FEW_UNITS = 4, SUM_COLS = 128 };

/* ---- one launch, and one for the sums ---- */

typedef struct {
    int parts, width, of_part, slices, cols; /* slices of a part, of all; columns of one */
    int rows, range, ranges;                 /* rows of a step; rows of a group, and how many such ranges there are */
} slicing;

static slicing slice(const tn_ctx *c, const tn_thin_both *a)
{
    const int groups = TN_MAX((int)c->dev->info.compute_units, 1), units = TN_CEIL_DIV(a->dt.K, (int)UNIT),
              least = TN_CEIL_DIV(units, (int)MOST_UNITS);
    slicing s = {.parts = TN_MAX(a->dt.batch, 1), .width = a->dt.K, .of_part = least};
    while (units % s.of_part && s.of_part < 2 * least) s.of_part++; /* alike, where that takes not twice as many */
    s.cols = TN_CEIL_DIV(units, s.of_part) * UNIT;
    s.slices = s.parts * s.of_part;
    s.rows = s.cols <= FEW_UNITS * UNIT ? 32 : 16;
    s.range = TN_ROUND_UP(TN_CEIL_DIV(a->dt.M, TN_MAX(groups / s.slices, 1)), s.rows);
    s.ranges = TN_CEIL_DIV(a->dt.M, s.range);
    return s;
}

static bool joined_can(const tn_ctx *c, const void *args)
{
    const tn_thin_both *a = args;
    const tn_gemm_args *d = &a->dt, *g = &a->db;
    (void)c;
    if (d->A.dtype == TN_F32 || d->B.dtype != d->A.dtype || d->C.dtype != d->A.dtype || d->ta || d->tb || d->beta != 0)
        return false;
    if (g->A.dtype != d->A.dtype || g->B.dtype != d->A.dtype || g->C.dtype != TN_F32 || !g->ta || g->tb || g->beta != 1)
        return false;
    if (tn_gemm_masked(d) || tn_gemm_masked(g) || tn_gemm_has_epilogue(&d->e) || tn_gemm_has_epilogue(&g->e)) return false;
    if (d->N % 8 || d->N > RANK || d->K % 8 || d->B.ld != d->N || d->C.off % 4 || d->C.ld % 4) return false;
    const int parts = TN_MAX(d->batch, 1);
    const bool apart = parts == 1 || (d->a_step == (size_t)d->K && d->b_step == (size_t)d->K * d->N && d->c_step == (size_t)d->N &&
                                      g->a_step == d->a_step && g->b_step == d->c_step);
    return apart && tn_gemm_pieces(&d->A, d->a_step) && tn_gemm_pieces(&d->B, d->b_step) && tn_gemm_pieces(&g->B, g->b_step);
}

static int put_options(const slicing *s, const tn_thin_both *a, tn_options *o, tn_error *err)
{
    return tn_options_set(o, err, "-DACT=%d -DCW=%d -DROWS=%d%s", (int)a->dt.A.dtype, s->cols / WARPS, s->rows,
                          s->of_part > 1 ? " -DSLICED" : "");
}

static int joined_run(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_thin_both *a = args;
    const tn_gemm_args *d = &a->dt, *g = &a->db;
    const slicing s = slice(c, a);
    const int all = s.slices * s.cols, K = d->M, sliced = s.of_part > 1;
    tn_tensor sums, halves = {0};
    tn_options o;
    TN_TRY(put_options(&s, a, &o, err));
    TN_TRY(tn_ws_take(c, &sums, TN_F32, s.ranges * RANK, all, err));
    if (sliced) TN_TRY(tn_ws_take(c, &halves, TN_F32, s.slices * K, RANK, err));
    const tn_arg both[] = {TN_BUF(d->A.mem), TN_UINT(d->A.off), TN_INT(d->A.ld),    TN_BUF(d->B.mem), TN_UINT(d->B.off),
                           TN_BUF(g->B.mem), TN_UINT(g->B.off), TN_INT(g->B.ld),    TN_BUF(d->C.mem), TN_UINT(d->C.off),
                           TN_INT(d->C.ld),  TN_BUF(sums.mem),  TN_BUF(halves.mem), TN_INT(K),        TN_INT(s.width),
                           TN_INT(d->N),     TN_INT(s.slices),  TN_INT(s.of_part),  TN_INT(s.range),  TN_FLT(d->alpha)};
    const tn_range range = {1, {(size_t)s.slices * (size_t)s.ranges * ITEMS}, {ITEMS}};
    TN_TRY(tn_op_run(c, "nvidia/thin_both.cl", "thin_both", o.s, both, TN_COUNT(both), &range, err));
    const tn_arg sum[] = {TN_BUF(sums.mem), TN_BUF(halves.mem), TN_BUF(d->C.mem), TN_UINT(d->C.off), TN_INT(d->C.ld),
                          TN_BUF(g->C.mem), TN_UINT(g->C.off),  TN_INT(g->C.ld),  TN_INT(g->c_step), TN_INT(K),
                          TN_INT(s.width),  TN_INT(d->N),       TN_INT(s.slices), TN_INT(s.of_part), TN_INT(s.ranges),
                          TN_FLT(d->alpha), TN_FLT(g->alpha)};
    const size_t groups = (size_t)(all / SUM_COLS) * RANK + (sliced ? (size_t)TN_CEIL_DIV(s.parts * K * RANK, 4 * ITEMS) : 0);
    const tn_range sum_range = {1, {groups * ITEMS}, {ITEMS}};
    return tn_op_run(c, "nvidia/thin_both.cl", "thin_both_sum", o.s, sum, TN_COUNT(sum), &sum_range, err);
}

/* ---- two products ---- */

static int apart_run(tn_ctx *c, const void *args, tn_error *err)
{
    const tn_thin_both *a = args;
    const size_t mark = c->ws_used;
    TN_TRY(tn_gemm_run(c, &a->dt, err));
    c->ws_used = mark;
    return tn_gemm_run(c, &a->db, err);
}

/* ---- the operation ---- */

static const tn_variant both_rows[] = {
    {.name = "joined", .needs = TN_CAP_NV_WGMMA, .can = joined_can, .run = joined_run}, /* that much local memory */
    {.name = "apart", .run = apart_run},
};

static void both_kind(char *out, size_t n, const void *args)
{
    const tn_thin_both *a = args;
    snprintf(out, n, "%s %dx%d to %d", tn_dtype_name(a->dt.A.dtype), TN_MAX(a->dt.batch, 1), a->dt.K, a->dt.N);
}

static void both_key(char *out, size_t n, const void *args)
{
    const tn_thin_both *a = args;
    char kind[TN_KEY];
    both_kind(kind, sizeof kind, a);
    snprintf(out, n, "%s, %d rows", kind, a->dt.M);
}

static double both_work(const void *args)
{
    const tn_thin_both *a = args;
    return tn_gemm_work(&a->dt) + tn_gemm_work(&a->db);
}

static void both_shrink(void *args, double most)
{
    tn_thin_both *a = args;
    int rows = tn_bucket(a->dt.M);
    while (rows > 1 && both_work(a) / a->dt.M * rows > most) rows /= 2;
    a->dt.M = a->dt.A.rows = a->dt.C.rows = rows;
    a->db.K = a->db.A.rows = a->db.B.rows = rows;
}

static int both_make(void *copy, tn_ctx *c, const void *args, tn_error *err)
{
    tn_thin_both *a = copy;
    const tn_thin_both *from = args;
    TN_TRY(tn_gemm_make(&a->dt, c, &from->dt, err));
    return tn_gemm_make(&a->db, c, &from->db, err);
}

static void both_release(void *copy, tn_ctx *c)
{
    tn_thin_both *a = copy;
    tn_gemm_release(&a->dt, c);
    tn_gemm_release(&a->db, c);
}

const tn_variant_op tn_thin_both_op = {.name = "thin-both",
                                       .rows = both_rows,
                                       .n = TN_COUNT(both_rows),
                                       .key = both_key,
                                       .kind = both_kind,
                                       .make = both_make,
                                       .release = both_release,
                                       .args_size = sizeof(tn_thin_both),
                                       .work = both_work,
                                       .shrink = both_shrink};

int tn_thin_both_run(tn_ctx *c, const tn_gemm_args *dt, const tn_gemm_args *db, tn_error *err)
{
    tn_thin_both a;
    TN_TRY(tn_gemm_check(&a.dt, dt, err));
    TN_TRY(tn_gemm_check(&a.db, db, err));
    if (a.dt.M != a.db.K || a.dt.K != a.db.M || a.dt.N != a.db.N || a.dt.batch != a.db.batch)
        return tn_fail(err, TN_ERR_ARGUMENT, "an adapter's gradients: dt [%d,%d] of %d columns and dB [%d,%d] of %d rows", a.dt.M,
                       a.dt.N, a.dt.K, a.db.M, a.db.N, a.db.K);
    return tn_variant_run(c, &tn_thin_both_op, &a, err);
}
