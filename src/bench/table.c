/* A result for a terminal. */
#include "entry.h"
#include "result.h"
#include "text.h"
#include "units.h"

#include <stdio.h>
#include <string.h>

enum { NAME = 56 };

static void add_measurement(tn_text *t, const json_t *m)
{
    char value[TN_FIGURE], low[TN_FIGURE], high[TN_FIGURE], remarks[512];
    const char *unit = tn_json_str(m, "unit", "");
    tn_bench_remarks(remarks, sizeof remarks, m);
    if (!tn_bench_has_value(m)) {
        const bool failed = !strcmp(tn_json_str(m, "check", ""), "failed");
        tn_text_addf(t, "  %-*s  %s: %s\n", NAME, tn_json_str(m, "name", ""), failed ? "FAILED" : "refused", remarks);
        return;
    }
    tn_bench_figure(value, tn_json_num(m, "value", 0), unit);
    tn_bench_figure(low, tn_json_num(m, "low", 0), unit);
    tn_bench_figure(high, tn_json_num(m, "high", 0), unit);
    tn_text_addf(t, "  %-*s  %14s", NAME, tn_json_str(m, "name", ""), value);
    if (tn_json_int(m, "samples", 0) > 1) tn_text_addf(t, "  %12s to %-12s", low, high);
    else tn_text_addf(t, "  %12s    %-12s", "", "");
    tn_text_addf(t, "  %s\n", remarks);
    while (t->len > 1 && t->s[t->len - 2] == ' ') t->s[--t->len - 1] = '\n'; /* no space at the end of a line */
    if (t->s) t->s[t->len] = 0;
}

static void add_measurements(tn_text *t, const json_t *device)
{
    size_t i;
    json_t *m;
    const char *group = "";
    json_array_foreach(json_object_get(device, "measurements"), i, m)
    {
        const char *its = tn_json_str(m, "group", "");
        if (strcmp(group, its) != 0) tn_text_addf(t, "\n%-*s  %16s  %27s\n", NAME, its, "median", "95 % of it");
        group = its;
        add_measurement(t, m);
    }
}

static void add_step(tn_text *t, const json_t *s)
{
    size_t i;
    json_t *p;
    char clock[TN_FIGURE], commands[TN_FIGURE];
    const json_t *roof = json_object_get(s, "roofline");
    const double all = tn_json_num(s, "seconds", 0), bandwidth = tn_json_num(roof, "bytes_per_second", 0),
                 peak = tn_json_num(roof, "flops_per_second", 0);
    tn_text_addf(t, "\n%s %s, %s, batch %lld: %s by the clock, %s of commands, device idle %.0f %%\n", tn_json_str(s, "what", ""),
                 tn_json_str(s, "size", ""), tn_json_str(s, "storage", ""), tn_json_int(s, "batch", 0),
                 tn_bench_figure(clock, tn_json_num(s, "step_seconds", 0), "s"), tn_bench_figure(commands, all, "s"),
                 100 * tn_json_num(s, "idle", 0));
    tn_text_addf(t, "roofline: %.1f GB/s copied by %s, %.1f GFLOP/s multiplied by %s\n", 1e-9 * bandwidth,
                 tn_json_str(roof, "copied_by", ""), 1e-9 * peak, tn_json_str(roof, "multiplied_by", ""));
    tn_text_addf(t, "  %-*s  %9s  %6s  %9s  %8s  %8s\n", NAME, "kernels of a node", "ms", "share", "GFLOP/s", "GB/s", "roofline");
    json_array_foreach(json_object_get(s, "points"), i, p)
    {
        const double seconds = tn_json_num(p, "seconds", 0), flops = tn_json_num(p, "flops", 0), bytes = tn_json_num(p, "bytes", 0);
        if (seconds < 0.01 * all || seconds <= 0) continue;
        const double least = TN_MAX(peak > 0 ? flops / peak : 0, bandwidth > 0 ? bytes / bandwidth : 0);
        tn_text_addf(t, "  %-*.*s  %9.3f  %5.1f%%  %9.1f  %8.1f  %7.1f%%\n", NAME, NAME, tn_json_str(p, "kernels", ""),
                     1e3 * seconds, 100 * seconds / all, 1e-9 * flops / seconds, 1e-9 * bytes / seconds, 100 * least / seconds);
    }
}

static void add_device(tn_text *t, const json_t *d)
{
    size_t i;
    json_t *v;
    tn_text left = {0};
    const json_t *id = json_object_get(d, "identity");
    tn_text_addf(t, "%lld  %s  (%s), %s, driver %s, %lld compute units\n", tn_json_int(id, "index", 0), tn_json_str(id, "name", ""),
                 tn_json_str(id, "type", ""), tn_json_str(id, "version", ""), tn_json_str(id, "driver", ""),
                 tn_json_int(id, "compute_units", 0));
    add_measurements(t, d);
    json_array_foreach(json_object_get(d, "steps"), i, v) add_step(t, v);
    if (json_array_size(json_object_get(d, "notes")) + json_array_size(json_object_get(d, "left_out"))) tn_text_addf(t, "\n");
    json_array_foreach(json_object_get(d, "notes"), i, v) tn_text_addf(t, "note: %s\n", json_string_value(v));
    tn_bench_left(&left, d);
    if (left.s) tn_text_addf(t, "left out for time: %s\n", left.s);
    t->oom |= left.oom;
    tn_text_free(&left);
}

int tn_bench_table(const tn_bench_result *r, char **text, tn_error *err)
{
    tn_text t = {0};
    TN_ENTRY(err);
    TN_TRY(tn_required(r, "tn_bench_table's result", err));
    TN_TRY(tn_required(text, "tn_bench_table's text", err));
    for (size_t i = 0; i < tn_bench_devices(r); i++) {
        if (i) tn_text_addf(&t, "\n");
        add_device(&t, tn_bench_device(r, i));
    }
    tn_text_addf(&t, "\n%s effort, %.0f s, %.0f of them for kernels built and chosen; figures are medians\n",
                 tn_json_str(r->j, "effort", ""), tn_json_num(tn_bench_device(r, 0), "seconds", 0),
                 tn_json_num(tn_bench_device(r, 0), "prepared", 0));
    *text = t.s;
    if (!t.oom) return 0;
    tn_text_free(&t);
    return tn_oom(err);
}
