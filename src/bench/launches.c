/* What it takes to start a kernel, and to build one. */
#include "clock.h"
#include "files.h"
#include "parts.h"
#include "traffic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEAST_QUEUED 1e-7 /* seconds: what tells less (llvmpipe: 2 ns) tells something else */
enum { SMALL = 64, MANY = 256, BUILDS = 3, QUEUED = 200 };

typedef struct {
    tn_bench *b;
    tn_buffer *to;
} launch;

static int once(void *self, tn_error *err)
{
    const launch *l = self;
    return tn_write_by_kernel(&l->b->c, l->to, 1, SMALL, err);
}

static int and_wait(void *self, tn_error *err)
{
    const launch *l = self;
    TN_TRY(once(self, err));
    return tn_dev_finish(l->b->dev, err);
}

static int many(void *self, tn_error *err)
{
    for (int i = 0; i < MANY; i++) TN_TRY(once(self, err));
    return 0;
}

/* By the device's clock. Some drivers' events leave it out: then there is no figure. */
static int measure_queued(tn_bench *b, launch *l, tn_error *err)
{
    const tn_bench_job j = {
        .id = "launch.queued", .group = "launches", .name = "from a launch to the kernel's start, by events", .unit = "s"};
    double v[QUEUED];
    int known = 0;
    tn_tape *t;
    TN_TRY(tn_tape_new(&t, b->dev, err));
    b->c.tape = t;
    int rc = once(l, err);
    b->c.tape = NULL;
    for (int i = -2; !rc && i < QUEUED; i++) {
        rc = tn_tape_queued(t, &v[TN_MAX(i, 0)], err);
        known += i >= 0 && v[i] > LEAST_QUEUED;
    }
    tn_tape_free(t);
    if (!rc && known == QUEUED) rc = tn_bench_add(b, &j, v, QUEUED, NULL, err);
    return rc;
}

int tn_bench_launches(tn_bench *b, tn_error *err)
{
    launch l = {.b = b};
    TN_TRY(tn_buffer_new(&l.to, b->dev, SMALL, "a measurement", err));
    const tn_bench_job alone = {.id = "launch.latency",
                                .group = "launches",
                                .name = "a kernel launched and waited for",
                                .unit = "s",
                                .run = and_wait,
                                .runs = &l};
    const tn_bench_job in_turn = {.id = "launch.rate",
                                  .group = "launches",
                                  .name = "kernels launched without a wait",
                                  .unit = "1/s",
                                  .work = MANY,
                                  .run = many,
                                  .runs = &l};
    int rc = tn_bench_measure(b, &alone, err);
    if (!rc) rc = tn_bench_measure(b, &in_turn, err);
    if (!rc) rc = measure_queued(b, &l, err);
    tn_buffer_free(l.to);
    return rc;
}

/* ---- builds: a program that no cache knows, and the same again ---- */

/* From the source, or what a cache has of it, to the end of its first launch: some drivers compile only then. */
static int build(double *seconds, const tn_bench *b, const char *cache, const char *options, tn_error *err)
{
    const tn_dev_options o = {.cache = cache, .log = b->dev->log};
    tn_dev *d;
    tn_kernel *k;
    tn_buffer *to = NULL;
    TN_TRY(tn_dev_open(&d, b->dev->index, &o, err));
    int rc = tn_buffer_new(&to, d, 4096, "a measurement", err);
    const double begin = tn_now();
    if (!rc) rc = tn_kernel_get(&k, d, "portable/bandwidth.cl", "write_all", options, err);
    if (!rc) {
        const tn_arg args[] = {TN_BUF(to), TN_FLT(1), TN_UINT(16), TN_UINT(1), TN_UINT(1), TN_UINT(1), TN_UINT(16)};
        rc = tn_launch(d, k, args, TN_COUNT(args), &(tn_range){1, {16}, {1}}, err);
    }
    if (!rc) rc = tn_dev_finish(d, err);
    *seconds = tn_now() - begin;
    tn_buffer_free(to);
    tn_dev_close(d);
    return rc;
}

static int build_all(tn_bench *b, const char *cache, tn_error *err)
{
    double cold[BUILDS], warm[BUILDS];
    char options[96];
    for (int i = 0; i < BUILDS; i++) {
        snprintf(options, sizeof options, "-DVEC=float4 -DBENCH=%ld%09ld", (long)getpid(),
                 (long)(1e9 * (tn_now() - (long)tn_now())));
        TN_TRY(build(&cold[i], b, cache, options, err));
        TN_TRY(build(&warm[i], b, cache, options, err));
    }
    const tn_bench_job first = {.id = "build.cold", .group = "launches", .name = "a program built and launched once", .unit = "s"};
    const tn_bench_job again = {.id = "build.warm", .group = "launches", .name = "the same from the cache", .unit = "s"};
    TN_TRY(tn_bench_add(b, &first, cold, BUILDS, NULL, err));
    return tn_bench_add(b, &again, warm, BUILDS, NULL, err);
}

int tn_bench_builds(tn_bench *b, tn_error *err)
{
    const char *tmp = getenv("TMPDIR");
    char *folder = tn_strf("%s/tracknet-bench-XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
    if (!folder) return tn_oom(err);
    int rc = mkdtemp(folder)
                 ? build_all(b, folder, err)
                 : tn_fail(err, TN_ERR_IO, "cannot make a folder %s for the cache of a measurement; set TMPDIR", folder);
    tn_error ignored;
    if (!strstr(folder, "XXXXXX")) (void)tn_remove_tree(folder, &ignored);
    free(folder);
    return rc;
}
