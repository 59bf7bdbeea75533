/* tn_bench_run: what is to be measured, and the devices one after the other. */
#include "entry.h"
#include "files.h"
#include "host.h"
#include "measure.h"
#include "result.h"
#include "words.h"
#include "work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tracknet/api.h>

typedef struct {
    const tn_run_options *o;
    const tn_bench_options *p;
    const char *parts;
    char *config_dir;
    json_t *devices;
    int done, total; /* stages */
} bench_run;

static int check_parts(const char *list, tn_error *err)
{
    char word[64];
    while (tn_next_word(&list, word, sizeof word))
        if (!tn_bench_is_part(word))
            return tn_fail(
                err, TN_ERR_ARGUMENT,
                "there is no part '%s' of a benchmark; parts are links, kernels, work and clpeak, or single ones of docs/bench.md",
                word);
    return 0;
}

static const char *sizes_of(const bench_run *r, const tn_device_info *d)
{
    return r->p->sizes ? r->p->sizes : tn_bench_sizes(d, r->p->effort);
}

static int check_sizes(const bench_run *r, tn_error *err)
{
    char word[64];
    for (const char *list = r->p->sizes; list && tn_next_word(&list, word, sizeof word);) {
        char *path = r->config_dir ? tn_strf("%s/backbone/%s/config.json", r->config_dir, word) : NULL;
        const bool there = path && tn_is_file(path);
        free(path);
        if (!there)
            return tn_fail(err, TN_ERR_ARGUMENT, "there is no backbone '%s' in %s/backbone; its folders are what sizes are called",
                           word, r->config_dir ? r->config_dir : "configs");
    }
    if (r->config_dir || !tn_has_word(r->parts, "work")) return 0;
    return tn_fail(err, TN_ERR_CONFIG,
                   "no configs folder here and none is installed; name it with --config-dir, or measure "
                   "--only links,kernels");
}

/* ---- a device ---- */

static void keep_others(const tn_load *from, const tn_load *to, json_t *device)
{
    char text[96];
    const double others = tn_load_others(from, to);
    json_object_set_new(device, "others", others < 0 ? json_null() : json_real(others));
    json_object_set_new(device, "seconds", json_real(to->at - from->at));
    if (others <= 0.1) return;
    snprintf(text, sizeof text, "others kept %.2f processors busy meanwhile: measure again on an idle machine", others);
    json_array_append_new(json_object_get(device, "notes"), json_string(text));
}

static double seconds_of(const tn_bench_options *p)
{
    return p->version >= 2 && p->seconds > 0 ? p->seconds : 0;
}

static int measure_device(bench_run *r, const tn_device_info *d, tn_error *err)
{
    tn_load begin, end;
    const tn_bench_level *level = &tn_bench_levels[r->p->effort];
    json_t *device = tn_bench_document(d);
    if (!device || json_array_append_new(r->devices, device)) return tn_oom(err);
    tn_load_now(&begin, "");
    const tn_bench_task t = {.o = r->o,
                             .effort = r->p->effort,
                             .parts = r->parts,
                             .sizes = sizes_of(r, d),
                             .config_dir = r->config_dir,
                             .index = d->index,
                             .device = device,
                             .begin = begin.at,
                             .seconds = seconds_of(r->p) > 0 ? seconds_of(r->p) : level->seconds,
                             .allowance = seconds_of(r->p) > 0 ? 0 : level->allowance,
                             .done = r->done,
                             .total = r->total};
    TN_TRY(r->o->helper ? tn_bench_measure_apart(&t, err) : tn_bench_measure_device(&t, err));
    r->done += tn_bench_stages(t.parts, t.sizes);
    tn_load_now(&end, "");
    keep_others(&begin, &end, device);
    return 0;
}

/* ---- all of them ---- */

static int measure_devices(bench_run *r, tn_error *err)
{
    tn_device_info **v = NULL;
    int count = 0, n = 0, *chosen = NULL;
    int rc = tn_device_list(&v, &count, err);
    if (!rc) rc = tn_device_select_list(&chosen, &n, NULL, r->o->device, err);
    for (int i = 0; !rc && i < n; i++) r->total += tn_bench_stages(r->parts, sizes_of(r, v[chosen[i]]));
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
                     "tracknet", TN_VERSION_STRING, "time", now, "effort", tn_bench_levels[r->p->effort].name, "command",
                     tn_json_text(r->p->command), "host", tn_host_describe(), "devices", r->devices);
}

int tn_bench_run(const tn_run_options *o, const tn_bench_options *p, tn_bench_result **out, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(out, "tn_bench_run's result", err));
    *out = NULL;
    TN_TRY(tn_run_check(&o, err));
    TN_TRY(tn_struct(p, TN_BENCH_OPTIONS_VERSION, "tn_bench_options", err));
    if ((unsigned)p->effort >= TN_BENCH_EFFORTS) return tn_fail(err, TN_ERR_ARGUMENT, "there is no effort %d", (int)p->effort);
    bench_run r = {.o = o, .p = p, .parts = p->parts ? p->parts : tn_bench_parts(p->effort)};
    TN_TRY(check_parts(r.parts, err));
    r.config_dir = tn_bench_configs(p->config_dir);
    r.devices = json_array();
    int rc = check_sizes(&r, err);
    if (!rc) rc = measure_devices(&r, err);
    if (!rc) rc = tn_bench_result_new(out, document(&r), "", err);
    json_decref(r.devices);
    free(r.config_dir);
    return rc;
}
