/** A timeline as a picture. */
#ifndef TN_SVG_H
#define TN_SVG_H
#include "text.h"
#include "timeline.h"

/** A row: what a stage is called. */
typedef struct tn_svg_row {
    int replica, stage;
    const char *label; /* any text; it is escaped */
} tn_svg_row;

/** Appends an SVG of the plan's rows and, where there is one, of what ran below it on the same scale. measured may be NULL.
 * Readable on light and dark ground. More than TN_SVG_ROWS rows are cut, and it says so. */
enum { TN_SVG_ROWS = 24 };
void tn_timeline_svg(tn_text *out, const char *title, const tn_svg_row *row, int n_rows, const tn_timeline *plan,
                     const tn_timeline *measured);
#endif
