/** What goes down the columns of whole tensors on a GPU: sums by channel, and the norms made of them (cl/gpu). CPU devices, and
 * rows that are not made of whole vectors, have the kernels of cl/portable (norm.c). */
#ifndef TN_COLUMNS_H
#define TN_COLUMNS_H
#include "norm_parts.h"

/** The numbers are the kernel's (cl/gpu/colreduce.cl says what each leaves). */
typedef enum tn_column_mode {
    TN_COLUMNS_SUM,
    TN_COLUMNS_PRODUCT,
    TN_COLUMNS_UNIT, /* statistics of (unit, group) */
    TN_COLUMNS_ROW,  /* of the row */
    TN_COLUMNS_SPREAD
} tn_column_mode;

/** Sums over the rows of each unit of a (and b) [units * unit_rows, C]; `width` columns share statistics. */
typedef struct tn_columns {
    tn_column_mode mode;
    int unit_rows, width;
    float alpha;
    int chunk_rows, chunks; /* of a unit: set by tn_columns_cut */
    /* TN_COLUMNS_UNIT alone: what stands behind the norm and makes a of what it is to be first, and the norm; NULL: nothing */
    const tn_norm2d *norm;
    const tn_fn *fn;
} tn_columns;

/** Are these kernels for this device? All but tn_columns_sum want whole vectors too: tn_columns_can. */
bool tn_columns_here(const tn_ctx *c);
bool tn_columns_can(const tn_ctx *c, const tn_tensor *x);
/** Cuts units into chunks, enough to keep every compute unit busy. */
void tn_columns_cut(tn_columns *r, const tn_ctx *c, const tn_tensor *a);
/** p0, p1 [units * chunks, C] from a, b and stats; those that the mode has no use for may be NULL. */
int tn_columns_parts(tn_ctx *c, const tn_tensor *a, const tn_tensor *b, const tn_tensor *stats, const tn_columns *r, tn_tensor *p0,
                     tn_tensor *p1, tn_error *err);
/** out [units, C], or += with add: sums of `lines` lines each of p, which may be columns of a wider one. */
int tn_columns_sum(tn_ctx *c, const tn_tensor *p, int lines, bool add, tn_tensor *out, tn_error *err);

/** How columns are divided among the items of a group, and into how many groups. */
typedef struct tn_columns_shape {
    int vw, lanes, blocks, wg, rows; /* rows at once */
} tn_columns_shape;
tn_columns_shape tn_columns_shape_of(const tn_ctx *c, const tn_tensor *x);
/** For a kernel that works slopes out. */
tn_columns_shape tn_columns_slopes_of(const tn_ctx *c, const tn_tensor *x);
enum { TN_COLUMNS_SPAN = 8 }; /* rows an item of a kernel over all elements takes */

/** From the parts of a norm's backward (TN_COLUMNS_UNIT), in one launch: dgamma and dbeta += (mem NULL: not wanted), drows (rows 0:
 * not wanted), and sums [units * groups, 2] of the workspace. */
int tn_columns_norm_sums(tn_ctx *c, const tn_norm2d *n, const tn_norm_parts *p, const tn_norm_few_grads *g, tn_tensor *sums,
                         tn_error *err);

/** tn_norm_few_forward and tn_norm_few_backward, for channels that one group of items holds. */
bool tn_columns_few_can(const tn_ctx *c, const tn_tensor *x);
int tn_columns_few_forward(tn_ctx *c, const tn_norm_few *f, tn_tensor *y, tn_error *err);
int tn_columns_few_backward(tn_ctx *c, const tn_norm_few *f, const tn_norm_few_grads *g, tn_error *err);

/** What a unit of h lines of w rows was cut into: so many lines, and so many rows of each; blocks of the same lines follow each
 * other. */
typedef struct tn_columns_cuts {
    int h, w, lines, block;
} tn_columns_cuts;
/** stats [units * groups, 2] from each part's means and sums of squared deviations [units * parts, C]. For any device whose groups
 * may have TN_COLUMNS_MERGE items. */
enum { TN_COLUMNS_MERGE = 256 };
int tn_columns_merge_stats(tn_ctx *c, const tn_tensor *means, const tn_tensor *squares, const tn_columns_cuts *cuts, int groups,
                           float eps, tn_tensor *stats, tn_error *err);

/** tn_norm2d_stats and the two that follow, for what tn_columns_can. */
int tn_columns_stats(tn_ctx *c, const tn_tensor *x, int unit_rows, int groups, float eps, tn_tensor *stats, tn_error *err);
int tn_columns_apply(tn_ctx *c, const tn_norm2d *n, const tn_norm_end *end, tn_tensor *y, tn_error *err);
int tn_columns_backward(tn_ctx *c, const tn_norm2d *n, const tn_fn *fn, const tn_tensor *dy, tn_tensor *dx, tn_tensor *dgamma,
                        tn_tensor *dbeta, tn_error *err);
#endif
