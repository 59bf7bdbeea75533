/**
 * Samples of several frames: windows of frames that follow each other in a clip, as ball trackers take them (TrackNet, Huang et al.
 * 2019; TrackNetV2, Sun et al. 2020, whose three frames have three heatmaps).
 *
 * A window never leaves its clip. Frames before the clip's first one are that first one again. A frame is whatever picture the
 * clip's folder holds there, with a label or without; one that cannot be read has none after it or before it.
 */
#ifndef TN_WINDOWS_H
#define TN_WINDOWS_H
#include "dataset.h"

typedef struct tn_sequence {
    int length; /* frames of a window; 1: none are made */
    int stride; /* frames from a window to the next, of a clip whose frames are all labelled */
    bool all;   /* every frame of a window has a heatmap, else the last one alone */
    bool once;  /* no frame's label counts in two windows: for evaluation */
} tn_sequence;

/**
 * Makes the data set's samples windows. The first window, and each that comes `stride` frames or more after the one before, ends at
 * a labelled frame; with `all` it begins at one, and the last one ends where its clip does. TN_ERR_CONFIG where a window is longer
 * than every clip. `what` names the split in messages. Before any loader.
 */
int tn_dataset_window(tn_dataset *d, const tn_sequence *s, const char *what, const tn_log *log, tn_error *err);

/** How many samples there are, frames of each, and heatmaps and labels of each. */
static inline int tn_samples(const tn_dataset *d)
{
    return d->w.length ? d->w.n : d->n;
}
static inline int tn_sample_frames(const tn_dataset *d)
{
    return d->w.length ? d->w.length : 1;
}
static inline int tn_sample_answers(const tn_dataset *d)
{
    return d->w.length ? d->w.answers : 1;
}
/** Frame k of sample i, the oldest first, as tn_dataset_frame takes it. */
static inline int tn_sample_frame(const tn_dataset *d, int i, int k)
{
    return d->w.length ? d->w.frame[i * d->w.length + k] : i;
}
/** The labelled frame that answer k of sample i is about; -1: no label counts there. */
static inline int tn_sample_label(const tn_dataset *d, int i, int k)
{
    return d->w.length ? d->w.label[i * d->w.answers + k] : i;
}
/** Frames that samples are made of. */
static inline int tn_sampled_frames(const tn_dataset *d)
{
    return d->n + (d->w.length ? d->n_other : 0);
}
/** The first `most` samples alone, from now on. */
void tn_dataset_limit(tn_dataset *d, int most);
#endif
