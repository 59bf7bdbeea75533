#include "entry.h"
#include "mpi_job.h"

#include <stdlib.h>

/* Everything of ours fails with a code, not with the end of the program. */
static int copy_world(MPI_Comm *out)
{
    const int code = MPI_Comm_dup(MPI_COMM_WORLD, out);
    return code ? code : MPI_Comm_set_errhandler(*out, MPI_ERRORS_RETURN);
}

/* Ranks that share memory are a host's; the first one's number names it. */
static int find_host(tn_ranks *r)
{
    MPI_Comm host;
    int n;
    int code = MPI_Get_processor_name(r->host, &n);
    if (!code) code = MPI_Comm_split_type(r->all, MPI_COMM_TYPE_SHARED, r->number, MPI_INFO_NULL, &host);
    if (code) return code;
    MPI_Comm_size(host, &r->local_n);
    MPI_Comm_rank(host, &r->local);
    r->node = r->number;
    code = MPI_Bcast(&r->node, 1, MPI_INT, 0, host);
    MPI_Comm_free(&host);
    return code;
}

static int start(tn_ranks *r)
{
    int there = 0, level, code = MPI_Initialized(&there);
    if (!code && !there) code = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level);
    if (code) return code;
    r->ours = !there;
    MPI_Comm *comms[] = {&r->all, &r->scatter, &r->gather, &r->end};
    for (size_t i = 0; !code && i < TN_COUNT(comms); i++) code = copy_world(comms[i]);
    if (!code) code = MPI_Comm_size(r->all, &r->n);
    if (!code) code = MPI_Comm_rank(r->all, &r->number);
    return code ? code : find_host(r);
}

int tn_ranks_join(tn_ranks **out, tn_ranks_stop_fn *stop, void *user, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(out, "tn_ranks_join's result", err));
    tn_ranks *r = *out = calloc(1, sizeof *r);
    if (!r) return tn_oom(err);
    *r = (tn_ranks){.all = MPI_COMM_NULL,
                    .scatter = MPI_COMM_NULL,
                    .gather = MPI_COMM_NULL,
                    .end = MPI_COMM_NULL,
                    .stop = stop,
                    .user = user,
                    .host = "this host"};
    const int rc = tn_mpi_failed(r, start(r), "joining the job", err);
    if (!rc) return 0;
    tn_ranks_leave(r);
    *out = NULL;
    return rc;
}

void tn_ranks_leave(tn_ranks *r)
{
    if (!r) return;
    MPI_Comm *comms[] = {&r->all, &r->scatter, &r->gather, &r->end};
    for (size_t i = 0; i < TN_COUNT(comms); i++)
        if (*comms[i] != MPI_COMM_NULL) MPI_Comm_free(comms[i]);
    if (r->ours) MPI_Finalize();
    free(r);
}

void tn_ranks_abort(tn_ranks *r)
{
    if (r) MPI_Abort(MPI_COMM_WORLD, 1);
}
