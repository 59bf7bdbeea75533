#include "record.h"

#include "files.h"
#include "jsonio.h"
#include "text.h"
#include "used.h"

#include <stdlib.h>
#include <time.h>
#include <tracknet/tracknet.h>

static json_t *device_of(const tn_dev *dev)
{
    const tn_device_info *d = &dev->info;
    return json_pack("{s:s, s:s, s:s, s:s}", "name", d->name, "platform", d->platform, "driver", d->driver, "version", d->version);
}

/* Who runs what, where there are several. NULL: there are not. */
static json_t *stages_of(const tn_engine *e)
{
    json_t *all = e->team.n > 1 ? json_array() : NULL;
    for (int i = 0; all && i < e->team.n; i++) {
        const tn_member *m = &e->team.member[i];
        json_array_append_new(all, json_pack("{s:i, s:s, s:s, s:o, s:I}", "replica", m->replica, "first", e->team.layers[m->first],
                                             "last", e->team.layers[m->last], "device", device_of(m->dev), "peak_device_bytes",
                                             (json_int_t)m->dev->peak));
    }
    return all;
}

int tn_record_write(const char *dir, const tn_engine *e, double threshold, tn_error *err)
{
    char when[32];
    time_t t = time(NULL);
    struct tm tm;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
    json_t *j =
        json_pack("{s:s, s:s, s:o, s:I, s:I, s:I, s:o, s:O*, s:o*}", "tracknet", TN_VERSION_STRING, "written", when, "device",
                  device_of(e->dev), "parameters", (json_int_t)tn_model_count(e->model, 7, false), "trainable",
                  (json_int_t)tn_model_count(e->model, tn_engine_groups(e), true), "peak_device_bytes", (json_int_t)e->dev->peak,
                  "threshold", tn_json_number(threshold), "variants", e->session->ctx.used, "stages", stages_of(e));
    char *path = tn_path(dir, "run.json");
    const int rc = path && j ? tn_json_write(j, path, err) : tn_oom(err);
    json_decref(j);
    free(path);
    return rc;
}

json_t *tn_record_variants(const char *dir)
{
    char *path = tn_path(dir, "run.json");
    json_t *j = NULL;
    tn_error unread; /* a checkpoint without it is as good */
    if (path) (void)tn_json_read(&j, path, &unread);
    json_t *v = json_incref(json_object_get(j, "variants"));
    json_decref(j);
    free(path);
    return v;
}

void tn_record_compare(const json_t *before, const tn_engine *e)
{
    char first[512];
    const int n = tn_used_differences(before, e->session->ctx.used, first, sizeof first);
    if (n)
        tn_logf(e->log, TN_LOG_WARN,
                "%d shape(s) run by other kernels than when the checkpoint was written (%s): the numbers agree to rounding, not to "
                "the bit; --variants or the same --cache keeps them",
                n, first);
}
