#include "mpi_job.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A part on its way: what rank k adds is [at[k], at[k] + count[k]) of it. */
typedef struct {
    tn_sums_part p;
    int *count, *at;   /* [ranks] */
    int *mine, *lands; /* [ranks]: this rank's chunk as it comes from everyone, side by side */
    float *from;       /* [ranks][mine] */
    MPI_Request q;
} sum;

struct tn_sums {
    tn_ranks *r;
    int n, begun, gathered, done; /* parts: all; that have left; that this rank has added its chunk of; that are sums */
    sum *v;
};

static void cut(sum *s, const tn_ranks *r)
{
    for (int k = 0, at = 0; k < r->n; k++) {
        s->at[k] = at;
        s->count[k] = s->p.n / r->n + (k < s->p.n % r->n);
        at += s->count[k];
    }
    for (int k = 0; k < r->n; k++) {
        s->mine[k] = s->count[r->number];
        s->lands[k] = k * s->count[r->number];
    }
}

static int sum_new(sum *s, const tn_ranks *r, const tn_sums_part *p, tn_error *err)
{
    const size_t n = (size_t)r->n;
    *s = (sum){.p = *p, .q = MPI_REQUEST_NULL};
    s->count = malloc(4 * n * sizeof *s->count);
    if (!s->count) return tn_oom(err);
    s->at = s->count + n, s->mine = s->at + n, s->lands = s->mine + n;
    cut(s, r);
    s->from = malloc(sizeof *s->from * ((size_t)s->mine[0] * n + 1));
    return s->from ? 0 : tn_oom(err);
}

int tn_sums_new(tn_sums **out, tn_ranks *r, const tn_sums_part *parts, int n, tn_error *err)
{
    tn_sums *s = *out = calloc(1, sizeof *s);
    if (!s || !(s->v = calloc((size_t)n + 1, sizeof *s->v))) {
        free(s);
        *out = NULL;
        return tn_oom(err);
    }
    s->r = r;
    for (s->n = 0; s->n < n; s->n++)
        if (sum_new(&s->v[s->n], r, &parts[s->n], err)) break;
    if (s->n == n) return 0;
    s->n++; /* the one that failed may hold a half */
    tn_sums_free(s);
    *out = NULL;
    return TN_ERR_MEMORY;
}

void tn_sums_free(tn_sums *s)
{
    if (!s) return;
    for (int i = 0; i < s->n; i++) free(s->v[i].count), free(s->v[i].from);
    free(s->v);
    free(s);
}

bool tn_sums_busy(const tn_sums *s)
{
    return s->done < s->begun;
}

void tn_sums_restart(tn_sums *s)
{
    s->begun = s->gathered = s->done = 0;
}

int tn_sums_begin(tn_sums *s, tn_error *err)
{
    sum *p = &s->v[s->begun++];
    return tn_mpi_failed(
        s->r, MPI_Ialltoallv(p->p.v, p->count, p->at, MPI_FLOAT, p->from, p->mine, p->lands, MPI_FLOAT, s->r->scatter, &p->q),
        "adding gradients", err);
}

/* The chunk of this rank, added in the ranks' order, goes to everyone. */
static int give(sum *p, const tn_ranks *r, tn_error *err)
{
    const int n = p->count[r->number];
    float *to = p->p.v + p->at[r->number];
    memcpy(to, p->from, sizeof *to * (size_t)n);
    for (int k = 1; k < r->n; k++) {
        const float *from = p->from + (size_t)k * (size_t)n;
        for (int i = 0; i < n; i++) to[i] += from[i];
    }
    return tn_mpi_failed(r,
                         MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, p->p.v, p->count, p->at, MPI_FLOAT, r->gather, &p->q),
                         "handing sums on", err);
}

static int arrived(sum *p, const tn_ranks *r, int *there, tn_error *err)
{
    return tn_mpi_failed(r, MPI_Test(&p->q, there, MPI_STATUS_IGNORE), "adding gradients", err);
}

/* Gathers begin in the order of the parts, which is everyone's. */
int tn_sums_move(tn_sums *s, int *done, tn_error *err)
{
    int there = 1;
    while (s->gathered < s->begun) {
        TN_TRY(arrived(&s->v[s->gathered], s->r, &there, err));
        if (!there) break;
        TN_TRY(give(&s->v[s->gathered++], s->r, err));
    }
    while (s->done < s->gathered) {
        TN_TRY(arrived(&s->v[s->done], s->r, &there, err));
        if (!there) break;
        s->done++;
    }
    *done = s->done;
    return 0;
}

int tn_sums_rest(tn_sums *s, tn_error *err)
{
    return tn_mpi_rest(s->r, err);
}
