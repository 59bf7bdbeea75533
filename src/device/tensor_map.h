/**
 * Descriptors ("tensor maps") of matrices for Hopper's copy engine: made once for each view of a buffer by a kernel, kept until the
 * device closes. A descriptor that an earlier launch wrote is read without a fence as long as its place is never used again, so
 * none is given up before (128 bytes each, a few hundred a plan).
 */
#ifndef TN_TENSOR_MAP_H
#define TN_TENSOR_MAP_H
#include "dev.h"

/** 16-bit numbers (act 1 bfloat16, 2 float16) from element `off` on, ld from row to row, taken in boxes of 64 columns, or of 16
 * where `narrow`. The rows are a matrix's, w of them, `wide` to a box; or, with images, the pixels of so many images of h lines of
 * w pixels, of which a box has tall x wide, `step` apart. off and ld are multiples of 8. Zero-initialised but for what is there. */
typedef struct tn_map_view {
    tn_buffer *mem;
    size_t off;
    int inner, ld, w, h, images, wide, tall, step, act;
    bool narrow;
} tn_map_view;

/** The descriptor is number *index of *maps (both borrowed), for kernels enqueued from now on. */
int tn_tensor_map(tn_dev *d, const tn_map_view *v, tn_buffer **maps, uint32_t *index, tn_error *err);
/** Memory for n descriptors; 0 on devices that have no use for them. */
size_t tn_tensor_map_bytes(const tn_dev *d, int n);
#endif
