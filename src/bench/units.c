#include "units.h"
#include "jsonio.h"
#include "result.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    double from;
    const char *prefix;
} scale;

static const scale decimal[] = {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""}, {1e-3, "m"}, {1e-6, "u"}, {1e-9, "n"}};
static const scale binary[] = {{1099511627776.0, "Ti"}, {1073741824, "Gi"}, {1048576, "Mi"}, {1024, "Ki"}, {1, ""}};

const char *tn_bench_figure(char buf[TN_FIGURE], double v, const char *unit)
{
    const bool bytes = !strcmp(unit, "B"), whole = !strncmp(unit, "img", 3);
    if (unit[0] == '1') unit++; /* "352 k/s" */
    const scale *s = bytes ? binary : decimal;
    int n = bytes ? (int)TN_COUNT(binary) : (int)TN_COUNT(decimal), i = 0;
    while (i < n - 1 && fabs(v) < s[i].from) i++;
    if (whole || v == 0 || !isfinite(v)) snprintf(buf, TN_FIGURE, "%.*f %s", fabs(v) < 10 ? 2 : fabs(v) < 100 ? 1 : 0, v, unit);
    else
        snprintf(buf, TN_FIGURE, "%.*f %s%s",
                 fabs(v / s[i].from) < 9.995   ? 2
                 : fabs(v / s[i].from) < 99.95 ? 1
                                               : 0,
                 v / s[i].from, s[i].prefix, unit);
    return buf;
}

static void remark(char *out, size_t n, const char *text)
{
    const size_t used = strlen(out);
    snprintf(out + used, n - used, "%s%s", used ? "; " : "", text);
}

void tn_bench_remarks(char *out, size_t n, const json_t *m)
{
    char text[128], p95[TN_FIGURE], p99[TN_FIGURE];
    const char *unit = tn_json_str(m, "unit", ""), *doubt = tn_json_str(m, "implausible", NULL);
    const double of_copy = tn_json_num(m, "of_copy", 0), drift = tn_json_num(m, "drift", 0);
    const long long batch = tn_json_int(m, "batch", 0);
    out[0] = 0;
    if (!tn_bench_has_value(m)) remark(out, n, tn_json_str(m, "why", ""));
    if (batch) snprintf(text, sizeof text, "batch %lld", batch), remark(out, n, text);
    if (of_copy > 0) snprintf(text, sizeof text, "%.2f of a copy", of_copy), remark(out, n, text);
    if (json_is_number(json_object_get(m, "p99"))) {
        snprintf(text, sizeof text, "p95 %s, p99 %s", tn_bench_figure(p95, tn_json_num(m, "p95", 0), unit),
                 tn_bench_figure(p99, tn_json_num(m, "p99", 0), unit));
        remark(out, n, text);
    }
    if (tn_json_bool(m, "drifts", 0)) snprintf(text, sizeof text, "drifts by %+.0f %%", 100 * drift), remark(out, n, text);
    if (doubt) remark(out, n, "implausible: "), strncat(out, doubt, n - strlen(out) - 1);
}

void tn_bench_left(tn_text *t, const json_t *device)
{
    const json_t *list = json_object_get(device, "left_out");
    for (size_t i = 0, next; i < json_array_size(list); i = next) {
        const char *first = json_string_value(json_array_get(list, i)), *colon = first ? strstr(first, ": ") : NULL;
        const size_t part = colon ? (size_t)(colon - first) + 2 : 0;
        for (next = i + 1; part && next < json_array_size(list); next++) {
            const char *other = json_string_value(json_array_get(list, next));
            if (!other || strncmp(other, first, part) != 0) break;
        }
        tn_text_addf(t, "%s%s", i ? "; " : "", first ? first : "");
        if (next - i > 1) tn_text_addf(t, " and %zu more", next - i - 1);
    }
}

double tn_bench_ratio(const json_t *a, const json_t *b)
{
    const double x = tn_json_num(a, "value", 0), y = tn_json_num(b, "value", 0);
    if (!(x > 0) || !(y > 0)) return 0;
    return strcmp(tn_json_str(a, "better", "more"), "less") != 0 ? y / x : x / y;
}

bool tn_bench_is_noise(const json_t *a, const json_t *b, double busy)
{
    const double difference = fabs(tn_bench_ratio(a, b) - 1);
    const double drift = fmax(fabs(tn_json_num(a, "drift", 0)) * tn_json_bool(a, "drifts", 0),
                              fabs(tn_json_num(b, "drift", 0)) * tn_json_bool(b, "drifts", 0));
    const bool meet =
        tn_json_num(a, "low", 0) <= tn_json_num(b, "high", 0) && tn_json_num(b, "low", 0) <= tn_json_num(a, "high", 0);
    const bool few = tn_json_int(a, "samples", 1) < 3 || tn_json_int(b, "samples", 1) < 3;
    if (!strcmp(tn_json_str(a, "unit", ""), "B")) return difference <= 0;
    if (busy > 0.05 && difference < busy) return true;
    return few ? difference < 0.1 : meet || drift > difference;
}
