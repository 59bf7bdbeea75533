/** What the spatial operations launch with, on their own folder's behalf. */
#ifndef TN_SPATIAL_H
#define TN_SPATIAL_H
#include "ops.h"

/** A kernel of cl/<file> and what it is built with beside its storage type. */
typedef struct tn_spatial_kernel {
    const char *file, *entry, *options;
    tn_dtype act;
} tn_spatial_kernel;

/** Over width x rows items, in groups of at most 64 along a row; the kernel leaves out what is beyond. TN_ERR_ARGUMENT where it
 * could not count that far. */
int tn_spatial_run(tn_ctx *c, const tn_spatial_kernel *k, size_t width, size_t rows, const tn_arg *args, int n, tn_error *err);
/** Runs of rows that a walk down `height` rows of each of `batch` images is cut into. */
typedef struct tn_runs {
    int span, per_image;
} tn_runs;
/** So many that about `groups` work-groups start, of which a run takes `per_run` in each image; none shorter than `least` rows. */
tn_runs tn_runs_of(int height, int batch, int per_run, int groups, int least);
/** What cl/shared/levels.h asks for (levels.c). */
int tn_levels_options(tn_options *o, const tn_levels *l, tn_error *err);
#endif
