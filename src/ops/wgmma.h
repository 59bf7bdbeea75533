/** What the rows on Hopper's warpgroup instructions share (cl/nvidia/wgmma.h). */
#ifndef TN_WGMMA_H
#define TN_WGMMA_H
#include "gemm_rows.h"
#include "tensor_map.h"

enum { TN_WGMMA_BK = 64 /* of a stage along K */ };

/** c->tune[0] of the rows: a product's tile, and columns of a convolution's. */
extern const tn_tunable tn_gemm_wgmma_tunables[], tn_wgmma_tunables[];

/** Stages that local memory holds beside each other: of (64 mi + bn) rows; extra: two tiles of C's size besides, norm: what their
 * rows are normed by. */
int tn_wgmma_depth(int bn, int mi, bool extra, bool norm);
/** A descriptor as the next two arguments. */
int tn_wgmma_put_map(tn_ctx *c, tn_gemm_build *b, const tn_map_view *v, tn_error *err);
/** Of a matrix in boxes of `box` rows by 64 columns (narrow: 16). */
int tn_wgmma_put_matrix(tn_ctx *c, tn_gemm_build *b, const tn_tensor *t, int box, bool narrow, tn_error *err);
/** `units` groups. */
int tn_wgmma_launch(tn_ctx *c, const tn_gemm_build *b, const char *file, const char *entry, int units, tn_error *err);
#endif
