/** Training, evaluation, prediction and the memory plan: what the command does, from C. */
#ifndef TRACKNET_TRAIN_H
#define TRACKNET_TRAIN_H
#include <stdbool.h>
#include <stddef.h>
#include <tracknet/config.h>
#include <tracknet/run.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One optimiser step, for a progress bar. Made by the library: may grow at the end; so may tn_epoch and tn_prediction. */
typedef struct tn_step {
    int epoch, epochs;     /**< from 1 */
    long long step, steps; /**< of the whole run, from 1 */
    double loss, lr, images_per_second, seconds_left;
} tn_step;

/** The end of an epoch. Positions are heatmap pixels. */
typedef struct tn_epoch {
    int epoch;
    double train_loss, lr, seconds;
    bool validated, best;
    double val_loss, val_l2, val_pck;
    const struct tn_eval_result *val; /**< all of the validation, borrowed during the callback; NULL: not validated */
    int skipped;                      /**< optimiser steps that overflowed float16 and were not taken */
} tn_epoch;

/** Callbacks; any may be NULL. Non-zero stops the run: it returns TN_ERR_CANCELLED, and the checkpoint of the last whole
 * epoch stands. Begin with TN_TRAIN_CALLBACKS_INIT. */
typedef struct tn_train_callbacks {
    unsigned version;
    int (*step)(void *user, const tn_step *s); /**< in order, up to two steps late: the host is ahead of the device */
    int (*epoch)(void *user, const tn_epoch *e);
    void *user;
} tn_train_callbacks;
#define TN_TRAIN_CALLBACKS_VERSION 1
#define TN_TRAIN_CALLBACKS_INIT    TN_INIT(TN_TRAIN_CALLBACKS_VERSION)

/** Device memory in bytes, apart by purpose; `full_float32` is what training everything in float32 would take. Begin with
 * TN_MEMORY_INIT. */
typedef struct tn_memory {
    unsigned version;
    size_t weights, weights_float32, parameters, gradients, optimizer, activations, workspace, total;
    size_t full_float32;
    int micro_batch;
    int quantized_modules, skipped_modules, indivisible_modules; /**< of the backbone's linear layers */
    size_t streamed; /**< frozen weights that stay in the host's memory and pass through the device; `weights` has the window's */
} tn_memory;
#define TN_MEMORY_VERSION 1
#define TN_MEMORY_INIT    TN_INIT(TN_MEMORY_VERSION)

/** Begin with TN_TRAIN_SUMMARY_INIT. */
typedef struct tn_train_summary {
    unsigned version;
    long long trainable, parameters; /**< counts */
    int quantized_modules, skipped_modules;
    tn_memory planned;
    size_t allocated_peak; /**< bytes the run really took from the device */
    double seconds, images_per_second, first_loss, last_loss, best_metric;
    int epochs_run, stopped_early;
    char device[128];
    char output_dir[1024];   /**< the run's folder; "" before there was one */
    long long skipped_steps; /**< that overflowed float16 and were not taken */
} tn_train_summary;
#define TN_TRAIN_SUMMARY_VERSION 1
#define TN_TRAIN_SUMMARY_INIT    TN_INIT(TN_TRAIN_SUMMARY_VERSION)

/** cb and summary may be NULL. A cancelled run fills the summary too, as far as it came. */
TN_API int tn_train(const tn_config *c, const tn_run_options *o, const tn_train_callbacks *cb, tn_train_summary *summary,
                    tn_error *err);

/** What a training run of this configuration would take on this device; nothing is trained. The data set is not looked at, so
 * features of its frames (training.feature_cache) are not in it; tn_train_check's and a run's plans have them in `activations`. */
TN_API int tn_plan_memory(const tn_config *c, const tn_run_options *o, tn_memory *m, tn_error *err);

/** Whether this configuration can train here: labelled frames of each split and a ball to learn from, the folders, the checkpoints
 * it starts from (whether they fit), and the plan that tn_plan_memory makes. *m is filled where the plan succeeds, also when
 * something else is the fault. Nothing is written. */
TN_API int tn_train_check(const tn_config *c, const tn_run_options *o, tn_memory *m, tn_error *err);

/** Means over the samples of the split, not over batches; NAN where there was nothing to measure, such as distances without a
 * visible ball. What is counted and how the ratios are made: docs/metrics.md, after TrackNetV2 and TrackNetV3. Begin with
 * TN_EVAL_RESULT_INIT. */
typedef struct tn_eval_result {
    unsigned version;
    double loss, l2, pck; /**< l2: mean distance, heatmap pixels; pck: of the visible balls those within 3 of them */
    int samples, visible, correct;
    double l2_frame;                        /**< mean distance of what tn_predict reports, pixels of the stored frames */
    double threshold;                       /**< a ball is predicted where the confidence reaches it */
    double tolerance;                       /**< how far off a found ball may be, pixels of the stored frames */
    int tp, fp1, fp2, tn, fn;               /**< frames: found; found too far off; found where none is; rightly none; missed */
    double resolution;                      /**< half the diagonal of a heatmap pixel, pixels of the largest stored frame */
    double accuracy, precision, recall, f1; /**< 0..1; over nothing: 0 */
} tn_eval_result;
#define TN_EVAL_RESULT_VERSION 1
#define TN_EVAL_RESULT_INIT    TN_INIT(TN_EVAL_RESULT_VERSION)

/** split: "val" or "train". With o->checkpoint NULL the model as configured is evaluated. The threshold is o->threshold, or else
 * what the checkpoint stores; the tolerance is training.metrics.tolerance. */
TN_API int tn_eval(const tn_config *c, const tn_run_options *o, const char *split, tn_eval_result *r, tn_error *err);

/** One frame's answer. */
typedef struct tn_prediction {
    const char *image;   /**< path of the image or the video, borrowed during the callback */
    double x, y;         /**< pixels of the image */
    double confidence;   /**< 0..1, the heatmap's peak */
    const char *adapter; /**< folder of the adapter that was in place, or NULL */
    bool visible;        /**< the confidence reaches the threshold; x and y are the peak's place either way */
    long long frame;     /**< of a video: its number, from 0 */
    double time;         /**< of a video: seconds from its beginning */
    bool repaired;       /**< with smooth: an outlier that was dropped or moved, or a gap that was filled */
} tn_prediction;

/** Begin with TN_PREDICT_OPTIONS_INIT. */
typedef struct tn_predict_options {
    unsigned version;
    const char *const *images; /**< files or folders */
    int n_images;
    const char *outdir; /**< heatmap and overlay PNGs go there; NULL: none */
    const char *csv;    /**< table of all predictions; NULL: none */
    /** Called for each frame; non-zero stops. May be NULL. total is a guess for a video, 0: not known. */
    int (*each)(void *user, const tn_prediction *p, int done, int total);
    void *user;
    const char *video;     /**< a video instead of images; csv is then Frame,Visibility,X,Y,Confidence,Time, row by row */
    const char *video_out; /**< the video with the ball and its trail drawn, with the source's sound; NULL: none */
    int batch;             /**< frames that go to the device together, at most; 0: 1 image, 8 frames of a video */
    bool smooth;           /**< drop outliers and fill short gaps: the images, in their order, are one track; answers come late */
    int max_gap;           /**< smooth: frames of a gap that is filled, 0 to TN_PREDICT_LONGEST_GAP; TN_PREDICT_GAP is usual */
} tn_predict_options;
#define TN_PREDICT_OPTIONS_VERSION 1
#define TN_PREDICT_GAP             5
#define TN_PREDICT_LONGEST_GAP     100
#define TN_PREDICT_OPTIONS_INIT    TN_INIT(TN_PREDICT_OPTIONS_VERSION)
/** A ball is visible from o->threshold on, or else from what training chose (0: in every frame). Pictures of images and adapters of
 * equal names are kept apart by their folders' names in front. */
TN_API int tn_predict(const tn_config *c, const tn_run_options *o, const tn_predict_options *p, tn_error *err);

/** The configuration a checkpoint was trained with. Free with tn_config_free. */
TN_API int tn_checkpoint_config(tn_config **c, const char *checkpoint, const char *const *overrides, int n_overrides,
                                const tn_log *log, tn_error *err);

#ifdef __cplusplus
}
#endif
#endif
