/** Batches of frames, decoded and resized ahead of time by threads; the device makes tensors of them. */
#ifndef TN_LOADER_H
#define TN_LOADER_H
#include "prepare.h"
#include "windows.h"

/** The most decoding threads that a loader starts by itself. */
enum { TN_MAX_WORKERS = 64 };

/** One batch; owned by the loader until the next call. */
typedef struct tn_batch {
    int n;
    const int *index;      /* [n] samples of the data set */
    const uint8_t *frames; /* [n, frames, height, width, 3] RGB, the oldest first, varied where prep says so */
    const float *labels;   /* [n, answers, 3]: x, y in heatmap pixels, 1 where the ball is visible, 0 where none is, -1 where no
                            * label counts */
    const int *stored;     /* [n, answers, 2]: width and height of those images in their files; 0: no label counts */
} tn_batch;

typedef struct tn_loader tn_loader;

/** Decodes `ahead` batches ahead, and at least a frame for each thread; threads 0: as many as there are processors. The data set's
 * first frames are kept resized, as many as go into `keep_bytes`. What comes out depends on neither. The data set is borrowed; its
 * samples (windows.h) stay as they are. */
int tn_loader_new(tn_loader **out, const tn_dataset *d, const tn_prep *prep, int batch, int threads, int ahead, size_t keep_bytes,
                  tn_error *err);
void tn_loader_free(tn_loader *l);
/** How many of the data set's frames it keeps once they were read, never more; of this many bytes each. */
int tn_loader_keeps(const tn_loader *l, size_t *frame_bytes);
/** Between passes: with `only`, frames that an earlier pass read are not read again; what stands in their place in a batch is
 * nothing to go by. Labels are as ever. */
void tn_loader_labels_only(tn_loader *l, bool only);
/** Starts a pass over the samples `order` [n] (copied). `epoch` seeds what is varied. */
int tn_loader_start(tn_loader *l, const int *order, int n, int epoch, tn_error *err);
/** The rest of a pass that was broken off: `before` samples went before `order`. Only where batches are whole (tn_prep.whole 0). */
int tn_loader_start_at(tn_loader *l, const int *order, int n, int before, int epoch, tn_error *err);
/** Next batch, or b->n == 0 at the end. A frame that cannot be read fails here, by name. */
int tn_loader_next(tn_loader *l, tn_batch *b, tn_error *err);

/** Fisher-Yates order of 0..n-1 for an epoch. */
void tn_shuffle(int *order, int n, uint64_t seed, int epoch);
#endif
