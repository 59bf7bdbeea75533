/** How far a long call has come, and the one way to stop it. */
#ifndef TRACKNET_PROGRESS_H
#define TRACKNET_PROGRESS_H

typedef enum tn_phase {
    TN_PHASE_OPENING,    /**< the device */
    TN_PHASE_LOADING,    /**< weights; item: the tensor */
    TN_PHASE_TUNING,     /**< checking and measuring kernel variants; item: what is measured */
    TN_PHASE_TRAINING,   /**< optimiser steps of the whole run */
    TN_PHASE_VALIDATING, /**< frames of the split */
    TN_PHASE_EXPORTING,  /**< item: the tensor or operation */
    TN_PHASE_PREDICTING, /**< item: the frame */
    TN_PHASE_QUANTIZING, /**< matrices; item: the tensor */
    TN_PHASE_MERGING,    /**< the same */
    TN_PHASE_DRAWING,    /**< synthetic frames */
    TN_PHASE_PROFILING,  /**< steps and passes */
    TN_PHASE_FEATURES,   /**< frames whose features of a frozen backbone are computed, before its first epoch */
    TN_PHASE_BUILDING,   /**< programs of kernels, by helpers */
    TN_PHASE_MEASURING,  /**< parts of a benchmark; item: the figure */
} tn_phase;

/** Made by the library and read through a pointer: later versions may add members at the end. */
typedef struct tn_progress {
    tn_phase phase;
    const char *what;      /**< the phase in words: "loading weights" */
    const char *item;      /**< what is being done, or NULL; borrowed during the callback */
    long long done, total; /**< of this phase; total 0: not known */
} tn_progress;

/** Called now and then, only from the thread that called the library. Anything but 0 stops that call, which cleans up and
 * returns TN_ERR_CANCELLED. */
typedef int tn_progress_fn(void *user, const tn_progress *p);
#endif
