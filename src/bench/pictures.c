#include "pictures.h"
#include "fail.h"
#include "jsonio.h"
#include "units.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* So narrow that letters are large enough to read where a phone makes it as wide as itself. */
enum { WIDTH = 420, HEIGHT = 320, LEFT = 56, RIGHT = 16, TOP = 18, BOTTOM = 44 };
enum { NAME_WIDTH = 152, BAR_LEFT = 160, BAR_WIDTH = 160, BAR_ROW = 22, NAME_LETTERS = 22 };

/* An element of text; anchor: start, middle or end. */
static void add_label(tn_text *t, double x, double y, const char *anchor, const char *style, const char *words)
{
    tn_text_addf(t, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor, style);
    tn_text_add_xml(t, words);
    tn_text_addf(t, "</text>\n");
}

/* A picture with its name for those who do not see it. */
static void begin(tn_text *t, int width, int height, const char *id, const char *title)
{
    tn_text_addf(t, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-labelledby=\"%s-title\">\n<title id=\"%s-title\">", width, height,
                 id, id);
    tn_text_add_xml(t, title);
    tn_text_addf(t, "</title>\n");
}

/* ---- the roofline: both axes are logarithms ---- */

typedef struct {
    double x0, x1, y0, y1; /* log10 of flop/byte and of flop/s at the ends */
    double bandwidth, peak;
    double unit; /* that flop/s are written in, and its name */
    const char *unit_name;
} frame;

static double x_at(const frame *f, double v)
{
    return LEFT + (log10(v) - f->x0) / (f->x1 - f->x0) * (WIDTH - LEFT - RIGHT);
}

static double y_at(const frame *f, double v)
{
    return HEIGHT - BOTTOM - (log10(v) - f->y0) / (f->y1 - f->y0) * (HEIGHT - TOP - BOTTOM);
}

/* What only moves bytes stands at the left end, as high below the slope as it is below the bandwidth. */
static bool place_of(const frame *f, const json_t *p, double *x, double *y)
{
    const double seconds = tn_json_num(p, "seconds", 0), flops = tn_json_num(p, "flops", 0), bytes = tn_json_num(p, "bytes", 0);
    const double least = pow(10, f->x0);
    if (seconds <= 0 || (flops <= 0 && bytes <= 0)) return false;
    *x = bytes > 0 ? fmax(flops / bytes, least) : pow(10, f->x1);
    *y = flops / bytes >= least || bytes <= 0 ? flops / seconds : bytes / seconds * least;
    return true;
}

static frame frame_of(const json_t *step)
{
    const json_t *r = json_object_get(step, "roofline");
    frame f = {.x0 = -2, .bandwidth = tn_json_num(r, "bytes_per_second", 1), .peak = tn_json_num(r, "flops_per_second", 1)};
    f.bandwidth = fmax(f.bandwidth, 1);
    f.peak = fmax(f.peak, 1);
    f.x1 = fmax(3, ceil(log10(f.peak / f.bandwidth)) + 1);
    f.y1 = ceil(log10(f.peak) + 0.15);
    f.y0 = floor(log10(f.bandwidth) + f.x0) - 1;
    f.unit = f.peak < 1e13 ? 1e9 : 1e12;
    f.unit_name = f.peak < 1e13 ? "GFLOP/s" : "TFLOP/s";
    return f;
}

static void add_axes(tn_text *t, const frame *f)
{
    char words[24];
    for (int k = (int)f->x0; k <= (int)f->x1; k++) {
        const double x = x_at(f, pow(10, k));
        tn_text_addf(t, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", x, x, TOP, HEIGHT - BOTTOM);
        snprintf(words, sizeof words, "%g", pow(10, k));
        add_label(t, x, HEIGHT - BOTTOM + 16, k == (int)f->x1 ? "end" : "middle", "tick", words);
    }
    for (int k = (int)f->y0; k <= (int)f->y1; k++) {
        const double y = y_at(f, pow(10, k));
        tn_text_addf(t, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", LEFT, WIDTH - RIGHT, y, y);
        snprintf(words, sizeof words, "%g", pow(10, k) / f->unit);
        add_label(t, LEFT - 6, y + 4, "end", "tick", words);
    }
    add_label(t, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10, "middle", "axis", "arithmetic for each byte moved, FLOP/B");
    tn_text_addf(t, "<text transform=\"translate(14 %d) rotate(-90)\" text-anchor=\"middle\" class=\"axis\">%s</text>\n",
                 (TOP + HEIGHT - BOTTOM) / 2, f->unit_name);
}

static void add_limits(tn_text *t, const frame *f)
{
    const double knee = f->peak / f->bandwidth, least = pow(10, f->x0);
    char words[48];
    tn_text_addf(t, "<polyline class=\"roof\" points=\"%.1f,%.1f %.1f,%.1f %.1f,%.1f\"/>\n", x_at(f, least),
                 y_at(f, f->bandwidth * least), x_at(f, knee), y_at(f, f->peak), x_at(f, pow(10, f->x1)), y_at(f, f->peak));
    snprintf(words, sizeof words, "%.4g %s", f->peak / f->unit, f->unit_name);
    add_label(t, WIDTH - RIGHT - 2, y_at(f, f->peak) - 6, "end", "limit", words);
    snprintf(words, sizeof words, "%.4g GB/s", 1e-9 * f->bandwidth);
    add_label(t, x_at(f, knee) - 14, y_at(f, f->peak) - 2, "end", "limit", words);
}

static void add_point(tn_text *t, const frame *f, const json_t *p, int number, double all)
{
    double x, y;
    char words[16], took[TN_FIGURE];
    const double seconds = tn_json_num(p, "seconds", 0), r = number <= TN_PICTURE_NUMBERS ? 8.5 + 8 * sqrt(seconds / all) : 3;
    if (!place_of(f, p, &x, &y)) return;
    const double px = x_at(f, x), py = fmin(y_at(f, y), HEIGHT - BOTTOM);
    tn_text_addf(t, "<g><title>");
    tn_text_add_xml(t, tn_json_str(p, "kernels", ""));
    tn_text_addf(t, ": %s</title><circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"/>\n", tn_bench_figure(took, seconds, "s"),
                 x * f->bandwidth < f->peak ? "bytes" : "flops", px, py, r);
    snprintf(words, sizeof words, "%d", number);
    if (number <= TN_PICTURE_NUMBERS) add_label(t, px, py + 3.5, "middle", "number", words);
    tn_text_addf(t, "</g>\n");
}

void tn_picture_roofline(tn_text *t, const json_t *step, const char *id)
{
    const frame f = frame_of(step);
    const json_t *points = json_object_get(step, "points");
    const int n = (int)json_array_size(points);
    begin(t, WIDTH, HEIGHT, id, "Roofline: the kernels of a step below what the device's memory and arithmetic can do");
    add_axes(t, &f);
    add_limits(t, &f);
    const double all = fmax(tn_json_num(step, "seconds", 0), 1e-12);
    for (int i = n - 1; i >= 0; i--) add_point(t, &f, json_array_get(points, (size_t)i), i + 1, all); /* 1 on top */
    tn_text_addf(t, "</svg>\n");
}

/* ---- bars ---- */

typedef struct {
    const char *name;
    double seconds;
} bar;

static void add_bar(tn_text *t, const bar *b, double most, double all, int row)
{
    char words[TN_FIGURE + 16], name[NAME_LETTERS + 8], seconds[TN_FIGURE];
    const double y = row * BAR_ROW + 4, width = most > 0 ? b->seconds / most * BAR_WIDTH : 0;
    snprintf(name, sizeof name, "%.*s%s", NAME_LETTERS, b->name, strnlen(b->name, NAME_LETTERS + 1) > NAME_LETTERS ? "..." : "");
    snprintf(words, sizeof words, "%s, %.1f %%", tn_bench_figure(seconds, b->seconds, "s"), 100 * b->seconds / all);
    add_label(t, NAME_WIDTH, y + 12, "end", "name", name);
    tn_text_addf(t, "<rect class=\"bar\" x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"><title>", BAR_LEFT, y, fmax(width, 1),
                 BAR_ROW - 6);
    tn_text_add_xml(t, b->name);
    tn_text_addf(t, "</title></rect>\n");
    /* beside the bar, or in it where that is long */
    const bool in = width > BAR_WIDTH - 10;
    add_label(t, BAR_LEFT + (in ? width - 4 : width + 5), y + 12, in ? "end" : "start", in ? "in" : "name", words);
}

void tn_picture_bars(tn_text *t, const json_t *rows, const char *key, const char *title, const char *id)
{
    bar bars[TN_PICTURE_BARS + 1] = {{0}};
    char others[48];
    int n = 0;
    double all = 0, most = 0;
    size_t i;
    json_t *r;
    json_array_foreach(rows, i, r)
    {
        const double seconds = tn_json_num(r, "seconds", 0);
        all += seconds;
        if (n < TN_PICTURE_BARS) bars[n++] = (bar){tn_json_str(r, key, ""), seconds};
        else bars[TN_PICTURE_BARS].seconds += seconds;
    }
    if (json_array_size(rows) > TN_PICTURE_BARS) {
        snprintf(others, sizeof others, "%zu others", json_array_size(rows) - TN_PICTURE_BARS);
        bars[n++].name = others;
    }
    for (int k = 0; k < n; k++) most = fmax(most, bars[k].seconds);
    begin(t, WIDTH, n * BAR_ROW + 8, id, title);
    for (int k = 0; k < n; k++) add_bar(t, &bars[k], most, fmax(all, 1e-12), k);
    tn_text_addf(t, "</svg>\n");
}
