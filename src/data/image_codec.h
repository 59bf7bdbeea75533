/** The two decoders behind tn_image_load, tn_image_size and tn_image_reader. */
#ifndef TN_IMAGE_CODEC_H
#define TN_IMAGE_CODEC_H
#include "image.h"
#include "resize.h"
#include <stdio.h>

enum { TN_MAX_SIDE = 32768 };

/** Opens a picture, at its begin, and tells by its first bytes what it is: PNG, else JPEG. */
int tn_image_open(FILE **f, bool *png, const char *path, tn_error *err);

/** f stands at the file's begin. With sizes_only only im->w and im->h are filled. A failure leaves nothing to free. */
int tn_jpeg_read(tn_image *im, FILE *f, const char *path, bool sizes_only, tn_error *err);
int tn_png_read(tn_image *im, FILE *f, const char *path, bool sizes_only, tn_error *err);

/** What stays from JPEG to JPEG; zeroed at first. */
typedef struct tn_jpeg_room {
    uint8_t *file, *rows; /* a file's bytes; a block of its rows */
    size_t n_file, n_rows;
} tn_jpeg_room;

void tn_jpeg_room_free(tn_jpeg_room *m);
/** The JPEG resized to out->w x out->h (whose pixels are there) as its rows come; *w and *h are its own size. */
int tn_jpeg_resized(tn_jpeg_room *m, tn_resizer *r, const tn_image *out, int *w, int *h, FILE *f, const char *path, tn_error *err);
/** The sentence of a picture that is too large. */
static inline int tn_image_too_large(const char *path, unsigned w, unsigned h, tn_error *err)
{
    return tn_fail(err, TN_ERR_FORMAT, "%s: %u x %u pixels is too large; %d a side are read", path, w, h, TN_MAX_SIDE);
}
#endif
