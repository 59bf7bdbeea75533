/** TrackNet: fine-tune a quantised Vision Transformer to find a ball, on any OpenCL device. Include this one header. */
#ifndef TRACKNET_TRACKNET_H
#define TRACKNET_TRACKNET_H
#include <tracknet/config.h>
#include <tracknet/convert.h>
#include <tracknet/device.h>
#include <tracknet/error.h>
#include <tracknet/log.h>
#include <tracknet/profile.h>
#include <tracknet/synth.h>
#include <tracknet/train.h>

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif
/** "0.1.0"; static. */
const char *tn_version(void);
#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
#endif
