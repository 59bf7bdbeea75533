/** Pictures of a step's profile, as SVG that lies in a page whose style has their classes. Texts of results are escaped. */
#ifndef TN_PICTURES_H
#define TN_PICTURES_H
#include "text.h"
#include <jansson.h>

enum { TN_PICTURE_NUMBERS = 12, TN_PICTURE_BARS = 16 };

/** A step's points (points.h) below the device's two limits; the slowest TN_PICTURE_NUMBERS have their number. id: of the picture
 * in its page. */
void tn_picture_roofline(tn_text *t, const json_t *step, const char *id);
/** Rows of a profile, {key: name, seconds}, as bars; what is beyond TN_PICTURE_BARS is one bar more. */
void tn_picture_bars(tn_text *t, const json_t *rows, const char *key, const char *title, const char *id);
#endif
