/**
 * What ranks tell each other. Every rank calls the same functions in the same order, or all but the one that failed wait until the
 * job is ended. A wait sleeps between looks, so that a CPU device has the processors, and ends where the program asks it to
 * (TN_ERR_CANCELLED). NULL is a process alone: nothing travels.
 */
#ifndef TN_EXCHANGE_H
#define TN_EXCHANGE_H
#include "fail.h"
#include <stdbool.h>
#include <stddef.h>
#include <tracknet/ranks.h>

/** Its host, "" alone; borrowed. */
const char *tn_ranks_host(const tn_ranks *r);
/** Of the ranks on this host: how many there are, and which of them this is. */
int tn_ranks_local(const tn_ranks *r, int *number);
/** A number that the ranks of one host share and no other has. */
int tn_ranks_node(const tn_ranks *r);

/** Rank 0's bytes become everyone's. */
int tn_ranks_tell(tn_ranks *r, void *data, size_t bytes, tn_error *err);
/** all [count][bytes]: everyone's, by rank. */
int tn_ranks_collect(tn_ranks *r, const void *mine, size_t bytes, void *all, tn_error *err);
/** v [n] becomes the sum over the ranks, added in their order. */
int tn_ranks_add(tn_ranks *r, double *v, int n, tn_error *err);
/** *v becomes the smallest of the ranks'. */
int tn_ranks_least(tn_ranks *r, int *v, tn_error *err);
/** Where any rank failed, all do, with the sentence of the first that did, behind its number and host unless all have it. `status`
 * and err are this rank's own. */
int tn_ranks_check(tn_ranks *r, int status, tn_error *err);

/**
 * Sums of float32 over the ranks, several under way at once: part i is cut into a chunk for each rank; a rank gets its chunk from
 * everyone, adds them in the ranks' order and gives the sum to everyone. So no sum depends on who was faster, the same ranks
 * give the same bits, and each rank sends and receives twice what it adds whatever their number.
 */
typedef struct tn_sums tn_sums;

/** What is added: n floats at v, borrowed. */
typedef struct tn_sums_part {
    float *v;
    int n;
} tn_sums_part;

/** Takes as much memory as the parts. The same parts on every rank. */
int tn_sums_new(tn_sums **out, tn_ranks *r, const tn_sums_part *parts, int n, tn_error *err);
/** Nothing may be under way. NULL is allowed. */
void tn_sums_free(tn_sums *s);
/** Has begun what is not done: MPI may still write to the parts. */
bool tn_sums_busy(const tn_sums *s);
/** For another round of the same parts. */
void tn_sums_restart(tn_sums *s);
/** The next part is complete on this rank: it leaves. */
int tn_sums_begin(tn_sums *s, tn_error *err);
/** Moves on what is under way without waiting; *done: parts that are sums now, the first ones. */
int tn_sums_move(tn_sums *s, int *done, tn_error *err);
/** A rest before the next look; TN_ERR_CANCELLED where the program asks to wait no more. */
int tn_sums_rest(tn_sums *s, tn_error *err);
#endif
