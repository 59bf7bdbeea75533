#include "sample.h"
#include "clock.h"

#include <stdlib.h>

#define WIDE  0.05   /* an interval wider than this part of the median is worth up to LONGER times the samples */
#define SHORT 100e-6 /* seconds of a run that launching it may be a part of */
enum { LONGER = 3, FEWEST = 3, RECORDED = 32 };

/* ---- the host's clock ---- */

static int timed(const tn_bench *b, int (*run)(void *, tn_error *), void *of, int runs, double *seconds, tn_error *err)
{
    const double begin = tn_now();
    for (int i = 0; i < runs; i++) TN_TRY(run(of, err));
    TN_TRY(tn_dev_finish(b->dev, err));
    *seconds = (tn_now() - begin) / runs;
    return 0;
}

/* As many runs as fill a sample; this is the warm-up too. */
static int runs_of(const tn_bench *b, const tn_bench_job *j, int *runs, double *seconds, tn_error *err)
{
    double copy;
    *runs = j->each ? j->each : 1;
    while (!j->each) {
        TN_TRY(timed(b, j->run, j->runs, *runs, seconds, err));
        if (*seconds * *runs >= b->level->sample || *runs >= 1 << 16) break;
        *runs = (int)TN_MIN(TN_MAX(2.0 * *runs, 1.1 * b->level->sample / TN_MAX(*seconds, 1e-9)), 65536.0);
    }
    return j->beside ? timed(b, j->beside, j->self, *runs, &copy, err) : 0;
}

/* ---- the device's ---- */

/* Runs on a tape; NULL where not all of them can be recorded, or are timed by events. */
static int record(tn_tape **out, tn_bench *b, int (*run)(void *, tn_error *), void *of, tn_error *err)
{
    tn_tape *t;
    int first = 0, rc = tn_tape_new(&t, b->dev, err);
    b->c.tape = rc ? NULL : t;
    for (int i = 0; !rc && i < RECORDED; i++) {
        rc = run(of, err);
        if (!i && !rc) first = tn_tape_count(t);
    }
    b->c.tape = NULL;
    const bool whole = !rc && first && tn_tape_count(t) == RECORDED * first && tn_tape_has_events(t);
    if (!rc && !whole) rc = tn_dev_finish(b->dev, err);
    if (!whole && t) tn_tape_free(t);
    *out = whole ? t : NULL;
    return rc;
}

static int by_events(tn_tape *t, double *seconds, tn_error *err)
{
    const int n = tn_tape_count(t);
    double *v = calloc((size_t)n, sizeof *v);
    const int rc = v ? tn_tape_profile(t, v, err) : tn_oom(err);
    *seconds = 0;
    for (int i = 0; !rc && i < n; i++) *seconds += v[i] / RECORDED;
    free(v);
    return rc;
}

typedef struct {
    tn_tape *run, *beside;
} tapes;

/* Events that say nothing, or more than the host saw go by, are not believed. */
static int tapes_of(tapes *t, tn_bench *b, const tn_bench_job *j, double by_host, tn_error *err)
{
    double seconds = 0;
    *t = (tapes){NULL, NULL};
    if (b->info.type == TN_DEVICE_CPU || by_host > SHORT || j->each || !j->by_context) return 0;
    TN_TRY(record(&t->run, b, j->run, j->runs, err));
    if (t->run) TN_TRY(by_events(t->run, &seconds, err));
    if (t->run && j->beside) TN_TRY(record(&t->beside, b, j->beside, j->self, err));
    if (seconds > 0 && seconds < 1.2 * by_host && (t->beside || !j->beside)) return 0;
    tn_tape_free(t->run);
    tn_tape_free(t->beside);
    *t = (tapes){NULL, NULL};
    return 0;
}

/* ---- samples ---- */

static bool wide(const tn_samples *s)
{
    tn_sampled d;
    return tn_sampled_of(&d, s->v, s->n) && d.high - d.low > WIDE * d.median;
}

static bool goes_on(const tn_bench *b, const tn_samples *s, double begin)
{
    const tn_bench_level *l = b->level;
    const double took = tn_now() - begin, figure = b->time.pace * l->figure;
    if (s->n < FEWEST) return true;
    if (s->n >= l->most || took > LONGER * figure) return false;
    return s->n < l->least || took < figure || wide(s);
}

static int one_sample(const tn_bench *b, const tn_bench_job *j, const tapes *t, tn_samples *s, tn_error *err)
{
    double copy = 0;
    if (t->run) {
        if (t->beside) TN_TRY(by_events(t->beside, &copy, err));
        TN_TRY(by_events(t->run, &s->v[s->n], err));
    } else {
        if (j->beside) TN_TRY(timed(b, j->beside, j->self, s->runs, &copy, err));
        TN_TRY(timed(b, j->run, j->runs, s->runs, &s->v[s->n], err));
    }
    s->ratio[s->n] = copy / TN_MAX(s->v[s->n], 1e-12);
    s->n++;
    return 0;
}

int tn_sample(tn_bench *b, const tn_bench_job *j, tn_samples *s, tn_error *err)
{
    tapes t;
    double by_host = 0;
    TN_TRY(runs_of(b, j, &s->runs, &by_host, err));
    int rc = tapes_of(&t, b, j, by_host, err);
    s->by_device = t.run != NULL;
    if (s->by_device) s->runs = RECORDED;
    for (const double begin = tn_now(); !rc && goes_on(b, s, begin);) rc = one_sample(b, j, &t, s, err);
    tn_tape_free(t.beside);
    tn_tape_free(t.run);
    return rc;
}
