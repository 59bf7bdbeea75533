/** Frames of a data set, resized: read from their files, or kept from an earlier time. For several threads. */
#ifndef TN_FRAME_CACHE_H
#define TN_FRAME_CACHE_H
#include "windows.h"

typedef struct tn_frame_cache tn_frame_cache;

/** The data set's first frames are kept once they were read, as many as go into `bytes`: no timing decides which. Borrows d. */
int tn_frame_cache_new(tn_frame_cache **out, const tn_dataset *d, int width, int height, size_t bytes, tn_error *err);
void tn_frame_cache_free(tn_frame_cache *c);
/** How many frames will be kept, never more; of *bytes each. */
int tn_frame_cache_keeps(const tn_frame_cache *c, size_t *bytes);
/** With `only`, a frame that was read before is not read again: its size alone is known. */
void tn_frame_cache_sizes_only(tn_frame_cache *c, bool only);
/** Frame i, as tn_dataset_frame takes it, to im's pixels; size [2]: width and height as stored, to which labels refer. */
int tn_frame_cache_read(tn_frame_cache *c, tn_image_reader *r, int i, const tn_image *im, int size[2], tn_error *err);
#endif
