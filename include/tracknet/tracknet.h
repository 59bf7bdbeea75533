/**
 * TrackNet: fine-tune a quantised vision backbone to find a ball, on any OpenCL device. Include this one header;
 * docs/embedding.md shows how.
 *
 * Structs that a caller makes begin with `unsigned version` and have an INIT macro (0 is version 1); one of an unknown version is
 * refused with TN_ERR_ARGUMENT. Structs that the library makes (reports, progress, device descriptions) are read through pointers
 * and may grow at the end. tn_error, tn_log, tn_rgb and tn_ball never change.
 *
 * Threads: the library keeps no state of its own between calls but what a handle holds. Different handles
 * (tn_model_handle, tn_config) and different runs (tn_train, tn_eval, ...) may be used in different threads at once, also
 * on one device, and give the same results as one after the other. One handle is for one thread at a time; a tn_config
 * that nobody sets may be shared. Callbacks come from the thread that called. The library reads HOME, XDG_CACHE_HOME,
 * Hugging Face's variables and those that paths of the configuration name, and sets none but in tn_cpu_threads: an application
 * must not call setenv while another thread is inside. Numbers are read and written with a point, whatever locale the program has
 * set.
 */
#ifndef TRACKNET_TRACKNET_H
#define TRACKNET_TRACKNET_H
#include <tracknet/bench.h>
#include <tracknet/config.h>
#include <tracknet/convert.h>
#include <tracknet/device.h>
#include <tracknet/error.h>
#include <tracknet/labels.h>
#include <tracknet/log.h>
#include <tracknet/model.h>
#include <tracknet/profile.h>
#include <tracknet/progress.h>
#include <tracknet/ranks.h>
#include <tracknet/run.h>
#include <tracknet/schedule.h>
#include <tracknet/synth.h>
#include <tracknet/train.h>

#ifdef __cplusplus
extern "C" {
#endif
/** TN_VERSION_STRING of the library that runs, "0.1.0"; static. */
TN_API const char *tn_version(void);
#ifdef __cplusplus
}
#endif
#endif
