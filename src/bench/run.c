/* tn_bench_run: the devices, and the parts of each. */
#include "entry.h"
#include "describe.h"
#include "host.h"
#include "parts.h"
#include "result.h"
#include "files.h"
#include "work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tracknet/api.h>

static const tn_bench_level levels[] = {
    [TN_BENCH_QUICK] = {"quick", 5, 40, 0.002, 0.08, 4, 4, 2, 0.5},
    [TN_BENCH_NORMAL] = {"normal", 9, 100, 0.005, 0.2, 10, 8, 2, 1},
    [TN_BENCH_FULL] = {"full", 15, 200, 0.005, 0.4, 20, 12, 3, 2},
};

static const struct {
    const char *of; /* of tn_bench_options.parts */
    const char *name;
    int (*run)(tn_bench *b, tn_error *err);
} parts[] = {{"links", "memory", tn_bench_memory},
             {"links", "transfers", tn_bench_transfers},
             {"links", "launches", tn_bench_launches},
             {"links", "builds", tn_bench_builds},
             {"kernels", "products", tn_bench_products},
             {"kernels", "unpacking", tn_bench_unpacking},
             {"kernels", "few tokens", tn_bench_few_tokens},
             {"kernels", "attention", tn_bench_attention},
             {"kernels", "memory-bound kernels", tn_bench_rowwise}};

typedef struct {
    const tn_run_options *o;
    const tn_bench_options *p;
    char *config_dir;
    json_t *devices;
    int done, total;
} bench_run;

/* ---- lists of words ---- */

/* The word at *list, which moves on; false at its end. */
static bool next_word(const char **list, char *word, size_t size)
{
    *list += strspn(*list, ", ");
    const size_t n = strcspn(*list, ", ");
    snprintf(word, size, "%.*s", (int)TN_MIN(n, size - 1), *list);
    *list += n;
    return n > 0;
}

static bool has_word(const char *list, const char *wanted)
{
    char word[64];
    if (!list) return true;
    while (next_word(&list, word, sizeof word))
        if (!strcmp(word, wanted)) return true;
    return false;
}

static int check_parts(const char *list, tn_error *err)
{
    char word[64];
    while (list && next_word(&list, word, sizeof word))
        if (strcmp(word, "links") != 0 && strcmp(word, "kernels") != 0 && strcmp(word, "work") != 0)
            return tn_fail(err, TN_ERR_ARGUMENT, "there is no part '%s' of a benchmark; parts are links, kernels and work", word);
    return 0;
}

/* On a processor the larger ones take minutes. */
static const char *sizes_of(const bench_run *r, const tn_device_info *d)
{
    if (r->p->sizes) return r->p->sizes;
    static const char *const all = "vit-s,vit-b,vit-l";
    if (d->type != TN_DEVICE_CPU) return r->p->effort == TN_BENCH_QUICK ? "vit-s,vit-b" : all;
    return r->p->effort == TN_BENCH_QUICK ? "vit-s" : r->p->effort == TN_BENCH_FULL ? all : "vit-s,vit-b";
}

static int check_sizes(const bench_run *r, tn_error *err)
{
    char word[64];
    for (const char *list = r->p->sizes; list && next_word(&list, word, sizeof word);) {
        char *path = r->config_dir ? tn_strf("%s/backbone/%s/config.json", r->config_dir, word) : NULL;
        const bool there = path && tn_is_file(path);
        free(path);
        if (!there)
            return tn_fail(err, TN_ERR_ARGUMENT, "there is no backbone '%s' in %s/backbone; its folders are what sizes are called",
                           word, r->config_dir ? r->config_dir : "configs");
    }
    if (r->config_dir || !has_word(r->p->parts, "work")) return 0;
    return tn_fail(err, TN_ERR_CONFIG,
                   "no configs folder here and none is installed; name it with --config-dir, or measure "
                   "--only links,kernels");
}

/* ---- a device ---- */

static void note_level(tn_bench *b, const tn_load *from, const tn_load *to, json_t *device)
{
    const double others = tn_load_others(from, to);
    json_object_set_new(device, "others", others < 0 ? json_null() : json_real(others));
    if (others > 0.1) tn_bench_note(b, "others kept %.2f processors busy meanwhile: measure again on an idle machine", others);
}

static int kernels_and_links(bench_run *r, tn_bench *b, tn_error *err)
{
    int rc = 0;
    for (size_t i = 0; !rc && i < TN_COUNT(parts); i++) {
        if (!has_word(r->p->parts, parts[i].of)) continue;
        b->part = parts[i].name;
        b->done = r->done;
        rc = parts[i].run(b, err);
        if (rc == TN_ERR_MEMORY && !b->dev->lost) {
            tn_bench_note(b, "%s: %s", parts[i].name, err->message);
            rc = 0;
        }
        r->done++;
    }
    return rc;
}

static int with_device(bench_run *r, tn_bench *b, int index, tn_error *err)
{
    const tn_run_options *o = r->o;
    const tn_dev_options x = {.memory_limit = o->memory_limit,
                              .log = o->log,
                              .watch = {o->progress, o->user},
                              .variants = o->variants,
                              .cache = o->cache,
                              .helper = o->helper};
    TN_TRY(tn_dev_open(&b->dev, index, &x, err));
    b->info = b->dev->info;
    b->caps = b->dev->caps;
    tn_ctx_init(&b->c, b->dev);
    const int rc = kernels_and_links(r, b, err);
    tn_ctx_free(&b->c);
    tn_dev_close(b->dev);
    b->dev = NULL;
    return rc;
}

/* Half storage is measured where something multiplies it faster; with the full effort both are, of the first size. */
static bool storage_is_measured(const bench_run *r, const tn_bench *b, tn_dtype dt, bool first)
{
    const bool half = b->info.type != TN_DEVICE_CPU || (b->caps & (TN_CAP_AVX512_BF16 | TN_CAP_AMX_BF16));
    return (first && r->p->effort == TN_BENCH_FULL) || (dt == TN_BF16) == half;
}

static int all_sizes(bench_run *r, tn_bench *b, tn_bench_work *w, tn_error *err)
{
    char size[64];
    const char *sizes = sizes_of(r, &b->info);
    bool first = true;
    for (const char *list = sizes; next_word(&list, size, sizeof size); first = false) {
        for (tn_dtype dt = TN_F32; dt <= TN_BF16; dt++)
            if (storage_is_measured(r, b, dt, first)) TN_TRY(tn_bench_size(b, w, size, dt, err));
        b->done = ++r->done;
    }
    if (w->fitted) return 0;
    return tn_fail(err, TN_ERR_MEMORY, "none of %s fits: %s", sizes, w->least);
}

static int work(bench_run *r, tn_bench *b, int index, json_t *device, tn_error *err)
{
    char selector[16];
    tn_energy energy;
    tn_run_options o = *r->o;
    snprintf(selector, sizeof selector, "%d", index);
    o.device = selector;
    o.stages = NULL;
    tn_bench_work *w = calloc(1, sizeof *w);
    if (!w) return tn_oom(err);
    *w = (tn_bench_work){.o = &o, .config_dir = r->config_dir, .energy = &energy, .steps = json_object_get(device, "steps")};
    tn_energy_open(&energy, &b->info, "");
    json_object_set_new(device, "energy", energy.n ? tn_json_text(energy.from) : json_null());
    if (!energy.n) tn_bench_note(b, "images per joule: %s", energy.why);
    b->part = "work";
    b->done = r->done;
    const int rc = all_sizes(r, b, w, err);
    tn_energy_close(&energy);
    free(w);
    return rc;
}

static int measure_device(bench_run *r, const tn_device_info *d, tn_error *err)
{
    tn_load begin, end;
    json_t *list = json_array(), *notes = json_array();
    json_t *device =
        json_pack("{s:o, s:o, s:o, s:[]}", "identity", tn_describe_device(d), "measurements", list, "notes", notes, "steps");
    if (!device || json_array_append_new(r->devices, device)) return tn_oom(err);
    tn_bench b = {.level = &levels[r->p->effort],
                  .list = list,
                  .notes = notes,
                  .watch = {r->o->progress, r->o->user},
                  .part = "",
                  .total = r->total};
    tn_load_now(&begin, "");
    TN_TRY(with_device(r, &b, d->index, err));
    if (has_word(r->p->parts, "work")) TN_TRY(work(r, &b, d->index, device, err));
    tn_load_now(&end, "");
    note_level(&b, &begin, &end, device);
    json_object_set_new(device, "seconds", json_real(end.at - begin.at));
    return 0;
}

/* ---- all of them ---- */

static int parts_of_all(const bench_run *r, tn_device_info **v, const int *chosen, int n)
{
    int total = 0;
    char word[64];
    for (int i = 0; i < n; i++) {
        for (size_t k = 0; k < TN_COUNT(parts); k++) total += has_word(r->p->parts, parts[k].of);
        for (const char *s = sizes_of(r, v[chosen[i]]); has_word(r->p->parts, "work") && next_word(&s, word, sizeof word);) total++;
    }
    return total;
}

static int measure_devices(bench_run *r, tn_error *err)
{
    tn_device_info **v = NULL;
    int count = 0, n = 0, *chosen = NULL;
    int rc = tn_device_list(&v, &count, err);
    if (!rc) rc = tn_device_select_list(&chosen, &n, NULL, r->o->device, err);
    if (!rc) r->total = parts_of_all(r, v, chosen, n);
    for (int i = 0; !rc && i < n; i++) rc = measure_device(r, v[chosen[i]], err);
    free(chosen);
    tn_device_list_free(v);
    return rc;
}

static json_t *document(const bench_run *r)
{
    char now[32];
    const time_t t = time(NULL);
    struct tm utc;
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &utc));
    return json_pack("{s:s, s:i, s:s, s:s, s:s, s:o, s:o, s:O}", "schema", TN_BENCH_SCHEMA, "version", TN_BENCH_SCHEMA_VERSION,
                     "tracknet", TN_VERSION_STRING, "time", now, "effort", levels[r->p->effort].name, "command",
                     tn_json_text(r->p->command), "host", tn_host_describe(), "devices", r->devices);
}

int tn_bench_run(const tn_run_options *o, const tn_bench_options *p, tn_bench_result **out, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(out, "tn_bench_run's result", err));
    *out = NULL;
    TN_TRY(tn_run_check(&o, err));
    TN_TRY(tn_struct(p, TN_BENCH_OPTIONS_VERSION, "tn_bench_options", err));
    if ((unsigned)p->effort >= TN_COUNT(levels)) return tn_fail(err, TN_ERR_ARGUMENT, "there is no effort %d", (int)p->effort);
    TN_TRY(check_parts(p->parts, err));
    bench_run r = {.o = o, .p = p, .config_dir = tn_bench_configs(p->config_dir), .devices = json_array()};
    int rc = check_sizes(&r, err);
    if (!rc) rc = measure_devices(&r, err);
    if (!rc) rc = tn_bench_result_new(out, document(&r), "", err);
    json_decref(r.devices);
    free(r.config_dir);
    return rc;
}
