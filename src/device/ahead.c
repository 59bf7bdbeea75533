/* The list lies in a file without a name, which helpers map too: they take programs from it by a counter. */
#include "ahead.h"
#include "ahead_list.h"
#include "clock.h"
#include "cpu_threads.h"
#include "dev_cl.h"
#include "files.h"
#include "helper.h"
#include "machine.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LEAST_PROGRAMS = 4, MOST_HELPERS = 8, PATIENCE = 60 /* seconds for one program */ };

struct tn_ahead {
    tn_dev *dev;
    tn_ahead_job *jobs;
    int n, programs;
    pid_t helper[MOST_HELPERS];
    int n_helpers;
};

static int most_helpers(void)
{
    const int limit = tn_cpu_threads_limit(), n = limit ? TN_MIN(limit, tn_processors()) : tn_processors();
    return TN_MIN(n, (int)MOST_HELPERS);
}

int tn_ahead_new(tn_ahead **out, tn_dev *d, tn_error *err)
{
    *out = NULL;
    if (!d->helper || !d->cache_dir || !(d->bare || d->quirk_flags & TN_QUIRK_OBJECTS) || most_helpers() < 2) return 0;
    tn_ahead *a = *out = calloc(1, sizeof *a);
    if (!a) return tn_oom(err);
    a->dev = d;
    return 0;
}

void tn_ahead_free(tn_ahead *a)
{
    if (!a) return;
    free(a->jobs);
    free(a);
}

static bool same_program(const tn_ahead_job *j, const char *file, const char *options)
{
    return !strcmp(j->file, file) && !strcmp(j->options, options);
}

/* A copy in plain memory; false where it does not fit. */
static bool fill_job(tn_ahead_job *j, const char *file, const char *entry, const char *options, const tn_arg *args, int n_args,
                     const tn_range *range)
{
    *j = (tn_ahead_job){.range = *range, .n_args = n_args};
    if (n_args > TN_AHEAD_ARGS || strlen(file) >= sizeof j->file || strlen(entry) >= sizeof j->entry ||
        strlen(options) >= sizeof j->options)
        return false;
    strcpy(j->file, file);
    strcpy(j->entry, entry);
    strcpy(j->options, options);
    for (int i = 0; i < n_args; i++) {
        if (args[i].size > sizeof args[i].v) return false;
        j->args[i] = args[i];
        if (!args[i].size) j->args[i].v.mem = NULL;
    }
    return true;
}

int tn_ahead_add(tn_ahead *a, const char *file, const char *entry, const char *options, const tn_arg *args, int n_args,
                 const tn_range *range, tn_error *err)
{
    tn_ahead_job j;
    int program = -1;
    const bool runs = a->dev->quirk_flags & TN_QUIRK_OBJECTS;
    if ((runs && !range->local[0]) || !fill_job(&j, file, entry, options, args, n_args, range)) return 0;
    for (int i = 0; i < a->n; i++) {
        const tn_ahead_job *k = &a->jobs[i];
        if (!same_program(k, file, options)) continue;
        program = k->program;
        if (!runs || (!strcmp(k->entry, entry) && !memcmp(k->range.local, range->local, sizeof range->local))) return 0;
    }
    if (program < 0 && tn_program_is_built(a->dev, file, options)) return 0;
    j.program = program < 0 ? a->programs++ : program;
    tn_ahead_job *v = realloc(a->jobs, sizeof *v * (size_t)(a->n + 1));
    if (!v) return tn_oom(err);
    a->jobs = v;
    v[a->n++] = j;
    return 0;
}

/* ---- helpers ---- */

static int by_program(const void *x, const void *y)
{
    const tn_ahead_job *a = x, *b = y;
    return a->program - b->program;
}

/* A file that goes away with its last user. */
static int nameless(const char *dir, size_t bytes)
{
    char path[1100];
    tn_error ignored;
    if (tn_mkdirs(dir, &ignored)) return -1;
    snprintf(path, sizeof path, "%.1000s/ahead-XXXXXX", dir);
    const int fd = mkstemp(path);
    if (fd < 0) return -1;
    unlink(path);
    if (!ftruncate(fd, (off_t)bytes)) return fd;
    close(fd);
    return -1;
}

static void spawn_helper(tn_ahead *a, int fd)
{
    pid_t pid;
    if (tn_helper_start(&pid, a->dev->helper, "build-kernels", fd, -1)) a->helper[a->n_helpers++] = pid;
}

static void stop_helpers(tn_ahead *a)
{
    for (int i = 0; i < a->n_helpers; i++) kill(a->helper[i], SIGKILL);
    for (int i = 0; i < a->n_helpers; i++) waitpid(a->helper[i], NULL, 0);
    a->n_helpers = 0;
}

/* Forgets those that have ended. */
static void reap(tn_ahead *a)
{
    for (int i = a->n_helpers - 1; i >= 0; i--)
        if (waitpid(a->helper[i], NULL, WNOHANG) != 0) a->helper[i] = a->helper[--a->n_helpers];
}

static int watch_helpers(tn_ahead *a, tn_ahead_list *list, tn_error *err)
{
    int rc = 0, done = -1, quiet = 0;
    for (; !rc && a->n_helpers; reap(a)) {
        const int now = atomic_load(&list->done);
        if (now != done) rc = tn_watch_tell(&a->dev->watch, TN_PHASE_BUILDING, NULL, now, a->programs, err);
        quiet = now != done ? 0 : quiet + 1;
        done = now;
        if (quiet > PATIENCE * 50) break;
        nanosleep(&(struct timespec){0, 20000000}, NULL);
    }
    stop_helpers(a);
    return rc || done == a->programs ? rc : tn_watch_tell(&a->dev->watch, TN_PHASE_BUILDING, NULL, a->programs, a->programs, err);
}

int tn_ahead_build(tn_ahead *a, size_t bytes, tn_error *err)
{
    const double was = a->dev->prepared, begin = tn_now();
    if (a->programs < LEAST_PROGRAMS) return 0;
    const size_t size = sizeof(tn_ahead_list) + sizeof(tn_ahead_job) * (size_t)a->n;
    const int fd = nameless(a->dev->cache_dir, size);
    tn_ahead_list *list = fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int rc = 0;
    if (list != MAP_FAILED) {
        tn_ahead_stamp(list, a->dev);
        list->buffer_bytes = bytes;
        list->n = a->n;
        list->programs = a->programs;
        qsort(a->jobs, (size_t)a->n, sizeof *a->jobs, by_program);
        memcpy(list->job, a->jobs, sizeof *a->jobs * (size_t)a->n);
        tn_logf(a->dev->log, TN_LOG_INFO, "device '%s': building %d programs, once", a->dev->info.name, a->programs);
        for (int i = most_helpers(); i > 0; i--) spawn_helper(a, fd);
        rc = watch_helpers(a, list, err);
        munmap(list, size);
    }
    if (fd >= 0) close(fd);
    a->dev->prepared = was + (tn_now() - begin);
    return rc;
}
