/** What a device is worth for this work: bandwidths, kernels, training steps and predictions, measured, checked and explained. */
#ifndef TRACKNET_BENCH_H
#define TRACKNET_BENCH_H
#include <stdbool.h>
#include <tracknet/run.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How long a device may take: four minutes, one, ten. Kernels that are built and chosen for the first time may add up to two to
 * the first two; what there is no time for is left out, which the result says. */
typedef enum tn_bench_effort { TN_BENCH_NORMAL, TN_BENCH_QUICK, TN_BENCH_FULL } tn_bench_effort;

/** Begin it with TN_BENCH_OPTIONS_INIT; everything is borrowed for the call. */
typedef struct tn_bench_options {
    unsigned version;
    tn_bench_effort effort;
    const char *parts;      /**< some of "links,kernels,work,clpeak", or single ones of docs/bench.md; NULL: the first three, in
                                 ten minutes all */
    const char *sizes;      /**< backbones whose step and prediction are measured, folders of config_dir/backbone:
                                 "vit-s,vit-b"; NULL: vit-s, and by device and effort vit-b and vit-l */
    const char *config_dir; /**< as in tn_config_source */
    const char *command;    /**< what the result says that it was made with; NULL: nothing */
    double seconds; /**< that a device may take instead of what its effort says, all included; 0: as that says. Since version 2 */
} tn_bench_options;
#define TN_BENCH_OPTIONS_VERSION 2
#define TN_BENCH_OPTIONS_INIT    TN_INIT(TN_BENCH_OPTIONS_VERSION)

/** A document of docs/bench.md: one or more devices with their measurements. */
typedef struct tn_bench_result tn_bench_result;

/**
 * Measures the devices that o->device selects (a list of them, one after the other). o->progress hears of each measurement
 * (TN_PHASE_MEASURING). A kernel that does not agree with plain C is no error: the result has that instead of its time, and
 * tn_bench_failures counts it; nor is a driver that ends the process where o->helper names the command, whose processes measure
 * then. TN_ERR_MEMORY where no model fits a device; the sentence says what would. Free with tn_bench_free.
 */
TN_API int tn_bench_run(const tn_run_options *o, const tn_bench_options *b, tn_bench_result **out, tn_error *err);
/** What a process that tn_run_options.helper names does, as `tracknet measure`: reads from file `in` what it is to measure for
 * another process of the same library, and writes what comes of it to file `out` (which says nothing else from then on). */
TN_API int tn_bench_serve(int in, int out, tn_error *err);
/** Measurements whose check failed, or that could not run where every device should (a variant that a driver refuses is none). */
TN_API int tn_bench_failures(const tn_bench_result *r);
/** Reads a file that tn_bench_write wrote. TN_ERR_FORMAT: it is none, or of another schema version. */
TN_API int tn_bench_read(tn_bench_result **out, const char *path, tn_error *err);
TN_API int tn_bench_write(const tn_bench_result *r, const char *path, tn_error *err);
/** NULL is allowed. */
TN_API void tn_bench_free(tn_bench_result *r);

/** These make a text, which is the caller's to free(). The document as it is written: */
TN_API int tn_bench_json(const tn_bench_result *r, char **text, tn_error *err);
/** For a terminal. */
TN_API int tn_bench_table(const tn_bench_result *r, char **text, tn_error *err);
/** The devices of n results side by side, ratios to the first one's first device; what measuring again could turn round is marked
 * as noise. json: the same as JSON. */
TN_API int tn_bench_compare(const tn_bench_result *const *r, int n, bool json, char **text, tn_error *err);
/** One page that needs nothing else; with the comparison where there are several devices. */
TN_API int tn_bench_html(const tn_bench_result *const *r, int n, char **text, tn_error *err);

#ifdef __cplusplus
}
#endif
#endif
