#include "platforms.h"
#include "entry.h"
#include "files.h"
#include "helper.h"
#include "jsonio.h"
#include "rates.h"
#include "select.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FORMAT = 1, SECONDS = 60 }; /* a few programs built, and a driver that hangs */

/* ---- the store: {"format": 1, "rates": {key: {"product", "copy", "why"}}} ---- */

static json_t *rates_of(const char *path)
{
    json_t *file = NULL;
    tn_error ignored;
    if (tn_is_file(path) && tn_json_read(&file, path, &ignored)) file = NULL;
    json_t *rates = json_object_get(file, "rates");
    const bool ours = tn_json_int(file, "format", 0) == FORMAT && json_is_object(rates);
    rates = ours ? json_incref(rates) : json_object();
    json_decref(file);
    return rates;
}

/* A cache that cannot be written costs the next run its time and nothing else. */
static void keep_rates(json_t *rates, const char *folder, const char *path)
{
    tn_error ignored;
    json_t *file = json_pack("{s:i, s:O}", "format", FORMAT, "rates", rates);
    if (file && !tn_mkdirs(folder, &ignored)) (void)tn_json_write(file, path, &ignored);
    json_decref(file);
}

/* ---- one device ---- */

static json_t *measure(const tn_device_info *d, const char *key, const char *folder, const tn_run_options *o)
{
    tn_rate_request q = {.index = d->index};
    tn_rate_answer a = {.product = 0};
    const tn_question ask = {o->helper, "rate-device", {&q, NULL}, {sizeof q, 0}, SECONDS};
    int status = 0;
    tn_rate_stamp(q.stamp, sizeof q.stamp);
    snprintf(q.cache_dir, sizeof q.cache_dir, "%s", folder);
    snprintf(q.key, sizeof q.key, "%s", key);
    tn_logf(o->log, TN_LOG_INFO, "device %d '%s' is offered by several platforms: measuring it through %s, once", d->index, d->name,
            d->platform);
    const tn_asked told = tn_helper_ask(&a, sizeof a, &ask, &status);
    a.why[sizeof a.why - 1] = 0;
    if (told == TN_ASKED_NOBODY) return NULL;
    if (told == TN_ASKED_ENDED) a = (tn_rate_answer){.why = "the process that measured it crashed"};
    if (told == TN_ASKED_LATE) a = (tn_rate_answer){.why = "it took too long"};
    if (a.why[0])
        tn_logf(o->log, TN_LOG_WARN, "device %d '%s' could not be measured through %s: %s", d->index, d->name, d->platform, a.why);
    return json_pack("{s:f, s:f, s:s}", "product", a.product, "copy", a.copy, "why", a.why);
}

/* Reads or measures; *changed where there is something to keep. */
static int know(const tn_device_info *d, json_t *rates, bool *changed, const char *folder, const tn_run_options *o, tn_error *err)
{
    char key[512];
    tn_rate_key(key, sizeof key, d);
    json_t *r = json_incref(json_object_get(rates, key));
    if (!r && o->helper && !o->ranks && (r = measure(d, key, folder, o))) *changed = !json_object_set(rates, key, r);
    const int rc = r ? tn_rate_know(key, tn_json_num(r, "product", 0), tn_json_num(r, "copy", 0), err) : 0;
    json_decref(r);
    return rc;
}

static bool is_offered_twice(tn_device_info *const *v, int n, int i)
{
    for (int k = 0; k < n; k++)
        if (k != i && tn_device_is_same(v[k], v[i])) return true;
    return false;
}

static int compare(tn_device_info *const *v, int n, const char *folder, const tn_run_options *o, tn_error *err)
{
    char *path = tn_strf("%s/platforms.json", folder);
    if (!path) return tn_oom(err);
    json_t *rates = NULL;
    bool changed = false;
    int rc = 0;
    for (int i = 0; !rc && i < n; i++) {
        if (!is_offered_twice(v, n, i)) continue;
        if (!rates && !(rates = rates_of(path))) rc = tn_oom(err);
        if (!rc) rc = know(v[i], rates, &changed, folder, o, err);
    }
    if (changed) keep_rates(rates, folder, path);
    json_decref(rates);
    free(path);
    return rc;
}

int tn_device_compare(const tn_run_options *o, tn_error *err)
{
    TN_ENTRY(err);
    tn_device_info **v = NULL;
    tn_error none;
    int n = 0;
    TN_TRY(tn_run_check(&o, err));
    if (o->cache && !strcmp(o->cache, "off")) return 0;
    if (tn_device_list(&v, &n, &none)) return 0; /* whoever needs one says so */
    char *folder = tn_cache_folder(o->cache);
    const int rc = folder ? compare(v, n, folder, o, err) : tn_oom(err);
    free(folder);
    tn_device_list_free(v);
    return rc;
}
