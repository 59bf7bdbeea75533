/* Several processes of this command, as mpirun starts them. What a launcher says of the job stands in the environment, which the
 * library does not read. */
#include "cli.h"
#include "cpus.h"
#include "fail.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first of the variables that is a number; `none` where none is. */
static int ranks_number(const char *const *names, int none)
{
    for (; *names; names++) {
        const char *v = getenv(*names);
        char *end = NULL;
        const long n = v ? strtol(v, &end, 10) : -1;
        if (v && end != v && n >= 0 && n < INT_MAX) return (int)n;
    }
    return none;
}

/* Open MPI's variables, those of Hydra (MPICH, Intel MPI), and Slurm's. */
static int ranks_started(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", NULL};
    return ranks_number(names, 1);
}

static int ranks_on_host(int *which)
{
    static const char *const sizes[] = {"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_TASKS_PER_NODE", NULL};
    static const char *const own[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID", NULL};
    *which = ranks_number(own, 0);
    return ranks_number(sizes, 1);
}

/* The processors of `mask` from the first on, the n that follow `skip` others. */
static void ranks_take(cpu_set_t *out, const cpu_set_t *mask, int skip, int n)
{
    CPU_ZERO(out);
    for (int i = 0; i < CPU_SETSIZE && n; i++) {
        if (!CPU_ISSET(i, mask) || skip-- > 0) continue;
        CPU_SET(i, out);
        n--;
    }
}

/* Ranks of one host whom the launcher has not bound apart would all take all of its processors. */
static void ranks_share_processors(void)
{
    cpu_set_t mine, launcher, part;
    tn_cpus c;
    int which;
    const int n = ranks_on_host(&which);
    if (n < 2 || sched_getaffinity(0, sizeof mine, &mine) || sched_getaffinity(getppid(), sizeof launcher, &launcher)) return;
    const int sharing = TN_CEIL_DIV(CPU_COUNT(&mine) * n, CPU_COUNT(&launcher)); /* ranks a processor */
    if (sharing < 2) return;
    tn_cpus_read(&c, &mine, "");
    const int each = TN_MAX(TN_MIN(c.allowed, c.quota) / sharing, 1);
    ranks_take(&part, &mine, which % sharing * each % c.allowed, each);
    (void)sched_setaffinity(0, sizeof part, &part); /* a sandbox may forbid it */
}

bool tn_cli_job_begins(const tn_command *k)
{
    if (strcmp(k->name, "train") != 0 || ranks_started() < 2) return false;
    ranks_share_processors();
    return true;
}

static int ranks_stop(void *user)
{
    (void)user;
    return tn_interrupted;
}

int tn_cli_join(tn_cli *c, tn_error *err)
{
    const int started = ranks_started();
    const int rc = tn_ranks_join(&c->run.ranks, ranks_stop, NULL, err);
    if (rc) return rc;
    const int n = tn_ranks_count(c->run.ranks);
    c->silent = tn_ranks_number(c->run.ranks) > 0;
    if (c->silent) c->run.log = NULL;
    if (n == started) return 0;
    return tn_fail(err, TN_ERR_ARGUMENT,
                   "%d processes were started, but each sees a job of %d: the launcher is of another MPI than the one this command "
                   "was built with; start it with that one's mpirun (mpirun.openmpi, mpirun.mpich)",
                   started, n);
}

/* Where the others wait for this rank in vain, they end with it, but its sentence is out first. */
void tn_cli_job_ends(tn_cli *c, const char *command, int status, tn_error *err)
{
    const int todo = tn_ranks_end(c->run.ranks, status, err);
    if (todo & TN_RANKS_TELL) fprintf(stderr, "tracknet %s: %s\n", command, err->message);
    if (!(todo & TN_RANKS_ABORT)) {
        tn_ranks_leave(c->run.ranks);
        return;
    }
    fflush(NULL);
    usleep(200000); /* the launcher passes lines on, but none once it ends the job */
    tn_ranks_abort(c->run.ranks);
}
