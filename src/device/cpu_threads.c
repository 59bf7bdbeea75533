/* Threads of CPU devices. Their drivers have no call for it: they read the environment when they are first asked for devices,
 * and make their threads then. */
#include "cpu_threads.h"
#include "cpus.h"
#include "entry.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tracknet/device.h>

static int limit;
static atomic_bool settled;

/* PoCL (from 4.0 on it has a second name for it), Intel's CPU runtime, Mesa's llvmpipe. */
static const char *const limits[] = {"POCL_MAX_PTHREAD_COUNT", "CL_CONFIG_CPU_TBB_NUM_WORKERS", "LP_NUM_THREADS"};

int tn_cpu_threads_limit(void)
{
    return limit;
}

void tn_cpu_threads_seal(void)
{
    settled = true;
}

static int set_variable(const char *name, const char *value, bool over, tn_error *err)
{
    return setenv(name, value, over) ? tn_fail(err, TN_ERR_MEMORY, "cannot set %s: %s", name, strerror(errno)) : 0;
}

static int set_limits(int threads, bool over, tn_error *err)
{
    char value[16];
    limit = threads;
    snprintf(value, sizeof value, "%d", threads);
    for (size_t i = 0; i < TN_COUNT(limits); i++) TN_TRY(set_variable(limits[i], value, over, err));
    return 0;
}

/* PoCL binds thread i to processor i, whatever the process may use, and ends it where there is no such processor. */
static int bind_threads(const tn_cpus *c, const cpu_set_t *mask, int threads, tn_error *err)
{
    if (!tn_cpus_bindable(c, threads) || sched_setaffinity(0, sizeof *mask, mask)) return 0; /* a sandbox may forbid it */
    return set_variable("POCL_AFFINITY", "1", false, err);
}

int tn_cpu_threads(int threads, tn_error *err)
{
    TN_ENTRY(err);
    cpu_set_t mask;
    tn_cpus c;
    const bool users = getenv("POCL_MAX_PTHREAD_COUNT") || getenv("POCL_CPU_MAX_CU_COUNT") || getenv("POCL_PTHREAD_MIN_THREADS");
    if (threads < 0) return tn_fail(err, TN_ERR_ARGUMENT, "a CPU device cannot have %d threads", threads);
    if (atomic_exchange(&settled, true))
        return tn_fail(err, TN_ERR_ARGUMENT, "tn_cpu_threads is called once, before anything that asks for devices");
    if (sched_getaffinity(0, sizeof mask, &mask)) return threads ? set_limits(threads, true, err) : 0;
    tn_cpus_read(&c, &mask, "");
    const int n = tn_cpus_threads(&c, threads);
    if (threads || n < c.online) TN_TRY(set_limits(n, threads > 0, err));
    return users ? 0 : bind_threads(&c, &mask, n, err);
}
