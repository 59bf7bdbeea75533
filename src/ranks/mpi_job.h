/** What the files that see mpi.h share. */
#ifndef TN_MPI_JOB_H
#define TN_MPI_JOB_H
#include "exchange.h"
#include <mpi.h>

/** Communicators of their own, so that a gather may begin before an earlier scatter on another rank, and an end before anything. */
struct tn_ranks {
    MPI_Comm all, scatter, gather, end;
    int n, number, local_n, local, node;
    bool ours; /* MPI was initialised here */
    tn_ranks_stop_fn *stop;
    void *user;
    char host[MPI_MAX_PROCESSOR_NAME];
};

/** A sentence for an MPI call's code; 0 for success. */
int tn_mpi_failed(const tn_ranks *r, int code, const char *what, tn_error *err);
/** Does the program ask to wait no more? */
bool tn_mpi_asked(const tn_ranks *r);
void tn_mpi_pause(void);
/** A pause, or TN_ERR_CANCELLED where the program asks. */
int tn_mpi_rest(const tn_ranks *r, tn_error *err);
/** Waits for what was begun with `code`. */
int tn_mpi_wait(const tn_ranks *r, int code, MPI_Request *q, const char *what, tn_error *err);
#endif
