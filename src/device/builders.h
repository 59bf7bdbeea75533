/**
 * The processes that build programs ahead (ahead.h). On PoCL they stay for a while after their work: each reads the library that
 * programs are linked with, 10 MB in 0.8 s, before its first program. They end with this process, when nobody asks for half a
 * minute, or at once where 300 MB for each would be a quarter of the memory that is free.
 */
#ifndef TN_BUILDERS_H
#define TN_BUILDERS_H
#include "ahead_list.h"

/** How many there are at most: one a core. */
int tn_builders_most(void);
/** Do some wait for work? */
bool tn_builders_wait(void);
/** Was the job given to a builder before, by this process? */
bool tn_builders_had(const tn_dev *d, const tn_ahead_job *j);
/** Has n jobs of so many programs done, those of a program next to each other, by new builders where too few wait. What none of
 * them can build is left out. Fails only when the caller wants no more (TN_PHASE_BUILDING). */
int tn_builders_run(tn_dev *d, const tn_ahead_job *jobs, int n, int programs, size_t buffer_bytes, tn_error *err);
#endif
