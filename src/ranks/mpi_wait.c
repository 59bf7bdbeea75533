#include "mpi_job.h"
#include "scope.h"

#include <time.h>

int tn_mpi_failed(const tn_ranks *r, int code, const char *what, tn_error *err)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int n;
    if (code == MPI_SUCCESS) return 0;
    MPI_Error_string(code, text, &n);
    return tn_fail(err, TN_ERR_IO, "%s failed between rank %d on %s and the others: %.400s", what, r->number, r->host, text);
}

bool tn_mpi_asked(const tn_ranks *r)
{
    return r->stop && TN_CALLBACK(r->stop(r->user));
}

/* MPI's own waits keep a processor busy, which a CPU device on the same host would compute with. */
void tn_mpi_pause(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
}

int tn_mpi_rest(const tn_ranks *r, tn_error *err)
{
    if (tn_mpi_asked(r)) return tn_fail(err, TN_ERR_CANCELLED, "stopped while waiting for the other ranks, as a callback asked");
    tn_mpi_pause();
    return 0;
}

int tn_mpi_wait(const tn_ranks *r, int code, MPI_Request *q, const char *what, tn_error *err)
{
    enum { LOOKS = 100 }; /* before the first rest: most answers are near */
    int done = 0;
    TN_TRY(tn_mpi_failed(r, code, what, err));
    for (int i = 0;; i++) {
        TN_TRY(tn_mpi_failed(r, MPI_Test(q, &done, MPI_STATUS_IGNORE), what, err));
        if (done) return 0;
        if (i >= LOOKS) TN_TRY(tn_mpi_rest(r, err));
    }
}
