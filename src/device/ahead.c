#include "ahead.h"
#include "builders.h"
#include "clock.h"
#include "dev_cl.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_PROGRAMS = 4 }; /* for which builders are started */

struct tn_ahead {
    tn_dev *dev;
    tn_ahead_job *jobs;
    int n, programs;
};

int tn_ahead_new(tn_ahead **out, tn_dev *d, tn_error *err)
{
    *out = NULL;
    if (!d->helper || !d->cache_dir || !(d->bare || d->quirk_flags & TN_QUIRK_OBJECTS) || tn_builders_most() < 2) return 0;
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
    const bool had = !runs || !tn_builders_wait() || tn_builders_had(a->dev, &j); /* else another kernel of it may be missing */
    if (program < 0 && had && tn_program_is_built(a->dev, file, options)) return 0;
    j.program = program < 0 ? a->programs++ : program;
    tn_ahead_job *v = realloc(a->jobs, sizeof *v * (size_t)(a->n + 1));
    if (!v) return tn_oom(err);
    a->jobs = v;
    v[a->n++] = j;
    return 0;
}

static int by_program(const void *x, const void *y)
{
    const tn_ahead_job *a = x, *b = y;
    return a->program - b->program;
}

int tn_ahead_build(tn_ahead *a, size_t bytes, tn_error *err)
{
    const double was = a->dev->prepared, begin = tn_now();
    if (!a->programs || (a->programs < LEAST_PROGRAMS && !tn_builders_wait())) return 0;
    qsort(a->jobs, (size_t)a->n, sizeof *a->jobs, by_program);
    if (a->programs >= LEAST_PROGRAMS)
        tn_logf(a->dev->log, TN_LOG_INFO, "device '%s': building %d programs, once", a->dev->info.name, a->programs);
    const int rc = tn_builders_run(a->dev, a->jobs, a->n, a->programs, bytes, err);
    a->dev->prepared = was + (tn_now() - begin);
    return rc;
}

int tn_ahead_now(tn_dev *d, const char *file, const char *entry, const char *options, const tn_arg *args, int n_args,
                 const tn_range *range, tn_error *err)
{
    tn_ahead *a;
    if (!tn_builders_wait() || tn_program_is_built(d, file, options)) return 0;
    TN_TRY(tn_ahead_new(&a, d, err));
    int rc = a ? tn_ahead_add(a, file, entry, options, args, n_args, range, err) : 0;
    if (a && !rc) rc = tn_ahead_build(a, TN_AHEAD_TRIAL, err);
    tn_ahead_free(a);
    return rc;
}
