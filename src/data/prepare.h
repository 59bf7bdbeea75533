/** How a data set's frames become a model's: the size, and what is varied in training, the same for all frames of a sample. */
#ifndef TN_PREPARE_H
#define TN_PREPARE_H
#include "dataset.h"
#include "jitter.h"
#include "resize.h"
#include "windows.h"

/** Sizes that frames are resized and labels scaled to, and how frames are varied; all of that is 0 outside training. */
typedef struct tn_prep {
    int width, height, heat_w, heat_h;
    double flip_prob;
    double crop[2]; /* least and most share of the area that a crop of the frame's own shape keeps; 0, 0: none is cut */
    double jitter[TN_JITTER_STEPS]; /* torchvision's ColorJitter: how far each factor goes */
    uint64_t seed;
    int first, whole; /* a batch is a part of one of `whole` samples, from its sample `first` on; whole 0: it is whole */
} tn_prep;

/** What was drawn for one sample. */
typedef struct tn_variation {
    bool flip;
    int x, y, w, h; /* the crop, pixels of the resized frame */
    tn_jitter_step order[TN_JITTER_STEPS];
    double factor[TN_JITTER_STEPS]; /* by the step */
} tn_variation;

/** For the sample at that place of an epoch: a matter of the seed alone. */
tn_variation tn_vary(const tn_prep *p, int epoch, long long place);
/** Does anything make a frame another one from epoch to epoch? */
bool tn_prep_varies(const tn_prep *p);

/** What stays from frame to frame; zeroed at first. For one thread. */
typedef struct tn_vary_room {
    tn_resizer resizer;
    uint8_t *whole;
} tn_vary_room;
void tn_vary_room_free(tn_vary_room *r);
/** The resized frame cut, turned and coloured, in place. */
int tn_vary_frame(tn_image *im, const tn_prep *p, const tn_variation *v, tn_vary_room *room, tn_error *err);
/** x, y in heatmap pixels, and 1 where the ball is visible and inside the crop, else 0. f is of w x h pixels as stored. */
void tn_vary_label(float label[3], const tn_prep *p, const tn_variation *v, const tn_frame *f, int w, int h);
/** All of sample i's at that place of an epoch, labels [answers, 3] as a batch has them (loader.h). */
void tn_sample_labels(float *labels, const tn_dataset *d, int i, const tn_prep *p, int epoch, long long place);
#endif
