/** Programs from kernels' texts. */
#ifndef TN_SOURCE_H
#define TN_SOURCE_H
#include "dev_cl.h"

/** An embedded text by its path below cl/; NULL: there is none. */
const tn_cl_source *tn_source_find(const char *file);
/** A program of a text: an object where the device has quirk TN_QUIRK_OBJECTS, else an executable. OpenCL's status; where that is
 * not CL_SUCCESS, *out has the log, or is NULL. Where a text builds with the driver's own declarations alone, the device loses
 * TN_QUIRK_DECLARES. */
cl_int tn_source_build(cl_program *out, tn_dev *d, const char *text, const char *options);
#endif
