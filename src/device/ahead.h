/**
 * Kernels built ahead by processes beside this one, for drivers that build one at a time in a process (PoCL holds a lock), or
 * slowly (NVIDIA's). A pass that is walked dry says what it will launch; helpers build that and, on PoCL, launch one group of each
 * kernel on memory of zeros, which is when it compiles. What they leave lies in the binary cache and the driver's own, where this
 * process finds it.
 */
#ifndef TN_AHEAD_H
#define TN_AHEAD_H
#include "dev.h"

typedef struct tn_ahead tn_ahead;

/** Bytes that the buffers of checks and of their measurements keep below. */
#define TN_AHEAD_TRIAL ((size_t)1 << 30)

/** *out is NULL where nothing would be gained: no helper is named, one core or thread, no cache, or a driver that builds well by
 * itself. */
int tn_ahead_new(tn_ahead **out, tn_dev *d, tn_error *err);
/** NULL is allowed. */
void tn_ahead_free(tn_ahead *a);
/** A launch to come, unless its program is built. Buffers among the arguments are not looked at. */
int tn_ahead_add(tn_ahead *a, const char *file, const char *entry, const char *options, const tn_arg *args, int n_args,
                 const tn_range *range, tn_error *err);
/** Has everything built that was added; bytes: of the largest buffer that a launch takes. What a helper cannot build is left to
 * the launch itself. Fails only when the caller wants no more. */
int tn_ahead_build(tn_ahead *a, size_t bytes, tn_error *err);
/** A launch that nobody told ahead, before it: where builders wait, one of them builds its program sooner than this process would.
 */
int tn_ahead_now(tn_dev *d, const char *file, const char *entry, const char *options, const tn_arg *args, int n_args,
                 const tn_range *range, tn_error *err);
#endif
