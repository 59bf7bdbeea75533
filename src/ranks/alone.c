/* A library without MPI: nobody can join a job, so that every process is alone. */
#include "entry.h"
#include "exchange.h"

#include <stdlib.h>
#include <string.h>

int tn_ranks_join(tn_ranks **out, tn_ranks_stop_fn *stop, void *user, tn_error *err)
{
    TN_ENTRY(err);
    (void)stop, (void)user;
    TN_TRY(tn_required(out, "tn_ranks_join's result", err));
    *out = NULL;
    return tn_fail(err, TN_ERR_ARGUMENT,
                   "this tracknet was built without MPI, so the processes of a job would train apart into one folder; install "
                   "libopenmpi-dev (or libmpich-dev) and build it with 'meson configure build -Dmpi=enabled'");
}

int tn_ranks_number(const tn_ranks *r)
{
    (void)r;
    return 0;
}

int tn_ranks_count(const tn_ranks *r)
{
    (void)r;
    return 1;
}

const char *tn_ranks_host(const tn_ranks *r)
{
    (void)r;
    return "";
}

int tn_ranks_local(const tn_ranks *r, int *number)
{
    (void)r;
    *number = 0;
    return 1;
}

int tn_ranks_node(const tn_ranks *r)
{
    (void)r;
    return 0;
}

int tn_ranks_tell(tn_ranks *r, void *data, size_t bytes, tn_error *err)
{
    (void)r, (void)data, (void)bytes, (void)err;
    return 0;
}

int tn_ranks_collect(tn_ranks *r, const void *mine, size_t bytes, void *all, tn_error *err)
{
    (void)r, (void)err;
    memcpy(all, mine, bytes);
    return 0;
}

int tn_ranks_add(tn_ranks *r, double *v, int n, tn_error *err)
{
    (void)r, (void)v, (void)n, (void)err;
    return 0;
}

int tn_ranks_least(tn_ranks *r, int *v, tn_error *err)
{
    (void)r, (void)v, (void)err;
    return 0;
}

int tn_ranks_check(tn_ranks *r, int status, tn_error *err)
{
    (void)r, (void)err;
    return status;
}

int tn_ranks_end(tn_ranks *r, int status, tn_error *err)
{
    (void)r, (void)err;
    return status ? TN_RANKS_TELL : 0;
}

void tn_ranks_leave(tn_ranks *r)
{
    (void)r;
}

void tn_ranks_abort(tn_ranks *r)
{
    (void)r;
}

/* ---- the sum over one is what it is ---- */

struct tn_sums {
    int done;
};

int tn_sums_new(tn_sums **out, tn_ranks *r, const tn_sums_part *parts, int n, tn_error *err)
{
    (void)r, (void)parts, (void)n;
    return (*out = calloc(1, sizeof **out)) ? 0 : tn_oom(err);
}

void tn_sums_free(tn_sums *s)
{
    free(s);
}

bool tn_sums_busy(const tn_sums *s)
{
    (void)s;
    return false;
}

void tn_sums_restart(tn_sums *s)
{
    s->done = 0;
}

int tn_sums_begin(tn_sums *s, tn_error *err)
{
    (void)err;
    s->done++;
    return 0;
}

int tn_sums_move(tn_sums *s, int *done, tn_error *err)
{
    (void)err;
    *done = s->done;
    return 0;
}

int tn_sums_rest(tn_sums *s, tn_error *err)
{
    (void)s, (void)err;
    return 0;
}
