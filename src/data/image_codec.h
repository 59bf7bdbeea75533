/** The two decoders behind tn_image_load and tn_image_size. */
#ifndef TN_IMAGE_CODEC_H
#define TN_IMAGE_CODEC_H
#include "image.h"
#include <stdio.h>

enum { TN_MAX_SIDE = 32768 };

/** f stands at the file's begin. With sizes_only only im->w and im->h are filled. A failure leaves nothing to free. */
int tn_jpeg_read(tn_image *im, FILE *f, const char *path, bool sizes_only, tn_error *err);
int tn_png_read(tn_image *im, FILE *f, const char *path, bool sizes_only, tn_error *err);
/** The sentence of a picture that is too large. */
static inline int tn_image_too_large(const char *path, unsigned w, unsigned h, tn_error *err)
{
    return tn_fail(err, TN_ERR_FORMAT, "%s: %u x %u pixels is too large; %d a side are read", path, w, h, TN_MAX_SIDE);
}
#endif
