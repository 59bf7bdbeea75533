/** What everything that runs on a device may be told. */
#ifndef TRACKNET_RUN_H
#define TRACKNET_RUN_H
#include <stdbool.h>
#include <stddef.h>
#include <tracknet/error.h>
#include <tracknet/log.h>
#include <tracknet/progress.h>
#include <tracknet/ranks.h>

/**
 * Where a run computes, what it starts from and where its lines go. Begin with TN_RUN_OPTIONS_INIT; everything is borrowed
 * for the call. A NULL pointer to it means the defaults.
 */
typedef struct tn_run_options {
    unsigned version;
    const char *device;          /**< as tn_device_select_list */
    const char *stages;          /**< which layers run on which device, instead of a plan: "0:embeddings-layer.5,1:layer.6-head";
                                      device is not looked at then. NULL: planned */
    size_t memory_limit;         /**< bytes of device memory this run may take; 0: all there is */
    const tn_log *log;           /**< may be NULL */
    tn_progress_fn *progress;    /**< may be NULL */
    void *user;                  /**< for progress */
    const char *variants;        /**< kernel variants to take instead of the measured ones, "gemm=portable"; "first": the first that
                                      is right where none was measured, for short runs; NULL: none */
    const char *cache;           /**< folder for kernel binaries and measurements; "off": none; NULL or "on": tracknet below
                                      $XDG_CACHE_HOME or ~/.cache */
    const char *resume;          /**< training: folder of a checkpoint (…/last) to go on from, or NULL */
    const char *checkpoint;      /**< eval, predict, export, tn_model_open: folder of a checkpoint, or NULL */
    const char *const *adapters; /**< the same: PEFT adapters over one base, instead of the checkpoint's own */
    int n_adapters;
    const float
        *threshold;     /**< eval, predict: confidence from which a frame is said to show a ball, 0..1; NULL: what training chose */
    const char *helper; /**< the tracknet command: its processes build kernels for this one where a driver builds them one after
                             another (PoCL) or slowly (NVIDIA's) and none is cached yet, try kernel variants that nobody has run on
                             such a device yet, and measure a benchmark; NULL: this one builds them and measures, and those variants
                             are not used */
    bool overwrite;     /**< training: the folder may hold a run, which the new one replaces; its checkpoints stay until then */
    int nice;         /**< milliseconds of rest after each 100 ms of a device's work, so that a desktop that it draws stays usable;
                           0: none */
    int tune_seconds; /**< tn_device_tune: what its search for CLBlast's parameters may take; 0: 120, where CLBlast is near the
                           fastest in a product, else it is not made */
    tn_ranks *ranks;  /**< training: the job that this process is one of (tracknet/ranks.h); NULL: it trains alone */
} tn_run_options;
#define TN_RUN_OPTIONS_VERSION 1
#define TN_RUN_OPTIONS_INIT    TN_INIT(TN_RUN_OPTIONS_VERSION)
#endif
