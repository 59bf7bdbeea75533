#include "work.h"
#include "clock.h"
#include "files.h"
#include "points.h"
#include "prof.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_BATCH = 256, BURSTS = 400, LATENCIES = 1000, PASSES = 3 };
#define BURST 0.1  /* seconds, at least, of the steps that are one sample */
#define GAIN  1.03 /* so much faster a batch of twice the images must be to go on */

/* A model that trains or predicts. */
typedef struct {
    tn_bench *b;
    tn_bench_work *w;
    const char *size, *what;
    tn_dtype dt;
    tn_prof p;
    tn_profile_report *r;
    double first; /* seconds from opening the device to the end of the first step */
    int batch;    /* the best so far, and what it made: */
    double rate[BURSTS];
    int n;
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

static int width_of(int *width, const char *folder, tn_error *err)
{
    json_t *j = NULL;
    char *path = tn_path(folder, "config.json");
    int rc = path ? tn_json_read(&j, path, err) : tn_oom(err);
    *width = (int)tn_json_int(j, "hidden_size", 0);
    if (!rc && *width <= 0)
        rc = tn_fail(err, TN_ERR_CONFIG, "%s has no hidden_size: a benchmark's backbone is a ViT of configs/backbone", path);
    json_decref(j);
    free(path);
    return rc;
}

static int configure(tn_config **c, const work_case *k, tn_error *err)
{
    tn_config_source s = TN_CONFIG_SOURCE_INIT;
    char channels[96];
    int width = 0;
    char *folder = tn_strf("%s/backbone/%s", k->w->config_dir, k->size);
    char *name = folder ? tn_strf("model.pretrained_model_name=%s", folder) : NULL;
    int rc = name ? width_of(&width, folder, err) : tn_oom(err);
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

/* ---- throughput ---- */

typedef struct {
    double rate[BURSTS];
    int n;
    double joules;
} bursts;

static int told(const work_case *k, const char *doing, int batch, tn_error *err)
{
    char item[128];
    snprintf(item, sizeof item, "%s, %s %s, %s, batch %d", doing, k->what, k->size, tn_dtype_name(k->dt), batch);
    return tn_watch_tell(&k->b->watch, TN_PHASE_MEASURING, item, k->b->done, k->b->total, err);
}

/* Bursts of steps of the batch that the model has now. */
static int many_bursts(work_case *k, double step, bursts *t, tn_error *err)
{
    const tn_bench_level *l = k->b->level;
    const int n = (int)TN_MIN(TN_MAX(BURST / TN_MAX(step, 1e-6), 1), 1000);
    long long images = 0;
    tn_energy_begin(k->w->energy);
    for (const double begin = tn_now(); t->n < BURSTS && (t->n < 3 || tn_now() - begin < l->work / 2); t->n++) {
        double seconds;
        TN_TRY(tn_prof_burst(&k->p, k->r, n, &seconds, err));
        t->rate[t->n] = n * k->p.batch / seconds;
        images += (long long)n * k->p.batch;
    }
    t->joules = tn_energy_end(k->w->energy) / (double)images;
    return 0;
}

static double median_of(const bursts *t)
{
    double v[BURSTS];
    memcpy(v, t->rate, sizeof *v * (size_t)t->n);
    return tn_prof_middle(v, t->n);
}

/* *better: it was worth it, so that twice as many may be. */
static int try_batch(work_case *k, int batch, bool *better, tn_error *err)
{
    bursts t = {.n = 0};
    double step;
    TN_TRY(told(k, "throughput", batch, err));
    if (batch != k->p.batch) TN_TRY(tn_prof_rebatch(&k->p, batch, err));
    TN_TRY(tn_prof_burst(&k->p, k->r, 1, &step, err)); /* takes memory, builds, warms up */
    TN_TRY(tn_prof_burst(&k->p, k->r, 1, &step, err));
    TN_TRY(many_bursts(k, step, &t, err));
    const double median = median_of(&t);
    if (batch == 1) k->peak_of_one = k->p.e->dev->peak;
    *better = median > GAIN * k->median;
    if (median <= k->median) return 0;
    memcpy(k->rate, t.rate, sizeof k->rate);
    k->n = t.n;
    k->median = median;
    k->batch = batch;
    k->joules = t.joules;
    k->peak = k->p.e->dev->peak;
    return 0;
}

/* Twice the images at a time, while that is faster, fits, and would not take longer than there is. */
static int best_batch(work_case *k, tn_error *err)
{
    bool better = true, fits;
    TN_TRY(try_batch(k, 1, &better, err));
    for (int batch = 2; better && batch <= LARGEST_BATCH; batch *= 2) {
        TN_TRY(tn_prof_fits(&fits, &k->p, batch, err));
        if (!fits || 5 * batch / k->median > k->b->level->work) break;
        tn_error why = {0};
        const int rc = try_batch(k, batch, &better, &why);
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
    for (*n = 0; *n < most && (*n < k->b->level->least || tn_now() - begin < k->b->level->work / 2); ++*n)
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

static int measure_case(work_case *k, const tn_config *c, tn_error *err)
{
    TN_TRY(told(k, "opening", 1, err));
    TN_TRY(open_case(k, c, err));
    TN_TRY(best_batch(k, err));
    TN_TRY(profile(k, err));
    if (k->what[0] == 'p' && isfinite(k->r->result)) {
        if (k->p.batch != 1) TN_TRY(tn_prof_rebatch(&k->p, 1, err));
        TN_TRY(put_latency(k, err));
    }
    return 0;
}

/* What computes nonsense has no time. */
static int keep_case(work_case *k, tn_error *err)
{
    char id[128], name[128];
    if (isfinite(k->r->result)) {
        TN_TRY(put_all(k, err));
        return keep_profile(k, err);
    }
    snprintf(id, sizeof id, "work.%s.%s.%s.throughput", k->what, k->size, tn_dtype_name(k->dt));
    snprintf(name, sizeof name, "%s %s, %s", k->what, k->size, tn_dtype_name(k->dt));
    return tn_bench_fail(k->b, &(tn_bench_job){.id = id, .group = "work", .name = name, .unit = "img/s"}, "failed",
                         "what it computes is not finite", err);
}

static int one_use(tn_bench *b, tn_bench_work *w, const char *size, const char *what, tn_dtype dt, tn_error *err)
{
    work_case *k = calloc(1, sizeof *k);
    tn_config *c = NULL;
    tn_error why = {0};
    if (!k) return tn_oom(err);
    *k = (work_case){.b = b, .w = w, .size = size, .what = what, .dt = dt};
    int rc = configure(&c, k, &why);
    if (!rc) rc = measure_case(k, c, &why);
    tn_prof_close(&k->p);
    if (!rc) rc = keep_case(k, &why);
    if (rc == TN_ERR_MEMORY) {
        tn_bench_note(b, "%s %s in %s is not measured: %s", what, size, tn_dtype_name(dt), why.message);
        if (!w->least[0]) snprintf(w->least, sizeof w->least, "%s", why.message);
    } else if (rc) {
        if (err) *err = why;
    } else {
        w->fitted++;
    }
    tn_profile_free(k->r);
    tn_config_free(c);
    free(k);
    return rc == TN_ERR_MEMORY ? 0 : rc;
}

int tn_bench_size(tn_bench *b, tn_bench_work *w, const char *size, tn_dtype dt, tn_error *err)
{
    TN_TRY(one_use(b, w, size, "train", dt, err));
    return one_use(b, w, size, "predict", dt, err);
}
