/** Where the ball was in the last frames, drawn over a frame. */
#ifndef TN_TRAIL_H
#define TN_TRAIL_H
#include "image.h"

enum { TN_TRAIL = 16 }; /* frames that stay to be seen */

/** Zero-initialise. */
typedef struct tn_trail {
    struct {
        double x, y;
        bool visible;
    } v[TN_TRAIL];   /* a ring */
    long long count; /* frames so far */
} tn_trail;

/** Takes the next frame's ball, in pixels of the frame. */
void tn_trail_add(tn_trail *t, double x, double y, bool visible);
/** A tail that fades and thins towards older frames, interrupted where no ball was visible, and a ring round today's ball. */
void tn_trail_draw(const tn_trail *t, tn_image *im);
#endif
