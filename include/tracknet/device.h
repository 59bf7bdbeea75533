/** The OpenCL devices of this machine. */
#ifndef TRACKNET_DEVICE_H
#define TRACKNET_DEVICE_H
#include <stdbool.h>
#include <stddef.h>
#include <tracknet/run.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tn_device_type { TN_DEVICE_CPU, TN_DEVICE_GPU, TN_DEVICE_OTHER } tn_device_type;

/** What matters of a device for this work. Sizes in bytes. Made by the library: may grow at the end. */
typedef struct tn_device_info {
    int index; /**< position in the list; what --device takes */
    char name[128], vendor[96], platform[96], driver[96], version[96];
    tn_device_type type;
    size_t global_memory, largest_allocation, local_memory;
    unsigned compute_units, clock_mhz, max_work_group, float_width;
    bool unified_memory;           /**< shares memory with the host */
    bool half_arithmetic;          /**< cl_khr_fp16 */
    bool bf16_units, matrix_units; /**< hardware that multiplies bf16 / small matrices, as far as the driver tells */
    char capabilities[128];        /**< what kernel variants may use, names separated by spaces: "cpu avx2", "ptx mma80" */
    const char *quirks;            /**< what this driver needs, one phrase each, "" when none; static */
    char hardware[96];             /**< which piece of hardware it is, the same through every platform: "pci 0000:01:00.0", then
                                        "uuid ..." where the driver tells that too; "" where it tells neither */
    int duplicate_of;              /**< index of the device that is this one through a better platform, and is taken where a
                                        selector means both; -1: none */
    double product_rate;           /**< operations a second of a layer's product, and */
    double copy_rate;              /**< bytes a second of a copy, as tn_device_compare found them; 0: it did not */
} tn_device_info;

/**
 * How many threads CPU devices may take in this process; 0: as many as the process's affinity has processors and its control
 * group grants, instead of as many as the machine has. At most one for each processor of the affinity. PoCL's are also bound to a
 * processor each where that is safe: the process may use the whole machine, and no two would share a core while another is idle. It
 * sets variables of the environment, which is all that CPU drivers (PoCL, Intel's, Mesa's llvmpipe) read, once, when they are first
 * asked; so it is called once, as a program begins, before it has other threads and before any function that asks for devices
 * (TN_ERR_ARGUMENT after). With 0, variables that are set already stay. Without this call drivers take what they take.
 */
TN_API int tn_cpu_threads(int threads, tn_error *err);

/** Every device of every platform: (*list)[i] points to device i of *count. No device: TN_ERR_DEVICE with advice. Free with
 * tn_device_list_free. */
TN_API int tn_device_list(tn_device_info ***list, int *count, tn_error *err);
/** NULL is fine. */
TN_API void tn_device_list_free(tn_device_info **list);

/**
 * Picks one device and gives its index: NULL or "" (the GPU with the most memory, else the CPU), an index, "cpu", "gpu", or a part
 * of its name (any case). A part that matches nothing, or two devices, is TN_ERR_DEVICE; so is a list, which tn_device_select_list
 * takes.
 */
TN_API int tn_device_select(int *index, const char *selector, tn_error *err);

/**
 * Picks several devices and gives their indices in the order of the list, which the caller free()s: selectors of tn_device_select
 * separated by commas, or "all". NULL or "" is the one device that tn_device_select picks. TN_ERR_DEVICE: an entry that matches no
 * device or several, an empty one, a device that is named twice, and a GPU that is named through two platforms. A processor may be
 * named through two platforms, whose threads then share its cores. "all" takes each piece of hardware once, processors too; *left
 * (may be NULL; the caller free()s it) gets a sentence for each device that it leaves out, a line each, or "".
 */
TN_API int tn_device_select_list(int **indices, int *count, char **left, const char *selector, tn_error *err);

/**
 * Where a piece of hardware is offered by several platforms, finds out which of them is faster: each one's devices multiply and
 * copy in a process of their own (tn_run_options.helper; half a minute at most, usually seconds), once for a driver, and the cache
 * keeps what they took. From then on in this process the list says so (product_rate, copy_rate, duplicate_of) and selectors mean
 * the faster one. Without a call, with cache "off", and where a measurement failed, the platforms have a fixed order: a GPU's own
 * vendor's first, PoCL for processors. Without a helper, and in a job of several ranks, what the cache knows is taken and nothing
 * is measured. o: cache, log and helper.
 */
TN_API int tn_device_compare(const tn_run_options *o, tn_error *err);

/** Builds and runs the kernels' self-test (every portable kernel against plain C on a small odd size) on a device. o gives
 * cache, log and progress; its device is not looked at. */
TN_API int tn_device_self_test(int index, const tn_run_options *o, char *report, size_t report_size, tn_error *err);

/**
 * Checks every kernel variant of a device against plain C and measures it on the shapes of a usual backbone, with the values
 * worth trying of what it can be tuned by; the winners are kept in the cache. Where CLBlast is near the fastest, its parameters are
 * searched too, by processes of o->helper, for o->tune_seconds. *report (may be NULL) gets a table of
 * operation, shape, variant, time, error, and which was chosen or why one was refused; the caller free()s it. o as with the
 * self-test.
 */
TN_API int tn_device_tune(int index, const tn_run_options *o, char **report, tn_error *err);

/** The same table of what is known already, measuring nothing; empty where nothing is. */
TN_API int tn_device_tuning(int index, const tn_run_options *o, char **report, tn_error *err);

/**
 * What a bug report needs of a device, as text that the caller free()s: versions, driver, limits, extensions, quirks applied, the
 * self-test's failures with the compiler's words, what is known of kernels and variants (verdicts, errors, times), a small timing.
 * No path of the user's, no name of a user or host, no serial number. thorough: the self-test in every storage type, and the
 * variants measured first (tn_device_tune). *works (may be NULL): it opens, and all passed. A device that fails is no failure of
 * this call. o as with the self-test.
 */
TN_API int tn_device_report(int index, const tn_run_options *o, bool thorough, bool *works, char **report, tn_error *err);

/** What a process that tn_run_options.helper names does, as `tracknet build-kernels`: builds what a run of the same
 * library asks for through socket `fd`, and ends with it, or when nothing was asked for in half a minute. It sets variables of its
 * environment. */
TN_API int tn_device_build_ahead(int fd, tn_error *err);

/** The same, as `tracknet try-row`: reads from file `in` which kernel variant it is to check, for a device on which nobody has run
 * it yet, and writes what it found to file `out` (which says nothing else from then on). If the driver hangs or crashes, this
 * process does. */
TN_API int tn_device_try_row(int in, int out, tn_error *err);

/** The same, as `tracknet try-clblast`: multiplies by CLBlast with the parameters that file `in` names, for tn_device_tune. */
TN_API int tn_device_try_clblast(int in, int out, tn_error *err);

/** The same, as `tracknet rate-device`: measures the device that file `in` names for tn_device_compare. */
TN_API int tn_device_rate(int in, int out, tn_error *err);

#ifdef __cplusplus
}
#endif
#endif
