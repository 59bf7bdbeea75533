/** Training, evaluation, prediction and the memory plan: what the command does, from C. */
#ifndef TRACKNET_TRAIN_H
#define TRACKNET_TRAIN_H
#include <stdbool.h>
#include <stddef.h>
#include <tracknet/config.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

/** Where a run computes and where its lines go. Zero-initialise. */
typedef struct tn_run_options {
    const char *device;          /**< as tn_device_select */
    size_t memory_limit;         /**< bytes of device memory this run may take; 0: all there is */
    const tn_log *log;           /**< may be NULL */
    const char *resume;          /**< training: folder of a checkpoint (…/last) to go on from, or NULL */
    const char *checkpoint;      /**< eval and predict: folder of a checkpoint */
    const char *const *adapters; /**< eval and predict: PEFT adapters over one base, instead of the checkpoint's own */
    int n_adapters;
} tn_run_options;

/** One optimiser step, for a progress bar. */
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
} tn_epoch;

/** Callbacks; any may be NULL. Returning non-zero stops the run cleanly after its last checkpoint. */
typedef struct tn_train_callbacks {
    int (*step)(void *user, const tn_step *s);
    int (*epoch)(void *user, const tn_epoch *e);
    void *user;
} tn_train_callbacks;

/** Device memory in bytes, apart by purpose; `full_float32` is what training everything in float32 would take. */
typedef struct tn_memory {
    size_t weights, weights_float32, parameters, gradients, optimizer, activations, workspace, total;
    size_t full_float32;
    int micro_batch;
    int quantized_modules, skipped_modules, indivisible_modules; /**< of the backbone's linear layers */
} tn_memory;

typedef struct tn_train_summary {
    long long trainable, parameters; /**< counts */
    int quantized_modules, skipped_modules;
    tn_memory planned;
    size_t allocated_peak; /**< bytes the run really took from the device */
    double seconds, images_per_second, first_loss, last_loss, best_metric;
    int epochs_run, stopped_early;
    char device[128];
} tn_train_summary;

int tn_train(const tn_config *c, const tn_run_options *o, const tn_train_callbacks *cb, tn_train_summary *summary, tn_error *err);

/** What a training run of this configuration would take on this device; nothing is trained. */
int tn_plan_memory(const tn_config *c, const tn_run_options *o, tn_memory *m, tn_error *err);

/** Means over the samples of the split, not over batches. Distances in heatmap pixels. */
typedef struct tn_eval_result {
    double loss, l2, pck;
    int samples, visible, correct;
} tn_eval_result;

/** split: "val" or "train". With o->checkpoint NULL the model as configured is evaluated. */
int tn_eval(const tn_config *c, const tn_run_options *o, const char *split, tn_eval_result *r, tn_error *err);

/** One frame's answer. */
typedef struct tn_prediction {
    const char *image;   /**< path, borrowed during the callback */
    double x, y;         /**< pixels of the image */
    double confidence;   /**< 0..1, the heatmap's peak */
    const char *adapter; /**< folder of the adapter that was in place, or NULL */
} tn_prediction;

typedef struct tn_predict_options {
    const char *const *images; /**< files or folders */
    int n_images;
    const char *outdir; /**< heatmap and overlay PNGs go there; NULL: none */
    const char *csv;    /**< table of all predictions; NULL: none */
    int (*each)(void *user, const tn_prediction *p, int done, int total);
    void *user;
} tn_predict_options;
int tn_predict(const tn_config *c, const tn_run_options *o, const tn_predict_options *p, tn_error *err);

/** The configuration a checkpoint was trained with. Free with tn_config_free. */
int tn_checkpoint_config(tn_config **c, const char *checkpoint, const char *const *overrides, int n_overrides, const tn_log *log,
                         tn_error *err);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
#endif
