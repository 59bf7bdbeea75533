/** Where the time of a training step or a prediction goes: every command of it, timed on the device. */
#ifndef TRACKNET_PROFILE_H
#define TRACKNET_PROFILE_H
#include <stdbool.h>
#include <tracknet/api.h>
#include <tracknet/config.h>
#include <tracknet/train.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tn_profile_what { TN_PROFILE_TRAIN, TN_PROFILE_PREDICT } tn_profile_what;

/** Begin it with TN_PROFILE_OPTIONS_INIT. */
typedef struct tn_profile_options {
    unsigned version;
    tn_profile_what what;
    int batch;         /**< images of the pass; 0: the micro-batch that training would take, or 1 for a prediction */
    int repeat;        /**< bursts of steps, and passes, that are timed; 0: 5 */
    const char *json;  /**< the report is written there; NULL: not */
    const char *trace; /**< a Chrome trace (chrome://tracing, Perfetto) is written there; NULL: not */
} tn_profile_options;
#define TN_PROFILE_OPTIONS_VERSION 1
#define TN_PROFILE_OPTIONS_INIT    TN_INIT(TN_PROFILE_OPTIONS_VERSION)

/** One command of the step, in the order in which the device runs them; the optimiser's come last. */
typedef struct tn_profile_entry {
    const char *layer, *operation;
    const char *variant; /**< of the operation; NULL: it has one way to run */
    const char *kernel;  /**< "fill" and "copy" for what is no kernel */
    int node;            /**< operation of the graph; several entries may share one */
    double seconds;      /**< median */
    double flops, bytes; /**< of the whole node, on its first entry; 0: not known */
} tn_profile_entry;

/** Plain data; strings and entries are the report's. */
typedef struct tn_profile_report {
    tn_profile_what what;
    const char *device, *driver, *storage; /**< storage: of the activations, "float32" */
    int batch, repeat;
    tn_profile_entry *entries;
    int n;
    double seconds;      /**< sum over the entries */
    double flops, bytes; /**< the same; 0 when they are not known of every node */
    double step_seconds; /**< of a whole step on the host's clock, not profiled: fresh frames, transfers and waits included; the
                              median of `repeat` bursts */
    int burst;           /**< steps of a burst, one after another as training has them: some tenths of a second, at least one */
    double idle;         /**< part of step_seconds in which no command of the step ran: 1 - seconds / step_seconds, at least 0 */
    double result;       /**< the last step's loss, or the mean of its heatmaps; NAN where they (the gradient) are not finite */
    size_t peak_bytes;   /**< most device memory that the steps held at a time, weights included */
    long long launches, blocking;    /**< of one steady step: kernels enqueued, calls that waited for the device */
    double bandwidth, peak;          /**< measured: bytes/s (read and written) of a copy, flop/s of a large square product */
    const char *copied_by, *peak_by; /**< what reached them */
} tn_profile_report;

/** Opens the model as training (or prediction: o->checkpoint, o->adapters) does, runs steps on random frames and profiles them.
 * Nothing is read of the data set or written to the output folder. Free with tn_profile_free. */
TN_API int tn_profile(const tn_config *c, const tn_run_options *o, const tn_profile_options *p, tn_profile_report **out,
                      tn_error *err);
/** NULL is allowed. */
TN_API void tn_profile_free(tn_profile_report *r);

typedef enum tn_profile_by { TN_BY_KERNEL, TN_BY_OPERATION, TN_BY_LAYER, TN_BY_ENTRY } tn_profile_by;

/** Entries taken together. A name is NULL where the entries are not grouped by it; strings are the report's. */
typedef struct tn_profile_row {
    const char *layer, *operation, *kernel, *variant;
    int entries;
    double seconds, share; /**< share: of the report's seconds, 0..1 */
    double flops, bytes;   /**< 0: not known, be it that a node's other entries are in other rows */
    double roofline;       /**< the least time that flops and bytes can take here, over seconds; 0: not known */
} tn_profile_row;

/** The slowest first. *rows is the caller's to free(). */
TN_API int tn_profile_rows(const tn_profile_report *r, tn_profile_by by, tn_profile_row **rows, int *n, tn_error *err);
/** As p->json has it. *text is the caller's to free(). */
TN_API int tn_profile_json(const tn_profile_report *r, char **text, tn_error *err);

#ifdef __cplusplus
}
#endif
#endif
