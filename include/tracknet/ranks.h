/** The processes of a job that mpirun started together: replicas that train one model (docs/ranks.md). */
#ifndef TRACKNET_RANKS_H
#define TRACKNET_RANKS_H
#include <stdbool.h>
#include <tracknet/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** This process's place among them. One a process; used by one thread at a time. */
typedef struct tn_ranks tn_ranks;

/** Asked while a rank waits for the others, often and in any order; non-zero: it shall wait no more. */
typedef int(tn_ranks_stop_fn)(void *user);

/**
 * Joins the job, in which every process calls this: initialises MPI, unless the program has done so. The library does it nowhere
 * else, and what is given to it in tn_run_options.ranks makes tn_train one of several. stop may be NULL. A library that was built
 * without MPI: TN_ERR_ARGUMENT. End with tn_ranks_leave or tn_ranks_abort.
 */
TN_API int tn_ranks_join(tn_ranks **out, tn_ranks_stop_fn *stop, void *user, tn_error *err);
/** 0 .. count - 1; rank 0 writes. NULL, here and below, is a process alone: number 0 of 1. */
TN_API int tn_ranks_number(const tn_ranks *r);
TN_API int tn_ranks_count(const tn_ranks *r);

/** What a rank has to do about its end. */
enum { TN_RANKS_TELL = 1, TN_RANKS_ABORT = 2 };
/**
 * What every rank calls when its work is over, with what came of it (err: of a failure, else not looked at). It waits for the
 * others; where this rank has failed and they do not come within seconds, they wait for it in vain: TN_RANKS_ABORT, else 0.
 * TN_RANKS_TELL beside it: err is to be shown by this rank, since no rank before it has the same sentence. The sentence is put
 * behind the rank's number and host, unless every rank has it. Returns 0 where all is well.
 */
TN_API int tn_ranks_end(tn_ranks *r, int status, tn_error *err);
/** Frees, and finalises MPI if tn_ranks_join has initialised it: every rank comes here. NULL is fine. */
TN_API void tn_ranks_leave(tn_ranks *r);
/** Ends every process of the job, this one too, with exit status 1. */
TN_API void tn_ranks_abort(tn_ranks *r);

#ifdef __cplusplus
}
#endif
#endif
