/** 8-bit RGB images: JPEG and PNG in, PNG and JPEG out, Pillow's bilinear resize, and what previews draw. */
#ifndef TN_IMAGE_H
#define TN_IMAGE_H
#include "fail.h"
#include <stdbool.h>
#include <stdint.h>

/** Row-major [h][w][3], owned; free with tn_image_free. */
typedef struct tn_image {
    int w, h;
    uint8_t *rgb;
} tn_image;

int tn_image_new(tn_image *im, int w, int h, tn_error *err);
void tn_image_free(tn_image *im);
/** By content, not by name: any JPEG or PNG as the 8-bit RGB that OpenCV's imread gives (docs/data.md), unrotated. A truncated
 * file is an error. */
int tn_image_load(tn_image *im, const char *path, tn_error *err);
/** Pixels, from the file's header alone: what lies behind it may still be damaged. */
int tn_image_size(int *w, int *h, const char *path, tn_error *err);
/** The same, and whether the file is whole: it ends as it should, or else all of it was decoded. */
int tn_image_whole(int *w, int *h, const char *path, tn_error *err);
/** Whether a name ends as pictures' do: .jpg, .jpeg or .png in any case. */
bool tn_image_named(const char *name);
int tn_image_save_png(const tn_image *im, const char *path, tn_error *err);
int tn_image_save_jpeg(const tn_image *im, const char *path, int quality, tn_error *err);
/** Pillow's Image.resize(..., BILINEAR): antialiased when shrinking, 8 bits between the two passes. */
int tn_image_resize(tn_image *out, const tn_image *in, int w, int h, tn_error *err);
/** Reads pictures to one size; decoder's memory and resize's tables stay from one to the next. For one thread. */
typedef struct tn_image_reader tn_image_reader;
int tn_image_reader_new(tn_image_reader **r, tn_error *err);
void tn_image_reader_free(tn_image_reader *r);
/** What tn_image_load and tn_image_resize give: to out's pixels, which are there. *w, *h: the picture's own size. */
int tn_image_reader_read(tn_image_reader *r, const tn_image *out, int *w, int *h, const char *path, tn_error *err);
void tn_image_flip(tn_image *im);

/** Blends a heatmap [hh][hw] over the image (0 and below: nothing; its maximum: full colour). */
void tn_draw_heat(tn_image *im, const float *heat, int hw, int hh);
/** The heatmap [hh][hw] of a ball at (x, y): exp(-d^2 / 2 sigma^2). */
void tn_gaussian(float *heat, int hw, int hh, double x, double y, double sigma);
/** A ring of radius r round (x, y). */
void tn_draw_ring(tn_image *im, double x, double y, double r, const uint8_t colour[3]);
#endif
