/** A contact sheet: frames of a data set, small, with their labels drawn and named. */
#ifndef TN_SHEET_H
#define TN_SHEET_H
#include "dataset.h"
#include "watch.h"

/** Writes a PNG of `n` frames chosen evenly over all that are labelled (or of all, when there are fewer). A frame that cannot be
 * read is a grey tile that says so. d has a frame. */
int tn_sheet_write(const char *path, const tn_dataset *d, int n, const tn_watch *watch, tn_error *err);
#endif
