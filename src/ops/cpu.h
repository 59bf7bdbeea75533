/** What rows of CPU devices share (cl/cpu/vectors.h). */
#ifndef TN_CPU_H
#define TN_CPU_H
#include "ops.h"

enum { TN_CPU_SCRATCH_ARGS = 4 };

/** Has the processor 32 registers of 16 floats (vectors.h's WIDE)? */
bool tn_cpu_wide(const tn_dev *d);
/** Is the device one whose compiler is known to take cl/cpu? What is no row of a table asks this. */
bool tn_cpu_kernels(const tn_dev *d);
/** Workspace of `floats` float32 for each thread of the device: vectors.h's P_SCRATCH as TN_CPU_SCRATCH_ARGS arguments. */
int tn_cpu_scratch(tn_ctx *c, size_t floats, tn_arg *args, tn_error *err);
#endif
