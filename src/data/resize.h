/** Pillow's bilinear resize of 8-bit RGB, a block of rows at a time: what it needs stays from image to image. */
#ifndef TN_RESIZE_H
#define TN_RESIZE_H
#include "fail.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TN_RESIZE_ROWS = 16 }; /* that are taken together */

/** One axis: for each target the first source, how many, and their weights (22 bits). */
typedef struct tn_resize_axis {
    int in, out, width; /* sizes that it was made for; most sources of a target */
    int *first, *count, *k;
} tn_resize_axis;

/** Zeroed at first; may be begun again and again. */
typedef struct tn_resizer {
    bool plain; /* the caller's: with the instructions of every processor, to the same bytes */
    tn_resize_axis x, y;
    uint8_t *turned, *narrow;     /* a block's columns, as they come and resized: 16 rows beside each other */
    uint8_t *mid;                 /* rows of the width to be, `pitch` bytes each: those that targets to come read */
    size_t pitch, row;            /* row: bytes of one that comes */
    int mid_first, mid_n, next_y; /* mid's first row in the image, its rows; the next target */
    uint8_t *out;
} tn_resizer;

/** For an image of in_w x in_h, whose rows come next, to `out` [h][w][3]. */
int tn_resizer_begin(tn_resizer *r, int in_w, int in_h, int w, int h, uint8_t *out, tn_error *err);
/** The image's next n rows, at most TN_RESIZE_ROWS, `stride` bytes from each other. After the last, `out` is complete. */
void tn_resizer_rows(tn_resizer *r, const uint8_t *rows, size_t stride, int n);
/** Both for an image that lies in memory. */
int tn_resizer_image(tn_resizer *r, const uint8_t *in, int in_w, int in_h, int w, int h, uint8_t *out, tn_error *err);
void tn_resizer_free(tn_resizer *r);
#endif
