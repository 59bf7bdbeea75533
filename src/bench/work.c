#include "work.h"
#include "clock.h"
#include "files.h"
#include "points.h"
#include "prof.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BURSTS = 400, LATENCIES = 1000, PASSES = 3, FEWEST_STEPS = 12 }; /* steps that a case takes at least, and a pass or two */
#define BURST 0.1                                                       /* seconds, at least, of the steps that are one sample */
#define TRIAL 0.4                                                       /* seconds of bursts that tell which batch is best */
#define GAIN  1.03                                                      /* so much faster a larger batch must be to go on */
#define SHARE 0.4 /* of the time that is left which the samples of a case may take */

/* Batches that are tried: on a GPU each is a plan with kernels of its own to choose. */
static const int few_at_a_time[] = {1, 2, 4, 8, 16, 32, 0}, many_at_a_time[] = {1, 8, 32, 128, 256, 0};

/* A model that trains or predicts. */
typedef struct {
    tn_bench *b;
    tn_bench_work *w;
    const char *size, *what;
    tn_dtype dt;
    tn_prof p;
    tn_profile_report *r;
    double cost;  /* what a step's time grows with, between sizes */
    double first; /* seconds from opening the device to the end of the first step */
    double work;  /* seconds that figures may take */
    int batch;    /* the best so far, and what it made: */
    double rate[BURSTS];
    int n;
    double sampled;           /* seconds that the rates took */
    double rate_of_one;       /* images a second at batch 1 */
    double median, joules;    /* images a second; of an image, 0: not known */
    size_t peak, peak_of_one; /* bytes: at that batch, at batch 1 */
} work_case;

char *tn_bench_configs(const char *given)
{
    if (given) return strdup(given);
    if (tn_is_dir("configs/backbone")) return strdup("configs");
    return tn_is_dir(TN_DATADIR "/configs/backbone") ? strdup(TN_DATADIR "/configs") : NULL;
}

/* ---- the model ---- */

/* The width of a backbone, and what the time of a step grows with. */
static int shape_of(int *width, double *cost, const char *folder, tn_error *err)
{
    json_t *j = NULL;
    char *path = tn_path(folder, "config.json");
    int rc = path ? tn_json_read(&j, path, err) : tn_oom(err);
    *width = (int)tn_json_int(j, "hidden_size", 0);
    *cost = (double)tn_json_int(j, "num_hidden_layers", 12) * *width * *width;
    if (!rc && *width <= 0)
        rc = tn_fail(err, TN_ERR_CONFIG, "%s has no hidden_size: a benchmark's backbone is a ViT of configs/backbone", path);
    json_decref(j);
    free(path);
    return rc;
}

static int configure(tn_config **c, work_case *k, tn_error *err)
{
    tn_config_source s = TN_CONFIG_SOURCE_INIT;
    char channels[96];
    int width = 0;
    char *folder = tn_strf("%s/backbone/%s", k->w->config_dir, k->size);
    char *name = folder ? tn_strf("model.pretrained_model_name=%s", folder) : NULL;
    int rc = name ? shape_of(&width, &k->cost, folder, err) : tn_oom(err);
    snprintf(channels, sizeof channels, "model.decoder.channels=[%d,256,128,64]", width);
    const char *const overrides[] = {name, channels, "model.backbone.random_init=true",
                                     k->dt == TN_F32    ? "training.precision=fp32"
                                     : k->dt == TN_BF16 ? "training.precision=bf16"
                                                        : "training.precision=fp16",
                                     "training.memory_optimization.gradient_checkpointing=false"};
    s.config_dir = k->w->config_dir;
    s.model = "vit_qlora_heatmap";
    s.training = "qlora";
    s.overrides = overrides;
    s.n_overrides = TN_COUNT(overrides);
    if (!rc) rc = tn_config_load(c, &s, err);
    free(name);
    free(folder);
    return rc;
}

static int open_case(work_case *k, const tn_config *c, tn_error *err)
{
    tn_profile_options o = TN_PROFILE_OPTIONS_INIT;
    double seconds;
    o.what = k->what[0] == 't' ? TN_PROFILE_TRAIN : TN_PROFILE_PREDICT;
    o.batch = 1;
    TN_TRY(tn_prof_report_new(&k->r, err));
    k->r->what = o.what;
    k->r->repeat = PASSES;
    const double begin = tn_now();
    TN_TRY(tn_prof_open(&k->p, tn_config_settings(c), k->w->o, &o, err));
    TN_TRY(tn_prof_burst(&k->p, k->r, 1, &seconds, err));
    k->first = tn_now() - begin;
    return 0;
}

/* Kernels that are built for the first time are none of the time that was promised, as far as that was said. */
static void grant(work_case *k, double prepared)
{
    tn_bench_work *w = k->w;
    const double more = TN_MIN(prepared, w->allowance);
    w->prepared += prepared;
    w->allowance -= more;
    k->b->time.end += more;
}

/* Seconds that a case is likely to take, from the last one of its kind; 0: nothing is known. */
static double reckoned(const work_case *k)
{
    const int i = k->what[0] == 'p';
    int t = (int)k->dt;
    for (int other = 0; other < 3 && k->w->last[i][t].cost <= 0; other++) t = other;
    if (k->w->last[i][t].cost <= 0) return 0;
    const double larger = k->cost / k->w->last[i][t].cost, prepared = k->w->last[i][t].prepared;
    return larger * (k->w->last[i][t].open - prepared + FEWEST_STEPS * k->w->last[i][t].step) + prepared;
}

/* A first case is always tried; what is known to take too long is not begun. */
static bool has_time(const work_case *k)
{
    char text[200];
    const double left = tn_budget_left(&k->b->time), needs = reckoned(k);
    if (left > needs) return true;
    const int n = snprintf(text, sizeof text, "work: %s %s, %s", k->what, k->size, tn_dtype_name(k->dt));
    if (needs > 0) snprintf(text + n, sizeof text - (size_t)n, " (takes about %.0f s, %.0f were left)", needs, TN_MAX(left, 0));
    json_array_append_new(k->b->left, tn_json_text(text));
    return false;
}

/* ---- throughput ---- */

typedef struct {
    double rate[BURSTS];
    int n;
    double seconds, joules; /* of all; of an image */
} bursts;

static int told(const work_case *k, const char *doing, int batch, tn_error *err)
{
    char item[128];
    snprintf(item, sizeof item, "%s, %s %s, %s, batch %d", doing, k->what, k->size, tn_dtype_name(k->dt), batch);
    return tn_watch_tell(&k->b->watch, TN_PHASE_MEASURING, item, k->b->done, k->b->total, err);
}

/* Bursts of steps of the batch that the model has now, for so many seconds. */
static int many_bursts(work_case *k, double step, double seconds_of_all, bursts *t, tn_error *err)
{
    const double start = tn_now();
    const int n = (int)TN_MIN(TN_MAX(BURST / TN_MAX(step, 1e-6), 1), 1000);
    long long images = 0;
    tn_energy_begin(k->w->energy);
    for (; t->n < BURSTS && (t->n < 3 || tn_now() - start < seconds_of_all); t->n++) {
        double seconds;
        TN_TRY(tn_prof_burst(&k->p, k->r, n, &seconds, err));
        tn_energy_sample(k->w->energy);
        t->rate[t->n] = n * k->p.batch / seconds;
        images += (long long)n * k->p.batch;
    }
    t->joules = tn_energy_end(k->w->energy) / (double)images;
    t->seconds = tn_now() - start;
    return 0;
}

static double median_of(const bursts *t)
{
    double v[BURSTS];
    memcpy(v, t->rate, sizeof *v * (size_t)t->n);
    return tn_prof_middle(v, t->n);
}

static void keep_bursts(work_case *k, const bursts *t, double median)
{
    memcpy(k->rate, t->rate, sizeof k->rate);
    k->n = t->n;
    k->median = median;
    k->batch = k->p.batch;
    k->sampled = t->seconds;
    k->joules = t->joules;
    k->peak = k->p.e->dev->peak;
}

/* *better: it was worth it, so that more may be. */
static int try_batch(work_case *k, int batch, bool *better, tn_error *err)
{
    bursts t = {.n = 0};
    double step;
    const double prepared = k->p.e->dev->prepared;
    TN_TRY(told(k, "throughput", batch, err));
    if (batch != k->p.batch) TN_TRY(tn_prof_rebatch(&k->p, batch, err));
    TN_TRY(tn_prof_burst(&k->p, k->r, 1, &step, err)); /* takes memory, builds, warms up */
    grant(k, k->p.e->dev->prepared - prepared);
    TN_TRY(tn_prof_burst(&k->p, k->r, 1, &step, err));
    TN_TRY(many_bursts(k, step, TRIAL, &t, err));
    const double median = median_of(&t);
    if (batch == 1) {
        k->peak_of_one = k->p.e->dev->peak;
        k->rate_of_one = median;
    }
    *better = median > GAIN * k->median;
    if (median > k->median) keep_bursts(k, &t, median);
    return 0;
}

/* Seconds for the latency and the commands one by one, once the best batch is known. */
static double rest_of(const work_case *k, int batch)
{
    return (PASSES + 2) * batch / k->median + k->work / 2;
}

/* A batch that would fill the time: said, since a larger one might have been faster. */
static bool may_try(const work_case *k, int batch, double took)
{
    const double step = batch / k->median;
    const bool usual = 5 * step <= 2 * k->b->level->work;
    if (usual && 5 * step + took + rest_of(k, batch) <= tn_budget_left(&k->b->time)) return true;
    if (usual) {
        char text[160];
        snprintf(text, sizeof text, "work: %s %s, %s, batches of %d and more", k->what, k->size, tn_dtype_name(k->dt), batch);
        json_array_append_new(k->b->left, tn_json_text(text));
    }
    return false;
}

/* The best batch again, as long as a figure may take, where its trial was shorter. */
static int settle(work_case *k, tn_error *err)
{
    bursts t = {.n = 0};
    double step;
    if (k->sampled >= k->work / 2) return 0;
    if (k->p.batch != k->batch) TN_TRY(tn_prof_rebatch(&k->p, k->batch, err));
    TN_TRY(told(k, "throughput", k->batch, err));
    for (int i = 0; i < 2; i++) TN_TRY(tn_prof_burst(&k->p, k->r, 1, &step, err));
    TN_TRY(many_bursts(k, step, k->work / 2, &t, err));
    keep_bursts(k, &t, median_of(&t));
    return 0;
}

/* More images at a time, while that is faster, fits, and would not take longer than there is. */
static int best_batch(work_case *k, tn_error *err)
{
    const int *batch = k->b->info.type == TN_DEVICE_CPU ? few_at_a_time : many_at_a_time;
    bool better = true, fits;
    double begin = tn_now();
    TN_TRY(try_batch(k, 1, &better, err));
    while (better && *++batch) {
        const double took = tn_now() - begin;
        TN_TRY(tn_prof_fits(&fits, &k->p, *batch, err));
        if (!fits || !may_try(k, *batch, took)) break;
        begin = tn_now();
        tn_error why = {0};
        const int rc = try_batch(k, *batch, &better, &why);
        if (rc == TN_ERR_MEMORY) return 0;
        if (rc) return tn_fail(err, rc, "%s", why.message);
    }
    return 0;
}

/* ---- latency ---- */

static int latencies(work_case *k, double *v, int *n, tn_error *err)
{
    const int most = TN_MIN(LATENCIES, 10 * k->b->level->most);
    TN_TRY(told(k, "latency", 1, err));
    const double begin = tn_now();
    for (*n = 0; *n < most && (*n < k->b->level->least || tn_now() - begin < k->work / 2); ++*n)
        TN_TRY(tn_prof_burst(&k->p, k->r, 1, &v[*n], err));
    return 0;
}

/* ---- figures ---- */

static int put(work_case *k, const char *what, const char *unit, const double *v, int n, json_t **entry, tn_error *err)
{
    char id[128], name[128];
    snprintf(id, sizeof id, "work.%s.%s.%s.%s", k->what, k->size, tn_dtype_name(k->dt), what);
    for (char *s = id; *s; s++)
        if (*s == ' ') *s = '-';
    snprintf(name, sizeof name, "%s %s, %s, %s", k->what, k->size, tn_dtype_name(k->dt), what);
    const bool less = !strcmp(unit, "B");
    const tn_bench_job j = {.id = id, .group = "work", .name = name, .unit = unit, .type = k->dt};
    TN_TRY(tn_bench_add(k->b, &j, v, n, entry, err));
    if (less) json_object_set_new(*entry, "better", json_string("less"));
    return 0;
}

static int put_latency(work_case *k, tn_error *err)
{
    double *v = calloc(LATENCIES, sizeof *v);
    json_t *m = NULL;
    int n = 0, rc = v ? latencies(k, v, &n, err) : tn_oom(err);
    if (!rc) rc = put(k, "latency", "s", v, n, &m, err);
    if (!rc) {
        tn_sort_doubles(v, (size_t)n);
        json_object_set_new(m, "p95", json_real(tn_quantile(v, n, 0.95)));
        json_object_set_new(m, "p99", json_real(tn_quantile(v, n, 0.99)));
    }
    free(v);
    return rc;
}

static int put_all(work_case *k, tn_error *err)
{
    json_t *m;
    const double peak = (double)k->peak_of_one, per_joule = k->joules > 0 ? 1 / k->joules : 0;
    TN_TRY(put(k, "throughput", "img/s", k->rate, k->n, &m, err));
    json_object_set_new(m, "batch", json_integer(k->batch));
    TN_TRY(put(k, "first step", "s", &k->first, 1, &m, err));
    TN_TRY(put(k, "peak memory", "B", &peak, 1, &m, err));
    json_object_set_new(m, "batch", json_integer(1));
    if (per_joule <= 0) return 0;
    TN_TRY(put(k, "images per joule", "img/J", &per_joule, 1, &m, err));
    json_object_set_new(m, "batch", json_integer(k->batch));
    return 0;
}

/* ---- the explanation ---- */

static int pass_done(void *user, tn_error *err)
{
    const work_case *k = user;
    return told(k, "each command", k->p.batch, err);
}

/* Every command of a step at the best batch. */
static int profile(work_case *k, tn_error *err)
{
    double seconds;
    if (k->p.batch != k->batch) TN_TRY(tn_prof_rebatch(&k->p, k->batch, err));
    TN_TRY(tn_prof_burst(&k->p, k->r, 1, &seconds, err));
    TN_TRY(tn_prof_commands(&k->p, k->r, pass_done, k, err));
    k->r->device = tn_prof_keep(k->r, k->p.e->dev->info.name);
    k->r->driver = tn_prof_keep(k->r, k->p.e->dev->info.driver);
    k->r->storage = tn_dtype_name(k->p.e->act);
    k->r->batch = k->batch;
    k->r->burst = 1;
    k->r->step_seconds = k->batch / k->median;
    k->r->idle = fmax(0, 1 - k->r->seconds / k->r->step_seconds);
    k->r->result = k->p.result;
    k->r->peak_bytes = k->peak;
    return k->r->device && k->r->driver ? 0 : tn_oom(err);
}

/* Measured once for a storage type, when the model's memory is given back. */
static int limits(work_case *k, tn_error *err)
{
    tn_bench_work *w = k->w;
    const int t = (int)k->dt;
    if (w->limit[t].peak <= 0) {
        TN_TRY(tn_prof_roofline(k->r, w->o, k->dt, err));
        w->limit[t].bandwidth = k->r->bandwidth;
        w->limit[t].peak = k->r->peak;
        snprintf(w->limit[t].copied_by, sizeof w->limit[t].copied_by, "%s", k->r->copied_by);
        snprintf(w->limit[t].peak_by, sizeof w->limit[t].peak_by, "%s", k->r->peak_by);
    }
    k->r->bandwidth = w->limit[t].bandwidth;
    k->r->peak = w->limit[t].peak;
    k->r->copied_by = w->limit[t].copied_by;
    k->r->peak_by = w->limit[t].peak_by;
    return 0;
}

static int keep_profile(work_case *k, tn_error *err)
{
    json_t *j;
    TN_TRY(limits(k, err));
    TN_TRY(tn_bench_profile(&j, k->r, err));
    json_object_set_new(j, "size", tn_json_text(k->size));
    return json_array_append_new(k->w->steps, j) ? tn_oom(err) : 0;
}

/* ---- a model's two uses ---- */

/* What the next size is reckoned from. */
static void keep_times(work_case *k)
{
    tn_bench_work *w = k->w;
    const int i = k->what[0] == 'p', t = (int)k->dt;
    w->last[i][t].cost = k->cost;
    w->last[i][t].open = k->first;
    w->last[i][t].prepared = k->p.e->dev->prepared;
    w->last[i][t].step = 1 / k->rate_of_one;
}

static int measure_case(work_case *k, const tn_config *c, tn_error *err)
{
    TN_TRY(told(k, "opening", 1, err));
    TN_TRY(open_case(k, c, err));
    grant(k, k->p.e->dev->prepared);
    k->work = TN_MIN(k->b->level->work, TN_MAX(SHARE * tn_budget_left(&k->b->time), 1));
    TN_TRY(best_batch(k, err));
    TN_TRY(settle(k, err));
    TN_TRY(profile(k, err));
    keep_times(k);
    if (k->what[0] == 'p' && isfinite(k->r->result)) {
        if (k->p.batch != 1) TN_TRY(tn_prof_rebatch(&k->p, 1, err));
        TN_TRY(put_latency(k, err));
    }
    return 0;
}

typedef struct {
    char id[128], name[128];
    tn_bench_job job;
} headline;

/* The figure that speaks for a case. */
static const tn_bench_job *headline_of(headline *h, const work_case *k)
{
    snprintf(h->id, sizeof h->id, "work.%s.%s.%s.throughput", k->what, k->size, tn_dtype_name(k->dt));
    snprintf(h->name, sizeof h->name, "%s %s, %s, throughput", k->what, k->size, tn_dtype_name(k->dt));
    h->job = (tn_bench_job){.id = h->id, .group = "work", .name = h->name, .unit = "img/s", .type = k->dt};
    return &h->job;
}

/* What computes nonsense has no time. */
static int keep_case(work_case *k, const tn_bench_job *j, tn_error *err)
{
    if (!isfinite(k->r->result)) return tn_bench_fail(k->b, j, "failed", "what it computes is not finite", err);
    TN_TRY(put_all(k, err));
    return keep_profile(k, err);
}

/* A case that does not fit is a note, one that fails a figure without a value; neither ends the rest. */
static int case_ended(work_case *k, const tn_bench_job *j, int rc, bool lost, const char *why, tn_error *err)
{
    tn_bench_work *w = k->w;
    if (!rc) return 0;
    if (rc == TN_ERR_CANCELLED || rc == TN_ERR_CONFIG || lost) return tn_fail(err, rc, "%s", why);
    if (rc != TN_ERR_MEMORY) return tn_bench_fail(k->b, j, "failed", why, err);
    tn_bench_note(k->b, "%s %s in %s is not measured: %s", k->what, k->size, tn_dtype_name(k->dt), why);
    if (!w->least[0]) snprintf(w->least, sizeof w->least, "%s", why);
    return 0;
}

static int case_now(work_case *k, const tn_bench_job *j, const tn_config *c, tn_error *err)
{
    tn_error why = {0};
    int rc = measure_case(k, c, &why);
    const bool lost = k->p.e && k->p.e->dev && k->p.e->dev->lost;
    tn_prof_close(&k->p);
    if (!rc) rc = keep_case(k, j, &why);
    return case_ended(k, j, rc, lost, why.message, err);
}

static int with_case(work_case *k, tn_error *err)
{
    headline h;
    tn_config *c = NULL;
    bool go = false;
    const tn_bench_job *j = headline_of(&h, k);
    int rc = configure(&c, k, err);
    if (!rc && has_time(k)) rc = tn_bench_begins(&go, k->b, j, err);
    if (!rc && go) rc = tn_bench_ends(k->b, case_now(k, j, c, err), err);
    tn_config_free(c);
    return rc;
}

static int one_use(tn_bench *b, tn_bench_work *w, const char *size, const char *what, tn_dtype dt, tn_error *err)
{
    work_case *k = calloc(1, sizeof *k);
    if (!k) return tn_oom(err);
    *k = (work_case){.b = b, .w = w, .size = size, .what = what, .dt = dt};
    const int rc = with_case(k, err);
    tn_profile_free(k->r);
    free(k);
    return rc;
}

int tn_bench_size(tn_bench *b, tn_bench_work *w, const char *size, tn_dtype dt, tn_error *err)
{
    TN_TRY(one_use(b, w, size, "train", dt, err));
    return one_use(b, w, size, "predict", dt, err);
}
