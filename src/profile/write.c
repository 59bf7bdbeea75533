/* The report as JSON, and as a Chrome trace. */
#include "entry.h"
#include "files.h"
#include "prof.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static json_t *entry_json(const tn_profile_entry *e)
{
    return json_pack("{s:s, s:s, s:s?, s:s, s:i, s:f, s:f, s:f}", "layer", e->layer, "operation", e->operation, "variant",
                     e->variant, "kernel", e->kernel, "node", e->node, "seconds", e->seconds, "flops", e->flops, "bytes", e->bytes);
}

static json_t *row_json(const tn_profile_row *w)
{
    return json_pack("{s:s*, s:s*, s:s*, s:s*, s:i, s:f, s:f, s:f, s:f, s:f}", "layer", w->layer, "operation", w->operation,
                     "kernel", w->kernel, "variant", w->variant, "entries", w->entries, "seconds", w->seconds, "share", w->share,
                     "flops", w->flops, "bytes", w->bytes, "roofline", w->roofline);
}

static int add_rows(json_t *to, const char *name, const tn_profile_report *r, tn_profile_by by, tn_error *err)
{
    tn_profile_row *rows;
    int n;
    TN_TRY(tn_profile_rows(r, by, &rows, &n, err));
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, row_json(&rows[i]));
    free(rows);
    return json_object_set_new(to, name, list) ? tn_oom(err) : 0;
}

static int report_json(json_t **out, const tn_profile_report *r, tn_error *err)
{
    json_t *j = *out = json_pack(
        "{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:f, s:f, s:f, s:o, s:I, s:I, s:I, s:f, s:f, s:{s:f, s:s, s:f, s:s}}", "what",
        r->what == TN_PROFILE_TRAIN ? "train" : "predict", "device", r->device, "driver", r->driver, "storage", r->storage, "batch",
        r->batch, "repeat", r->repeat, "burst", r->burst, "seconds", r->seconds, "step_seconds", r->step_seconds, "idle", r->idle,
        "result", isfinite(r->result) ? json_real(r->result) : json_null(), "peak_bytes", (json_int_t)r->peak_bytes, "launches",
        (json_int_t)r->launches, "blocking", (json_int_t)r->blocking, "flops", r->flops, "bytes", r->bytes, "roofline",
        "bytes_per_second", r->bandwidth, "copied_by", r->copied_by, "flops_per_second", r->peak, "multiplied_by", r->peak_by);
    if (!j) return tn_oom(err);
    json_t *list = json_array();
    for (int i = 0; i < r->n; i++) json_array_append_new(list, entry_json(&r->entries[i]));
    int rc = json_object_set_new(j, "entries", list) ? tn_oom(err) : 0;
    if (!rc) rc = add_rows(j, "kernels", r, TN_BY_KERNEL, err);
    if (!rc) rc = add_rows(j, "operations", r, TN_BY_OPERATION, err);
    if (!rc) rc = add_rows(j, "layers", r, TN_BY_LAYER, err);
    return rc;
}

int tn_profile_json(const tn_profile_report *r, char **text, tn_error *err)
{
    json_t *j = NULL;
    TN_ENTRY(err);
    int rc = report_json(&j, r, err);
    *text = rc ? NULL : json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    if (!rc && !*text) rc = tn_oom(err);
    json_decref(j);
    return rc;
}

/* A name for the row of the picture that events of this process (and thread) are drawn in. */
static json_t *label(const char *what, const char *name)
{
    return json_pack("{s:s, s:s, s:i, s:i, s:{s:s}}", "name", what, "ph", "M", "pid", 1, "tid", 1, "args", "name", name);
}

static json_t *event(const tn_profile_entry *e, double begin)
{
    return json_pack("{s:s, s:s, s:s, s:i, s:i, s:f, s:f, s:{s:s, s:s, s:s*, s:i, s:f, s:f}}", "name", e->kernel, "cat",
                     e->operation, "ph", "X", "pid", 1, "tid", 1, "ts", 1e6 * begin, "dur", 1e6 * e->seconds, "args", "layer",
                     e->layer, "operation", e->operation, "variant", e->variant, "node", e->node, "flops", e->flops, "bytes",
                     e->bytes);
}

/* Times are of each entry alone, so that they are laid end to end: gaps between them are not known. */
static int write_trace(const tn_profile_report *r, const char *path, tn_error *err)
{
    json_t *list = json_array(), *j = json_pack("{s:s, s:o}", "displayTimeUnit", "ms", "traceEvents", list);
    double at = 0;
    json_array_append_new(list, label("process_name", r->device));
    json_array_append_new(list, label("thread_name", "main queue"));
    for (int i = 0; i < r->n; i++) {
        json_array_append_new(list, event(&r->entries[i], at));
        at += r->entries[i].seconds;
    }
    const int rc = j ? tn_json_write(j, path, err) : tn_oom(err);
    json_decref(j);
    return rc;
}

static int write_json(const tn_profile_report *r, const char *path, tn_error *err)
{
    char *text;
    TN_TRY(tn_profile_json(r, &text, err));
    const int rc = tn_write_file(path, text, strlen(text), err);
    free(text);
    return rc;
}

int tn_prof_write(const tn_profile_report *r, const char *json, const char *trace, tn_error *err)
{
    if (json) TN_TRY(write_json(r, json, err));
    return trace ? write_trace(r, trace, err) : 0;
}
