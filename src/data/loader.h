/** Batches of frames, decoded, resized and turned into tensors ahead of time by threads. */
#ifndef TN_LOADER_H
#define TN_LOADER_H
#include "dataset.h"

/** How a frame becomes a tensor and a target. */
typedef struct tn_prep {
    int width, height, heat_w, heat_h;
    double sigma;
    bool normalize;
    double flip_prob; /* 0 outside training */
    uint64_t seed;
} tn_prep;

/** One batch; owned by the loader until the next call. */
typedef struct tn_batch {
    int n;
    const int *index;    /* [n] into the data set */
    const float *pixels; /* [n, 3, height, width] */
    const float *target; /* [n, heat_h, heat_w] */
    const float *mask;   /* [n]: 1 where the ball is visible */
    const float *ball;   /* [n, 2]: x, y in heatmap pixels */
} tn_batch;

typedef struct tn_loader tn_loader;

/** `keep_bytes`: resized frames kept in memory up to this. The data set is borrowed. */
int tn_loader_new(tn_loader **out, const tn_dataset *d, const tn_prep *prep, int batch, int threads, int ahead, size_t keep_bytes,
                  tn_error *err);
void tn_loader_free(tn_loader *l);
/** Starts a pass over `order` [n] (copied). `epoch` seeds the flips. */
int tn_loader_start(tn_loader *l, const int *order, int n, int epoch, tn_error *err);
/** Next batch, or b->n == 0 at the end. A frame that cannot be read fails here, by name. */
int tn_loader_next(tn_loader *l, tn_batch *b, tn_error *err);

/** Resized image to CHW floats, [0,1] or ImageNet-normalised. */
void tn_pixels(float *out, const tn_image *im, bool normalize);
/** exp(-d^2 / 2 sigma^2) round (x, y). */
void tn_gaussian(float *out, int w, int h, double x, double y, double sigma);
/** Fisher-Yates order of 0..n-1 for an epoch. */
void tn_shuffle(int *order, int n, uint64_t seed, int epoch);
#endif
