#include "svg.h"

#include <math.h>
#include <stdio.h>

enum { WIDTH = 1200, LEFT = 330, RIGHT = 24, TOP = 64, ROW = 24, BOX = 16, WIRE = 4, AXIS = 34 };

static const char *const style =
    "<style>text{font:12px sans-serif;fill:#222}.t{font-size:15px;font-weight:bold}.m{font-size:10px;fill:#fff;text-anchor:middle}"
    ".k{text-anchor:middle}.g{stroke:#8888;stroke-width:.5}.r{fill:#8882}.f{fill:#2a6fbb}.b{fill:#c2611f}.l{fill:#7a7a7a}"
    ".e{fill:#8a4fb0}.u{fill:#2f8f4e}.p{fill:#fff}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.m{fill:#fff}.p{fill:#16181c}}</style>";

static const struct {
    const char *style, *name;
} kinds[] = {[TN_SPAN_FORWARD] = {"f", "forward"},
             [TN_SPAN_BACKWARD] = {"b", "backward"},
             [TN_SPAN_LINK] = {"l", "transfer"},
             [TN_SPAN_EXCHANGE] = {"e", "sum of gradients"},
             [TN_SPAN_UPDATE] = {"u", "optimiser"}};

static void add_words(tn_text *out, double x, double y, const char *style_name, const char *words)
{
    tn_text_addf(out, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, style_name);
    tn_text_add_xml(out, words);
    tn_text_addf(out, "</text>\n");
}

static double x_of(double seconds, double all)
{
    return LEFT + seconds / all * (WIDTH - LEFT - RIGHT);
}

/* 1, 2 or 5 times a power of ten, so that there are five to twelve ticks. */
static double tick_of(double all)
{
    const double raw = all / 10, ten = pow(10, floor(log10(raw)));
    return raw <= ten ? ten : raw <= 2 * ten ? 2 * ten : raw <= 5 * ten ? 5 * ten : 10 * ten;
}

static void add_axis(tn_text *out, double y, double height, double all)
{
    const double tick = tick_of(all);
    char words[48];
    for (int i = 0; i * tick <= all * (1 + 1e-9); i++) {
        const double x = x_of(i * tick, all);
        tn_text_addf(out, "<line class=\"g\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n", x, x, y, y + height);
        snprintf(words, sizeof words, "%.6g ms", 1e3 * i * tick);
        add_words(out, x, y + height + 14, "k", words);
    }
}

/* Transfers are a wire below the row's boxes. */
static void add_span(tn_text *out, const tn_span *s, double y, double all)
{
    const double x = x_of(s->begin, all), width = fmax(x_of(s->end, all) - x, 0.3);
    const bool wire = s->kind == TN_SPAN_LINK;
    tn_text_addf(out, "<rect class=\"%s\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%d\"><title>%s", kinds[s->kind].style, x,
                 wire ? y + BOX + 1 : y, width, wire ? WIRE : BOX, kinds[s->kind].name);
    if (s->micro >= 0) tn_text_addf(out, " of micro-batch %d", s->micro + 1);
    tn_text_addf(out, ", %.4g to %.4g ms</title></rect>\n", 1e3 * s->begin, 1e3 * s->end);
    char number[16];
    snprintf(number, sizeof number, "%d", s->micro + 1);
    if (!wire && s->micro >= 0 && width > 18) add_words(out, x + width / 2, y + BOX - 4, "m", number);
}

static void add_rows(tn_text *out, const tn_svg_row *row, int n, const tn_timeline *t, double y, double all)
{
    for (int i = 0; i < n; i++) {
        const double at = y + i * ROW;
        tn_text_addf(out, "<rect class=\"r\" x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"%d\"/>\n", LEFT, at, WIDTH - LEFT - RIGHT,
                     BOX);
        add_words(out, 12, at + BOX - 4, "n", row[i].label);
        for (int k = 0; k < t->n; k++)
            if (t->span[k].replica == row[i].replica && t->span[k].stage == row[i].stage) add_span(out, &t->span[k], at, all);
    }
    add_axis(out, y - 2, n * ROW, all);
}

static void add_legend(tn_text *out)
{
    double x = LEFT;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        tn_text_addf(out, "<rect class=\"%s\" x=\"%.0f\" y=\"38\" width=\"12\" height=\"12\"/>\n", kinds[i].style, x);
        add_words(out, x + 17, 48, "n", kinds[i].name);
        x += 150;
    }
}

void tn_timeline_svg(tn_text *out, const char *title, const tn_svg_row *row, int n_rows, const tn_timeline *plan,
                     const tn_timeline *measured)
{
    const int n = n_rows < TN_SVG_ROWS ? n_rows : TN_SVG_ROWS, block = n * ROW + AXIS;
    const int height = TOP + block + (measured ? block + 24 : 0) + (n < n_rows ? 24 : 0);
    const double all = fmax(measured ? fmax(plan->seconds, measured->seconds) : plan->seconds, 1e-9);
    char words[80];
    tn_text_addf(out,
                 "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n%s\n"
                 "<rect class=\"p\" width=\"%d\" height=\"%d\"/>\n",
                 WIDTH, height, WIDTH, height, style, WIDTH, height);
    add_words(out, 12, 24, "t", title);
    add_words(out, 12, 48, "n", "the plan");
    add_legend(out);
    add_rows(out, row, n, plan, TOP, all);
    if (measured) {
        add_words(out, 12, TOP + block + 14, "n", "what ran");
        add_rows(out, row, n, measured, TOP + block + 24, all);
    }
    snprintf(words, sizeof words, "and %d stages more", n_rows - n);
    if (n < n_rows) add_words(out, 12, height - 8, "n", words);
    tn_text_addf(out, "</svg>\n");
}
