/** More than this a device cannot do; a figure above it was not measured right. */
#ifndef TN_CEILING_H
#define TN_CEILING_H
#include "figure.h"

/** Bytes/s for a run that touches `set` bytes: caches count, since it goes by copies of sets as small. 0: not known. */
double tn_ceiling_bytes(const tn_bench *b, double set);
/** flop/s by the units, the clock and the widest instructions that devices have for this storage type. */
double tn_ceiling_flops(const tn_bench *b, tn_dtype type);
/** "" or a sentence about what is wrong with a figure of a job. */
void tn_ceiling_judge(char *out, size_t n, const tn_bench *b, const tn_bench_job *j, double value);
#endif
