/** The parts of a device's report (tn_device_report). */
#ifndef TN_DOCTOR_H
#define TN_DOCTOR_H
#include "ops.h"
#include "text.h"

/** Runs every self-test case in float32, or in every type, and goes on where one fails. A line for each failure with what the
 * driver said, and one with the count; *failed of them. Fails only when the caller wants no more. */
int tn_doctor_cases(tn_text *out, int *failed, tn_dev *d, bool every_type, tn_error *err);
/** What is known of variants and kernels: verdicts, errors, times, reasons. */
int tn_doctor_known(tn_text *out, tn_dev *d, tn_error *err);
/** How fast the device copies, multiplies with the portable kernel and takes a launch. */
int tn_doctor_times(tn_text *out, tn_dev *d, tn_error *err);
#endif
