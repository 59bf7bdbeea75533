/** What the columns and fields of a label file mean; docs/data.md tells the formats. */
#ifndef TN_LABELS_H
#define TN_LABELS_H
#include "csv.h"
#include <tracknet/labels.h>

enum { TN_COL_NAME, TN_COL_VISIBILITY, TN_COL_X, TN_COL_Y, TN_COLS };

typedef struct tn_label_columns {
    int at[TN_COLS]; /* -1: there is none */
    const char *bad; /* why no row of the file can be read, or NULL */
} tn_label_columns;

/** The row of one frame. */
typedef struct tn_label_row {
    const char *name; /* of the file, or a frame's number; a field of the record */
    int visibility;   /* 0: invisible; 1 to 3 */
    bool placed;      /* x and y are there */
    double x, y;
} tn_label_row;

/** Takes the file's first record: true when it is a header; otherwise the columns are name, visibility, x, y. */
bool tn_label_header(tn_label_columns *c, const tn_csv *first);
/** Whether a later record is a header beyond doubt, with a column for the frame, x and y: the columns are then its. */
bool tn_label_header_again(tn_label_columns *c, const tn_csv *record);
/** NULL, or why the record is set aside, and *kind. */
const char *tn_label_parse(tn_label_row *r, const tn_label_columns *c, const tn_csv *record, tn_label_kind *kind);
#endif
