/** Labelled frames in the TrackNet layouts (docs/data.md): root/<game>/<clip>/Label.csv and the frames it names. */
#ifndef TN_DATASET_H
#define TN_DATASET_H
#include "image.h"
#include "log.h"
#include "text.h"
#include <stdbool.h>
#include <tracknet/labels.h>

typedef struct tn_frame {
    char *path;
    bool visible;
    int visibility; /* as the label has it, 0 to 3 */
    double x, y;    /* ball, pixels of the stored image */
    int w, h;       /* of that, as its header has them */
} tn_frame;

/** Windows of frames as samples (windows.h); n 0: every labelled frame is a sample of its own. */
typedef struct tn_windows {
    int length, answers, n;
    int *frame; /* [n, length], oldest first, as tn_dataset_frame takes them; owned */
    int *label; /* [n, answers] labelled frames; -1: no label counts there; owned */
} tn_windows;

/** Rows that are set aside for one reason; `rows` 0: none. */
typedef struct tn_set_aside {
    int rows, line;
    char *file; /* of the first; owned */
    char why[128];
} tn_set_aside;

typedef struct tn_dataset_clip {
    char *name, *file; /* "game/clip"; its labels; owned */
    int first, n;      /* its frames in the data set */
    int pictures;      /* in its folder */
    int *in_time;      /* [n_in_time] its labelled frames and the pictures between them, as tn_dataset_frame takes them; owned */
    int n_in_time;
    tn_set_aside aside[TN_LABEL_KINDS];
} tn_dataset_clip;

typedef struct tn_dataset {
    tn_frame *f; /* labelled */
    int n;
    tn_frame *other; /* pictures without a label that counts, of which only the path is known */
    int n_other;
    tn_dataset_clip *clips;
    int n_clips;
    tn_windows w; /* what samples are (windows.h) */
} tn_dataset;

/** i: 0 to n - 1 is a labelled frame, below 0 the other one ~i. */
static inline const tn_frame *tn_dataset_frame(const tn_dataset *d, int i)
{
    return i < 0 ? &d->other[~i] : &d->f[i];
}

/**
 * Reads every clip of the games. A missing game is warned about; rows that cannot be used are set aside and told of in one
 * warning, or, when `strict`, an error with the first one's file:line; no frame at all is an error. `what` names the split in
 * messages.
 */
int tn_dataset_read(tn_dataset *d, const char *root, const tn_strs *games, const char *what, bool strict, const tn_log *log,
                    tn_error *err);
/** The same without judging what was set aside. */
int tn_dataset_scan(tn_dataset *d, const char *root, const tn_strs *games, const tn_log *log, tn_error *err);
/** The judgement: TN_ERR_FORMAT where rows are set aside and `strict`, or where they are all that there is. */
int tn_dataset_judge(const tn_dataset *d, const char *root, const tn_strs *games, const char *what, bool strict, const tn_log *log,
                     tn_error *err);
/** Whether there is a ball to learn from: TN_ERR_FORMAT where no labelled frame shows one. */
int tn_dataset_check_ball(const tn_dataset *d, const char *what, tn_error *err);
void tn_dataset_free(tn_dataset *d);
/** The frame as stored; tn_image_free frees it. An error tells what to do about a frame of a data set. */
int tn_frame_load(tn_image *out, const tn_frame *f, tn_error *err);
/** The frame at out's size, as tn_image_reader_read gives it; the same errors. */
int tn_frame_read(tn_image_reader *r, const tn_image *out, int *w, int *h, const tn_frame *f, tn_error *err);
/** One label file of a clip whose frames lie in `dir`. Appends to d. */
int tn_labels_read(tn_dataset *d, const char *name, const char *dir, const char *csv, tn_error *err);
/** A kind in words, "visible without coordinates"; static. */
const char *tn_label_kind_name(tn_label_kind kind);
#endif
