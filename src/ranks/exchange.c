#include "clock.h"
#include "mpi_job.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 26 }; /* bytes that are told at once: MPI counts in int */

typedef struct {
    int status;
    char message[sizeof((tn_error *)0)->message];
} outcome;

int tn_ranks_number(const tn_ranks *r)
{
    return r ? r->number : 0;
}

int tn_ranks_count(const tn_ranks *r)
{
    return r ? r->n : 1;
}

const char *tn_ranks_host(const tn_ranks *r)
{
    return r ? r->host : "";
}

int tn_ranks_local(const tn_ranks *r, int *number)
{
    *number = r ? r->local : 0;
    return r ? r->local_n : 1;
}

int tn_ranks_node(const tn_ranks *r)
{
    return r ? r->node : 0;
}

int tn_ranks_tell(tn_ranks *r, void *data, size_t bytes, tn_error *err)
{
    for (size_t at = 0; r && at < bytes; at += MOST) {
        MPI_Request q = MPI_REQUEST_NULL;
        const int code = MPI_Ibcast((char *)data + at, (int)TN_MIN(bytes - at, (size_t)MOST), MPI_BYTE, 0, r->all, &q);
        TN_TRY(tn_mpi_wait(r, code, &q, "telling", err));
    }
    return 0;
}

int tn_ranks_collect(tn_ranks *r, const void *mine, size_t bytes, void *all, tn_error *err)
{
    if (!r) return memcpy(all, mine, bytes), 0;
    if (bytes > MOST) return tn_fail(err, TN_ERR_ARGUMENT, "%zu bytes are too many to collect from every rank", bytes);
    MPI_Request q = MPI_REQUEST_NULL;
    return tn_mpi_wait(r, MPI_Iallgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, r->all, &q), &q, "collecting", err);
}

int tn_ranks_add(tn_ranks *r, double *v, int n, tn_error *err)
{
    if (!r) return 0;
    double *all = malloc(sizeof *all * (size_t)n * (size_t)r->n);
    int rc = all ? tn_ranks_collect(r, v, sizeof *v * (size_t)n, all, err) : tn_oom(err);
    for (int i = 0; !rc && i < n; i++) {
        v[i] = all[i];
        for (int k = 1; k < r->n; k++) v[i] += all[k * n + i];
    }
    free(all);
    return rc;
}

int tn_ranks_least(tn_ranks *r, int *v, tn_error *err)
{
    if (!r) return 0;
    int *all = malloc(sizeof *all * (size_t)r->n);
    const int rc = all ? tn_ranks_collect(r, v, sizeof *v, all, err) : tn_oom(err);
    for (int k = 0; !rc && k < r->n; k++) *v = TN_MIN(*v, all[k]);
    free(all);
    return rc;
}

/* ---- failures ---- */

static outcome outcome_of(int status, const tn_error *err)
{
    outcome o = {.status = status};
    if (status) snprintf(o.message, sizeof o.message, "%s", err ? err->message : "");
    return o;
}

static bool same_outcome(const outcome *a, const outcome *b)
{
    return a->status == b->status && !strcmp(a->message, b->message);
}

/* Hosts are told in the order of ranks. */
static void name_rank(int number, const char *host, tn_error *err)
{
    char who[MPI_MAX_PROCESSOR_NAME + 32];
    snprintf(who, sizeof who, "rank %d on %s", number, host);
    tn_fail_in(err, who);
}

static bool all_same(const outcome *o, int n)
{
    for (int i = 1; i < n; i++)
        if (!same_outcome(&o[0], &o[i])) return false;
    return true;
}

int tn_ranks_check(tn_ranks *r, int status, tn_error *err)
{
    if (!r) return status;
    char host[MPI_MAX_PROCESSOR_NAME];
    const outcome mine = outcome_of(status, err);
    outcome *all = malloc(sizeof *all * (size_t)r->n);
    char(*hosts)[MPI_MAX_PROCESSOR_NAME] = malloc(sizeof *hosts * (size_t)r->n);
    memcpy(host, r->host, sizeof host);
    int rc = all && hosts ? tn_ranks_collect(r, &mine, sizeof mine, all, err) : tn_oom(err);
    if (!rc) rc = tn_ranks_collect(r, host, sizeof host, hosts, err);
    for (int i = 0; !rc && i < r->n; i++) {
        if (!all[i].status) continue;
        rc = tn_fail(err, all[i].status, "%s", all[i].message);
        if (!all_same(all, r->n)) name_rank(i, hosts[i], err);
    }
    free(all);
    free(hosts);
    return rc;
}

/* ---- the end ---- */

/* False: the others did not come. Who has failed waits for seconds only, since they may wait for it elsewhere. */
static bool all_came(tn_ranks *r, int status, MPI_Request *q)
{
    const double failed = 3, stopped = 1, begin = tn_now();
    for (int done = 0;;) {
        if (MPI_Test(q, &done, MPI_STATUS_IGNORE)) return false;
        if (done) return true;
        const double waited = tn_now() - begin;
        if ((status && waited > failed) || (tn_mpi_asked(r) && waited > stopped)) return false;
        tn_mpi_pause();
    }
}

/* Whether no rank before this one has its sentence, which is put behind its number unless everyone has it. */
static bool tells(const tn_ranks *r, const outcome *all, tn_error *err)
{
    for (int i = 0; i < r->number; i++)
        if (same_outcome(&all[i], &all[r->number])) return false;
    if (!all_same(all, r->n)) name_rank(r->number, r->host, err);
    return true;
}

int tn_ranks_end(tn_ranks *r, int status, tn_error *err)
{
    if (!r) return status ? TN_RANKS_TELL : 0;
    const outcome mine = outcome_of(status, err);
    tn_error unread;
    MPI_Request q = MPI_REQUEST_NULL;
    outcome *all = malloc(sizeof *all * (size_t)r->n);
    const bool began = all && !MPI_Iallgather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof *all, MPI_BYTE, r->end, &q);
    const bool came = began && all_came(r, status, &q);
    int todo = 0;
    if (!err) err = &unread;
    if (status && (!came || tells(r, all, err))) todo |= TN_RANKS_TELL;
    if (!came) {
        if (status) name_rank(r->number, r->host, err);
        todo |= TN_RANKS_ABORT;
    }
    if (came) free(all); /* else MPI may still write there */
    return todo;
}
