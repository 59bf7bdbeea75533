/** Small letters for captions in pictures: 5 x 7 dots each, ASCII; what has no letter is a box. */
#ifndef TN_LETTERING_H
#define TN_LETTERING_H
#include "image.h"

/** Dots from one letter to the next, and from one line to the next. */
enum { TN_LETTER_W = 6, TN_LETTER_H = 9 };

/** Writes s with its upper left corner at (x, y), a dot `scale` pixels wide; what lies outside the picture is cut. */
void tn_draw_text(tn_image *im, int x, int y, int scale, const char *s, const uint8_t colour[3]);
#endif
