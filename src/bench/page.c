/* Results as one HTML page: no script, nothing from the network. */
#include "compare.h"
#include "entry.h"
#include "pictures.h"
#include "units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char head[] = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" "
                           "content=\"light dark\">\n"
                           "<link rel=\"icon\" href=\"data:,\">\n";

static const char style[] =
    "<style>\nthead "
    "th.n{white-space:normal!important;vertical-align:bottom}:root{--ground:#fff;--ink:#1c2126;--soft:#59636e;--line:#d5dbe1;--"
    "card:#f5f7f9;--blue:#2266b3;--orange:#b4540f;"
    "--bad:#b3261e}\n"
    "@media(prefers-color-scheme:dark){:root{--ground:#15181c;--ink:#e4e8ec;--soft:#a2adb8;--line:#39424b;--card:#1f242a;"
    "--blue:#6aa9ea;--orange:#eb9a57;--bad:#ff8a80}}\n"
    "*{box-sizing:border-box}body{margin:0 auto;padding:1rem;max-width:64rem;background:var(--ground);color:var(--ink);"
    "font:16px/1.45 system-ui,sans-serif}\n"
    "h1{font-size:1.5rem}h2{font-size:1.25rem;margin-top:2.5rem;border-top:1px solid var(--line);padding-top:1rem}"
    "h3{font-size:1.05rem;margin:1.6rem 0 .4rem}p,dl{margin:.4rem 0}.soft{color:var(--soft)}\n"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem "
    ".9rem}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}\n"
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:.7rem;padding:0;list-style:none}"
    ".cards li{background:var(--card);border-radius:.5rem;padding:.7rem .9rem}.cards b{display:block;font-size:1.35rem}\n"
    ".pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1rem}figure{margin:0}"
    "figcaption{color:var(--soft);font-size:.9rem;padding-top:.2rem}.pictures figure:first-child{grid-column:1/-1}\n"
    "@media(min-width:50rem){.pictures figure:first-child{display:grid;grid-template-columns:3fr "
    "2fr;gap:1.2rem;align-items:center}}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}caption{text-align:"
    "left;"
    "font-weight:600;padding:.3rem 0}th,td{padding:.2rem .7rem .2rem 0;border-bottom:1px solid var(--line);text-align:left;"
    "vertical-align:top}td.n,th.n{text-align:right;white-space:nowrap}tbody "
    "th{font-weight:400;min-width:11rem}.noise{color:var(--soft)}"
    ".bad{color:var(--bad)}\n"
    "svg{display:block;width:100%;height:auto;background:var(--card);border-radius:.5rem}svg text{font:12px system-ui,sans-serif;"
    "fill:var(--ink)}.tick,.axis{fill:var(--soft)!important}.grid{stroke:var(--line)}.roof{fill:none;stroke:var(--ink);stroke-"
    "width:2}"
    ".bytes{fill:var(--blue)}.flops{fill:var(--orange)}.bytes,.flops{stroke:var(--ground)}.number{fill:var(--ground)!important;"
    "font-size:10px!important;font-weight:700}.bar{fill:var(--blue)}.in{fill:var(--ground)!important}\n</style>\n";

static void add_cell(tn_text *t, const char *element, const char *attributes, const char *words)
{
    tn_text_addf(t, "<%s%s>", element, attributes);
    tn_text_add_xml(t, words);
    tn_text_addf(t, "</%s>", element);
}

static void add_fact(tn_text *t, const char *name, const char *value)
{
    add_cell(t, "dt", "", name);
    add_cell(t, "dd", "", value);
    tn_text_addf(t, "\n");
}

/* ---- a device ---- */

static void add_facts(tn_text *t, const tn_column *c)
{
    char text[400];
    const json_t *id = json_object_get(c->device, "identity"), *host = json_object_get(c->of->j, "host");
    const json_t *others = json_object_get(c->device, "others");
    tn_text_addf(t, "<dl>\n");
    add_fact(t, "platform", tn_json_str(id, "version", ""));
    add_fact(t, "driver", tn_json_str(id, "driver", ""));
    snprintf(text, sizeof text, "%lld units, %lld MHz; may use %s", tn_json_int(id, "compute_units", 0),
             tn_json_int(id, "clock_mhz", 0),
             tn_json_str(id, "capabilities", "")[0] ? tn_json_str(id, "capabilities", "") : "nothing special");
    add_fact(t, "compute", text);
    snprintf(text, sizeof text, "%.1f GiB%s", (double)tn_json_int(id, "global_memory", 0) / 1073741824,
             tn_json_bool(id, "unified_memory", 0) ? ", shared with the host" : "");
    add_fact(t, "memory", text);
    snprintf(text, sizeof text, "%.200s, %lld processors, %s %.80s", tn_json_str(host, "processor", ""),
             tn_json_int(host, "processors", 0), tn_json_str(host, "system", ""), tn_json_str(host, "release", ""));
    add_fact(t, "host", text);
    snprintf(text, sizeof text, "%s by tracknet %s, %s effort, %.0f s%s", tn_json_str(c->of->j, "time", ""),
             tn_json_str(c->of->j, "tracknet", ""), tn_json_str(c->of->j, "effort", ""), tn_json_num(c->device, "seconds", 0), "");
    add_fact(t, "measured", text);
    if (json_is_number(others)) snprintf(text, sizeof text, "kept %.2f processors busy meanwhile", json_number_value(others));
    if (json_is_number(others)) add_fact(t, "other work", text);
    if (tn_json_str(c->of->j, "command", NULL)) add_fact(t, "command", tn_json_str(c->of->j, "command", ""));
    tn_text_addf(t, "</dl>\n");
}

/* The figures that people ask for first. */
static void add_cards(tn_text *t, const json_t *device)
{
    char value[TN_FIGURE];
    size_t i;
    json_t *m;
    int n = 0;
    json_array_foreach(json_object_get(device, "measurements"), i, m)
    {
        const char *id = tn_json_str(m, "id", "");
        const bool shown =
            tn_bench_has_value(m) && tn_starts(id, "work.") && (tn_ends(id, ".throughput") || tn_ends(id, ".latency"));
        if (!shown) continue;
        if (!n++) tn_text_addf(t, "<ul class=\"cards\">\n");
        tn_text_addf(t, "<li>");
        add_cell(t, "b", "", tn_bench_figure(value, tn_json_num(m, "value", 0), tn_json_str(m, "unit", "")));
        tn_text_add_xml(t, tn_json_str(m, "name", ""));
        tn_text_addf(t, "</li>\n");
    }
    if (n) tn_text_addf(t, "</ul>\n");
}

static void add_measurement(tn_text *t, const json_t *m)
{
    char value[TN_FIGURE], low[TN_FIGURE], high[TN_FIGURE], remarks[512], range[2 * TN_FIGURE + 8] = "";
    const char *unit = tn_json_str(m, "unit", "");
    const bool valued = tn_bench_has_value(m), bad = !valued || json_object_get(m, "implausible");
    tn_bench_remarks(remarks, sizeof remarks, m);
    if (tn_json_int(m, "samples", 0) > 1)
        snprintf(range, sizeof range, "%s to %s", tn_bench_figure(low, tn_json_num(m, "low", 0), unit),
                 tn_bench_figure(high, tn_json_num(m, "high", 0), unit));
    tn_text_addf(t, "<tr>");
    add_cell(t, "th", " scope=\"row\"", tn_json_str(m, "name", ""));
    add_cell(t, "td", " class=\"n\"",
             valued ? tn_bench_figure(value, tn_json_num(m, "value", 0), unit) : tn_json_str(m, "check", ""));
    add_cell(t, "td", " class=\"n\"", range);
    add_cell(t, "td", bad ? " class=\"bad\"" : "", remarks);
    tn_text_addf(t, "</tr>\n");
}

static void end_table(tn_text *t)
{
    tn_text_addf(t, "</tbody></table></div>\n");
}

static void begin_table(tn_text *t, const char *caption, const char *const *headings, int n)
{
    tn_text_addf(t, "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"");
    tn_text_add_xml(t, caption);
    tn_text_addf(t, "\"><table><caption>");
    tn_text_add_xml(t, caption);
    tn_text_addf(t, "</caption><thead><tr>");
    for (int i = 0; i < n; i++) add_cell(t, "th", i ? " scope=\"col\" class=\"n\"" : " scope=\"col\"", headings[i]);
    tn_text_addf(t, "</tr></thead><tbody>\n");
}

static void add_measurements(tn_text *t, const json_t *device)
{
    static const char *const headings[] = {"what", "median", "95 % of it", "remarks"};
    const char *group = "";
    size_t i;
    json_t *m;
    json_array_foreach(json_object_get(device, "measurements"), i, m)
    {
        const char *its = tn_json_str(m, "group", "");
        if (strcmp(its, group) != 0) {
            if (group[0]) end_table(t);
            begin_table(t, its, headings, TN_COUNT(headings));
        }
        group = its;
        add_measurement(t, m);
    }
    if (group[0]) end_table(t);
}

/* ---- a step ---- */

static void add_points(tn_text *t, const json_t *step)
{
    static const char *const headings[] = {"kernels of a node", "no.", "ms", "share", "GFLOP/s", "GB/s", "roofline"};
    const json_t *r = json_object_get(step, "roofline");
    const double all = tn_json_num(step, "seconds", 1), peak = tn_json_num(r, "flops_per_second", 0),
                 bandwidth = tn_json_num(r, "bytes_per_second", 0);
    size_t i;
    json_t *p;
    begin_table(t, "Kernels of the step, the slowest first", headings, TN_COUNT(headings));
    json_array_foreach(json_object_get(step, "points"), i, p)
    {
        const double s = TN_MAX(tn_json_num(p, "seconds", 0), 1e-12), flops = tn_json_num(p, "flops", 0),
                     bytes = tn_json_num(p, "bytes", 0);
        const double least = TN_MAX(peak > 0 ? flops / peak : 0, bandwidth > 0 ? bytes / bandwidth : 0);
        tn_text_addf(t, "<tr>");
        add_cell(t, "th", " scope=\"row\"", tn_json_str(p, "kernels", ""));
        tn_text_addf(t,
                     "<td class=\"n\">%zu</td><td class=\"n\">%.3f</td><td class=\"n\">%.1f %%</td><td class=\"n\">%.1f</td><td "
                     "class=\"n\">%.1f</td><td class=\"n\">%.0f %%</td></tr>\n",
                     i + 1, 1e3 * s, 100 * s / all, 1e-9 * flops / s, 1e-9 * bytes / s, 100 * least / s);
    }
    end_table(t);
}

static void add_figure(tn_text *t, const json_t *step, const char *rows, const char *key, const char *title, const char *id)
{
    tn_text_addf(t, "<figure>\n");
    if (rows) tn_picture_bars(t, json_object_get(step, rows), key, title, id);
    else tn_picture_roofline(t, step, id);
    add_cell(t, "figcaption", "", title);
    tn_text_addf(t, "</figure>\n");
}

static void add_step(tn_text *t, const json_t *step, int device, size_t at)
{
    char text[300], id[64], clock[TN_FIGURE], commands[TN_FIGURE];
    const bool train = !strcmp(tn_json_str(step, "what", ""), "train");
    snprintf(text, sizeof text, "%s %.60s, %s, batch %lld", train ? "Training step of" : "Prediction by",
             tn_json_str(step, "size", ""), tn_json_str(step, "storage", ""), tn_json_int(step, "batch", 0));
    add_cell(t, "h3", "", text);
    snprintf(text, sizeof text, "%s by the clock, %s of commands one by one; the device is idle %.0f %% of it.",
             tn_bench_figure(clock, tn_json_num(step, "step_seconds", 0), "s"),
             tn_bench_figure(commands, tn_json_num(step, "seconds", 0), "s"), 100 * tn_json_num(step, "idle", 0));
    add_cell(t, "p", "", text);
    tn_text_addf(t, "<div class=\"pictures\">\n");
    snprintf(id, sizeof id, "roof-%d-%zu", device, at);
    add_figure(
        t, step, NULL, NULL,
        "Roofline: what memory (the slope) and arithmetic (the top) allow, and how near to it the step's kernels come. Blue: "
        "memory "
        "bounds them, orange: arithmetic. The larger, the more of the step's time; numbers as in the table below. At the left edge "
        "stands what computes nothing; above the line, what caches held.",
        id);
    snprintf(id, sizeof id, "kernels-%d-%zu", device, at);
    add_figure(t, step, "kernels", "kernel", "Time by kernel", id);
    snprintf(id, sizeof id, "layers-%d-%zu", device, at);
    add_figure(t, step, "layers", "layer", "Time by layer", id);
    tn_text_addf(t, "</div>\n");
    add_points(t, step);
}

static void add_left(tn_text *t, const json_t *device)
{
    tn_text left = {0};
    tn_bench_left(&left, device);
    if (left.s) {
        tn_text_addf(t, "<p class=\"soft\">Left out for time: ");
        tn_text_add_xml(t, left.s);
        tn_text_addf(t, ".</p>\n");
    }
    t->oom |= left.oom;
    tn_text_free(&left);
}

static void add_device(tn_text *t, const tn_column *c, int number)
{
    char name[300];
    size_t i;
    json_t *v;
    tn_column_name(name, sizeof name, c);
    tn_text_addf(t, "<section>\n");
    add_cell(t, "h2", "", name);
    add_cards(t, c->device);
    add_facts(t, c);
    json_array_foreach(json_object_get(c->device, "notes"), i, v) add_cell(t, "p", " class=\"soft\"", json_string_value(v));
    add_left(t, c->device);
    json_array_foreach(json_object_get(c->device, "steps"), i, v) add_step(t, v, number, i);
    add_cell(t, "h3", "", "All figures");
    add_measurements(t, c->device);
    tn_text_addf(t, "</section>\n");
}

/* ---- side by side ---- */

static void add_compared(tn_text *t, const json_t *base, const json_t *m, double busy)
{
    char value[TN_FIGURE], text[96];
    if (!m || !tn_bench_has_value(m)) {
        add_cell(t, "td", m ? " class=\"n bad\"" : " class=\"n\"", m ? tn_json_str(m, "check", "") : "");
        return;
    }
    tn_bench_figure(value, tn_json_num(m, "value", 0), tn_json_str(m, "unit", ""));
    const bool ratio = base && base != m && tn_bench_has_value(base), noise = ratio && tn_bench_is_noise(base, m, busy);
    snprintf(text, sizeof text, "%s", value);
    if (ratio) snprintf(text, sizeof text, "%s, %.2fx%s", value, tn_bench_ratio(base, m), noise ? ", noise" : "");
    add_cell(t, "td", noise ? " class=\"n noise\"" : " class=\"n\"", text);
}

static int page_comparison(tn_text *t, const tn_column *c, int n, tn_error *err)
{
    char(*names)[300] = calloc((size_t)n, sizeof *names);
    const char **headings = calloc((size_t)n + 1, sizeof *headings);
    int n_ids = 0;
    tn_compared *ids = tn_compared_ids(c, n, &n_ids);
    const int rc = names && headings && ids ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < n; i++) {
        tn_column_name(names[i], sizeof names[i], &c[i]);
        headings[i + 1] = names[i];
    }
    if (!rc) {
        headings[0] = "what";
        tn_text_addf(
            t, "<section>\n<h2>Side by side</h2>\n<p>Ratios say how much better a device is than the first; where it is noise, "
               "measuring again could turn it round.</p>\n");
        begin_table(t, "Comparison", headings, n + 1);
    }
    for (int k = 0; !rc && k < n_ids; k++) {
        const json_t *base = tn_bench_find(c[0].device, ids[k].id);
        tn_text_addf(t, "<tr>");
        add_cell(t, "th", " scope=\"row\"", ids[k].name);
        for (int i = 0; i < n; i++) add_compared(t, base, tn_bench_find(c[i].device, ids[k].id), tn_columns_busy(&c[0], &c[i]));
        tn_text_addf(t, "</tr>\n");
    }
    if (!rc) end_table(t);
    if (!rc) tn_text_addf(t, "</section>\n");
    free(ids);
    free(headings);
    free(names);
    return rc;
}

int tn_bench_html(const tn_bench_result *const *r, int n, char **text, tn_error *err)
{
    tn_text t = {0};
    int columns = 0, rc = 0;
    TN_ENTRY(err);
    TN_TRY(tn_required(r, "tn_bench_html's results", err));
    TN_TRY(tn_required(text, "tn_bench_html's text", err));
    tn_column *c = tn_columns_of(r, n, &columns);
    if (!c) return tn_oom(err);
    tn_text_addf(&t, "%s<title>tracknet bench: ", head);
    tn_text_add_xml(&t, columns == 1 ? tn_bench_device_name(c[0].device) : "several devices");
    tn_text_addf(&t, "</title>\n");
    tn_text_add(&t, style, sizeof style - 1);
    tn_text_addf(
        &t,
        "</head>\n<body>\n<main>\n<h1>What %s worth for finding a ball</h1>\n<p class=\"soft\">Figures are medians with their "
        "95 %% intervals; every "
        "kernel that is timed alone was checked against plain C first.</p>\n",
        columns == 1 ? "this device is" : "these devices are");
    if (columns > 1) rc = page_comparison(&t, c, columns, err);
    for (int i = 0; !rc && i < columns; i++) add_device(&t, &c[i], i);
    tn_text_addf(&t, "</main>\n</body>\n</html>\n");
    free(c);
    if (!rc && t.oom) rc = tn_oom(err);
    if (rc) tn_text_free(&t);
    else *text = t.s;
    return rc;
}
