/** A model that stays open: device, kernels and weights are made ready once, then frames in memory are asked about. */
#ifndef TRACKNET_MODEL_H
#define TRACKNET_MODEL_H
#include <stddef.h>
#include <stdint.h>
#include <tracknet/config.h>
#include <tracknet/run.h>

#ifdef __cplusplus
extern "C" {
#endif

/** For one thread at a time. */
typedef struct tn_model_handle tn_model_handle;

/** 8-bit RGB in memory: `height` rows of `width` x 3 bytes, `stride` bytes from one row to the next (0: 3 x width).
 * Borrowed for the call. The struct never grows. */
typedef struct tn_rgb {
    const uint8_t *pixels;
    int width, height;
    size_t stride;
} tn_rgb;

/** Where the ball is. The struct never grows. */
typedef struct tn_ball {
    double x, y;       /**< pixels of the given frame; centres have whole coordinates */
    double confidence; /**< 0..1, the heatmap's peak */
} tn_ball;

typedef struct tn_model_info {
    unsigned version;
    int image_width, image_height; /**< what frames are resized to */
    int heat_width, heat_height;
    long long parameters;
    size_t device_bytes; /**< device memory in use now */
    char device[128];
    int adapters, adapter; /**< how many were given, and which is in place; -1: none was given */
    int frames;            /**< that the model looks at for one answer: 1, or a window's */
} tn_model_info;
#define TN_MODEL_INFO_VERSION 1
#define TN_MODEL_INFO_INIT    TN_INIT(TN_MODEL_INFO_VERSION)

/**
 * Opens the device, loads the weights and, where o->adapters are given, puts the first one in place. c: NULL takes the
 * configuration that lies in o->checkpoint, or in the first adapter; it may be freed afterwards, and so may all that o
 * points to, but for what o->log and o->progress work with. On failure *out is NULL. Close with tn_model_close.
 */
TN_API int tn_model_open(tn_model_handle **out, const tn_config *c, const tn_run_options *o, tn_error *err);

/**
 * Finds the ball in n frames, which may differ in size. balls: [n], filled. heat: NULL, or room for
 * [n][heat_height][heat_width] floats (tn_model_describe) that are filled with what the model drew, about 1 at the ball
 * and 0 elsewhere. Frames go to the device in batches; one that does not fit is halved.
 * The first call of a batch size builds that size's kernels and plan; the handle is as good as before when it fails.
 *
 * A model of several frames (tn_model_info.frames) takes them for frames of one video in their order, and those of the next call
 * for what follows. A frame is answered from itself and those before it; where every frame of a window has a heatmap
 * (model.heatmaps all), n frames are taken window by window and may be answered from those behind them in the same call too.
 */
TN_API int tn_model_predict(tn_model_handle *m, const tn_rgb *frames, int n, tn_ball *balls, float *heat, tn_error *err);

/** The next frame is the first of another video: those before it are forgotten. Nothing where the model takes single frames. */
TN_API int tn_model_restart(tn_model_handle *m, tn_error *err);

/** Puts another of the adapters that were given at opening in place, by its index. */
TN_API int tn_model_use_adapter(tn_model_handle *m, int index, tn_error *err);

/** info: begun with TN_MODEL_INFO_INIT. */
TN_API int tn_model_describe(const tn_model_handle *m, tn_model_info *info, tn_error *err);

/** NULL is fine. */
TN_API void tn_model_close(tn_model_handle *m);

#ifdef __cplusplus
}
#endif
#endif
