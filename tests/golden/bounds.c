/* What an error may be, and the largest of each kind in a case. */
#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    double bound;          /* in float32, or what --bound said */
    double worst, allowed; /* the error that goes furthest towards what it may be */
    bool fixed;            /* by --bound */
    int count;
    char where[160];
} measure;

static measure kinds[KINDS] = {
    [HIDDEN] = {.name = "hidden", .bound = 1e-5},    [HEATMAP] = {.name = "heatmap", .bound = 1e-5},
    [LOSS] = {.name = "loss", .bound = 1e-5},        [GRADIENT] = {.name = "gradient", .bound = 1e-4},
    [TRACE] = {.name = "trace.loss", .bound = 1e-4}, [NORM] = {.name = "trace.grad_norm", .bound = 1e-3},
    [FINAL] = {.name = "final", .bound = 1e-3},      [STATISTICS] = {.name = "buffer", .bound = 1e-4},
    [CODES] = {.name = "quantised", .bound = 0},     [VALUES] = {.name = "dequantised", .bound = 0},
};

/* The real library's own error in bfloat16 of this case, by the names of golden.safetensors; NULL in other types. */
static json_t *bf16_error;
static bool verbose;

/* Twice what the real library loses in bfloat16 itself; traces have one figure for all steps. */
static double allowed(const measure *m, const char *where)
{
    if (!bf16_error || m->fixed) return m->bound;
    return 2 * tn_json_num(bf16_error, where, tn_json_num(bf16_error, m->name, 0));
}

/* How far an error goes towards what it may be; above 1 where it passes it. */
static double share(double e, double may)
{
    if (may > 0 && !isnan(e)) return e / may;
    return e == 0 ? 0 : INFINITY;
}

void note(int kind, const char *where, double e)
{
    measure *m = &kinds[kind];
    const double may = allowed(m, where);
    if (verbose) printf("    %-12s %-72s %.2e of %.1e\n", m->name, where, e, may);
    if (m->count++ && share(e, may) <= share(m->worst, m->allowed)) return;
    m->worst = e, m->allowed = may;
    snprintf(m->where, sizeof m->where, "%s", where);
}

int compared(int kind)
{
    return kinds[kind].count;
}

void bounds_begin(bool every)
{
    verbose = every;
    for (int i = 0; i < KINDS; i++) kinds[i].count = 0;
}

int bounds_bf16(const char *dir, tn_error *err)
{
    char *path = tn_path(dir, "bf16_error.json");
    int rc = path ? tn_json_read(&bf16_error, path, err) : tn_oom(err);
    free(path);
    return rc;
}

bool bounds_end(void)
{
    bool bad = false;
    for (int i = 0; i < KINDS; i++) {
        const measure *m = &kinds[i];
        if (!m->count) continue;
        const bool ok = m->worst <= m->allowed;
        bad |= !ok;
        printf("  %-16s %.2e of %.0e  %s  (%d compared, worst %s)\n", m->name, m->worst, m->allowed, ok ? "ok" : "TOO LARGE",
               m->count, m->where);
    }
    json_decref(bf16_error);
    bf16_error = NULL;
    return bad;
}

bool bound_set(const char *arg)
{
    for (int i = 0; i < KINDS; i++) {
        size_t n = strlen(kinds[i].name);
        if (strncmp(arg, kinds[i].name, n) || arg[n] != '=') continue;
        kinds[i].bound = atof(arg + n + 1);
        kinds[i].fixed = true;
        return kinds[i].bound > 0;
    }
    return false;
}

void bounds_list(void)
{
    printf("kinds:");
    for (int i = 0; i < KINDS; i++) printf(" %s (%.0e)", kinds[i].name, kinds[i].bound);
    printf("\n");
}
