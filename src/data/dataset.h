/** Labelled frames in the TrackNet layout: root/<game>/<clip>/Label.csv and the frames it names. */
#ifndef TN_DATASET_H
#define TN_DATASET_H
#include "image.h"
#include "log.h"
#include "text.h"
#include <stdbool.h>

typedef struct tn_frame {
    char *path;
    bool visible;
    double x, y; /* ball, pixels of the stored image */
} tn_frame;

typedef struct tn_dataset {
    tn_frame *f;
    int n, missing; /* missing: labelled frames that are not there */
} tn_dataset;

/**
 * Reads every clip of the games. A missing game is warned about; a bad row is an error with file:line; no frame at all
 * is an error. `what` names the split in messages.
 */
int tn_dataset_read(tn_dataset *d, const char *root, const tn_strs *games, const char *what, const tn_log *log, tn_error *err);
void tn_dataset_free(tn_dataset *d);
/** One Label.csv; frames are looked for in `dir`. Appends to d. */
int tn_labels_read(tn_dataset *d, const char *dir, const char *csv, tn_error *err);
#endif
