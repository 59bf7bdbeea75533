/** Colours varied as torchvision's ColorJitter varies a Pillow image: with the same factors the same bytes (Pillow 13, ImageEnhance
 * and its 8-bit HSV). */
#ifndef TN_JITTER_H
#define TN_JITTER_H
#include "image.h"

typedef enum tn_jitter_step { TN_BRIGHTNESS, TN_CONTRAST, TN_SATURATION, TN_HUE, TN_JITTER_STEPS } tn_jitter_step;

/** One step. factor: 0 or more, 1 changes nothing; of TN_HUE a part of the circle, -0.5 to 0.5, 0 changes nothing. */
void tn_jitter_frame(tn_image *im, tn_jitter_step step, double factor);
#endif
