#include "measure.h"
#include "describe.h"
#include "parts.h"
#include "work.h"
#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Samples of a figure, seconds of a sample and a figure, seconds of a step's figure, how many shapes and types, how large memory,
 * all seconds, and those that kernels built for the first time may add. */
const tn_bench_level tn_bench_levels[] = {
    [TN_BENCH_QUICK] = {"quick", 5, 40, 0.002, 0.08, 2, 4, 2, 0.5, 52, 120},
    [TN_BENCH_NORMAL] = {"normal", 9, 100, 0.005, 0.2, 10, 8, 2, 1, 240, 120},
    [TN_BENCH_FULL] = {"full", 15, 200, 0.005, 0.4, 20, 12, 3, 2, 550, 0},
};

/* share: of the time, where all are measured; the work has the rest. */
static const struct {
    const char *of, *word; /* of tn_bench_options.parts: either */
    const char *name;
    int (*run)(tn_bench *b, tn_error *err);
    double share;
} parts[] = {{"links", "memory", "memory", tn_bench_memory, 0.06},
             {"links", "transfers", "transfers", tn_bench_transfers, 0.03},
             {"links", "launches", "launches", tn_bench_launches, 0.02},
             {"links", "builds", "builds", tn_bench_builds, 0.03},
             {"clpeak", "clpeak-launch", "launching as clpeak", tn_bench_clpeak_launch, 0.01},
             {"clpeak", "clpeak-read", "reading as clpeak", tn_bench_clpeak_read, 0.04},
             {"kernels", "products", "products", tn_bench_products, 0.17},
             {"kernels", "unpacking", "unpacking", tn_bench_unpacking, 0.10},
             {"kernels", "few-tokens", "few tokens", tn_bench_few_tokens, 0.04},
             {"kernels", "attention", "attention", tn_bench_attention, 0.05},
             {"kernels", "memory-bound", "memory-bound kernels", tn_bench_rowwise, 0.07}};
#define WORK 0.42

/* ---- what there is to do ---- */

bool tn_bench_is_part(const char *name)
{
    for (size_t i = 0; i < TN_COUNT(parts); i++)
        if (!strcmp(parts[i].of, name) || !strcmp(parts[i].word, name)) return true;
    return !strcmp(name, "work");
}

const char *tn_bench_parts(tn_bench_effort effort)
{
    return effort == TN_BENCH_FULL ? "links,clpeak,kernels,work" : "links,kernels,work";
}

/* On a processor the larger ones take minutes. */
const char *tn_bench_sizes(const tn_device_info *d, tn_bench_effort effort)
{
    static const char *const all = "vit-s,vit-b,vit-l";
    if (d->type != TN_DEVICE_CPU) return effort == TN_BENCH_QUICK ? "vit-s,vit-b" : all;
    return effort == TN_BENCH_QUICK ? "vit-s" : effort == TN_BENCH_FULL ? all : "vit-s,vit-b";
}

static bool is_chosen(size_t i, const char *list)
{
    return tn_has_word(list, parts[i].of) || tn_has_word(list, parts[i].word);
}

/* Those of parts[] that were chosen. */
static int chosen(const char *list)
{
    int n = 0;
    for (size_t i = 0; i < TN_COUNT(parts); i++) n += is_chosen(i, list);
    return n;
}

/* Which of parts[] stage k is. */
static size_t part_at(const char *list, int k)
{
    size_t i = 0;
    while (!is_chosen(i, list) || k-- > 0) i++;
    return i;
}

int tn_bench_stages(const char *list, const char *sizes)
{
    return chosen(list) + (tn_has_word(list, "work") ? tn_count_words(sizes) : 0);
}

const char *tn_bench_stage_name(char name[64], const char *list, const char *sizes, int i)
{
    const int n = chosen(list);
    if (i >= n) return tn_word_at(name, sizes, i - n);
    snprintf(name, 64, "%s", parts[part_at(list, i)].name);
    return name;
}

/* What part of the time is over when stage k of the parts has to be. */
static double upto(const char *list, int k)
{
    double sum = 0, all = tn_has_word(list, "work") ? WORK : 0;
    for (size_t i = 0; i < TN_COUNT(parts); i++) {
        const double share = is_chosen(i, list) ? parts[i].share : 0;
        all += share;
        if (i <= part_at(list, k)) sum += share;
    }
    return sum / all;
}

json_t *tn_bench_document(const tn_device_info *d)
{
    return json_pack("{s:o, s:[], s:[], s:[], s:[], s:f}", "identity", tn_describe_device(d), "measurements", "notes", "left_out",
                     "steps", "prepared", 0.0);
}

/* ---- the parts ---- */

static void add_prepared(const tn_bench_task *t, double seconds)
{
    json_object_set_new(t->device, "prepared", json_real(tn_json_num(t->device, "prepared", 0) + seconds));
}

/* A part that cannot go on: what it has measured stays. */
static int part_ended(tn_bench *b, int rc, const char *why, tn_error *err)
{
    char id[80], name[96];
    if (rc == TN_ERR_CANCELLED || b->dev->lost) return tn_fail(err, rc, "%s", why);
    snprintf(id, sizeof id, "part.%s", b->part);
    snprintf(name, sizeof name, "the rest of %s", b->part);
    const tn_bench_job j = {.id = id, .group = b->part, .name = name, .unit = "s"};
    return tn_bench_fail(b, &j, rc == TN_ERR_MEMORY ? "refused" : "failed", why, err);
}

static int one_part(const tn_bench_task *t, tn_bench *b, int stage, tn_error *err)
{
    tn_error why = {0};
    const size_t i = part_at(t->parts, stage);
    const double prepared = b->dev->prepared;
    b->part = parts[i].name;
    b->done = t->done + stage;
    tn_budget_part(&b->time, upto(t->parts, stage));
    int rc = parts[i].run(b, &why);
    if (rc) rc = part_ended(b, rc, why.message, err);
    add_prepared(t, b->dev->prepared - prepared);
    return rc || !t->stage_done ? rc : t->stage_done(t->user, stage, err);
}

static int all_parts(const tn_bench_task *t, tn_bench *b, tn_error *err)
{
    const tn_run_options *o = t->o;
    const tn_dev_options x = {.memory_limit = o->memory_limit,
                              .log = o->log,
                              .watch = {o->progress, o->user},
                              .variants = o->variants,
                              .cache = o->cache,
                              .helper = o->helper};
    int rc = 0;
    TN_TRY(tn_dev_open(&b->dev, t->index, &x, err));
    b->info = b->dev->info;
    b->caps = b->dev->caps;
    tn_ctx_init(&b->c, b->dev);
    tn_bench_known_copies(b);
    for (int k = t->first, n = chosen(t->parts); !rc && k < n; k++) rc = one_part(t, b, k, err);
    tn_ctx_free(&b->c);
    tn_dev_close(b->dev);
    b->dev = NULL;
    return rc;
}

/* ---- the work ---- */

/* Half storage is measured where something multiplies it faster; with the full effort both are, of the first size. */
static bool storage_is_measured(const tn_bench_task *t, const tn_bench *b, tn_dtype dt, bool first)
{
    const bool half = b->info.type != TN_DEVICE_CPU || (b->caps & (TN_CAP_AVX512_BF16 | TN_CAP_AMX_BF16));
    return (first && t->effort == TN_BENCH_FULL) || (dt == TN_BF16) == half;
}

/* The storage that a size is measured in everywhere comes first. */
static int one_size(const tn_bench_task *t, tn_bench *b, tn_bench_work *w, int k, tn_error *err)
{
    char size[64];
    const double prepared = w->prepared;
    tn_word_at(size, t->sizes, k);
    for (int usual = 1; usual >= 0; usual--)
        for (tn_dtype dt = TN_F32; dt <= TN_BF16; dt++)
            if (storage_is_measured(t, b, dt, k == 0) && storage_is_measured(t, b, dt, false) == usual)
                TN_TRY(tn_bench_size(b, w, size, dt, err));
    add_prepared(t, w->prepared - prepared);
    return 0;
}

static int all_sizes(const tn_bench_task *t, tn_bench *b, tn_bench_work *w, tn_error *err)
{
    const int parts_before = chosen(t->parts), n = tn_count_words(t->sizes);
    tn_budget_part(&b->time, 1);
    b->part = "work";
    for (int k = TN_MAX(t->first - parts_before, 0); k < n; k++) {
        b->done = t->done + parts_before + k;
        TN_TRY(one_size(t, b, w, k, err));
        if (t->stage_done) TN_TRY(t->stage_done(t->user, parts_before + k, err));
    }
    if (json_array_size(w->steps) || !w->least[0]) return 0;
    return tn_fail(err, TN_ERR_MEMORY, "none of %s fits: %s", t->sizes, w->least);
}

static int work(const tn_bench_task *t, tn_bench *b, tn_error *err)
{
    char selector[16];
    const char *root = getenv("TRACKNET_SYSROOT"); /* of tests */
    tn_energy energy;
    tn_run_options o = *t->o;
    snprintf(selector, sizeof selector, "%d", t->index);
    o.device = selector;
    o.stages = NULL;
    tn_bench_work *w = calloc(1, sizeof *w);
    if (!w) return tn_oom(err);
    *w = (tn_bench_work){.o = &o,
                         .config_dir = t->config_dir,
                         .energy = &energy,
                         .steps = json_object_get(t->device, "steps"),
                         .allowance = t->allowance};
    tn_energy_open(&energy, &b->info, root ? root : "");
    if (!energy.n && !json_object_get(t->device, "energy")) tn_bench_note(b, "images per joule: %s", energy.why);
    json_object_set_new(t->device, "energy", energy.n ? tn_json_text(energy.from) : json_null());
    const int rc = all_sizes(t, b, w, err);
    tn_energy_close(&energy);
    free(w);
    return rc;
}

int tn_bench_measure_device(const tn_bench_task *t, tn_error *err)
{
    tn_bench b = {.level = &tn_bench_levels[t->effort],
                  .list = json_object_get(t->device, "measurements"),
                  .notes = json_object_get(t->device, "notes"),
                  .left = json_object_get(t->device, "left_out"),
                  .watch = {t->o->progress, t->o->user},
                  .time = {.begin = t->begin, .seconds = t->seconds, .pace = 1},
                  .begins = t->begins,
                  .user = t->user,
                  .part = "",
                  .total = t->total};
    TN_TRY(all_parts(t, &b, err)); /* also where there are none: what the device is belongs to the work too */
    return tn_has_word(t->parts, "work") ? work(t, &b, err) : 0;
}
