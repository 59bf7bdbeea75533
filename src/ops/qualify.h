/**
 * The first use of a device: kernels that no row of a table checks (variant.h) run their self-test cases once, those that the run
 * needs and no more. What was found is kept by device, driver, platform and set of sources (tuning.h).
 */
#ifndef TN_QUALIFY_H
#define TN_QUALIFY_H
#include "needs.h"
#include "text.h"
#include "ops.h"

/**
 * Runs a self-test case, of the smallest size and in the storage type `act`, for every needed kernel that has not passed one on
 * this device. On a CPU device, whose compiler takes half a second for a program, only cases that build nothing but what is needed.
 *
 * TN_ERR_DEVICE: a kernel computes wrong. The device is refused: the sentence names the kernel and the report that was written to
 * the cache folder. d->narrow set: a kernel takes smaller groups than were asked for; tn_dev_narrow, and ask again.
 */
int tn_qualify(tn_dev *d, const tn_needs *needs, tn_dtype act, tn_error *err);
/** Takes over what an earlier process found out about the size of groups. */
int tn_qualify_narrow(tn_dev *d, tn_error *err);
/** A table of kernels: passed, not tried, or why refused. */
int tn_qualify_table(tn_text *out, tn_dev *d, tn_error *err);
#endif
