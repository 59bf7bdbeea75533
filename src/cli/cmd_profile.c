#include "cli.h"
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    tn_profile_by by;
} views[] = {{"kernel", TN_BY_KERNEL}, {"operation", TN_BY_OPERATION}, {"layer", TN_BY_LAYER}, {"entry", TN_BY_ENTRY}};

enum { TOP = 24, NAMES = 4 };

/* The names a row goes by, and how wide their columns are; a column that no row fills has width 0. */
typedef struct {
    int width[NAMES];
} profile_cmd_layout;

static const char *const headings[NAMES] = {"layer", "operation", "kernel", "variant"};

static const char *name_of(const tn_profile_row *w, int i)
{
    const char *const v[NAMES] = {w->layer, w->operation, w->kernel, w->variant};
    return v[i] ? v[i] : "";
}

static int wider(int a, const char *text)
{
    const int b = (int)strlen(text);
    return a > b ? a : b;
}

static profile_cmd_layout profile_cmd_lay_out(const tn_profile_row *rows, int n)
{
    profile_cmd_layout l = {{0}};
    for (int i = 0; i < n; i++)
        for (int k = 0; k < NAMES; k++) l.width[k] = wider(l.width[k], name_of(&rows[i], k));
    for (int k = 0, first = 1; k < NAMES; k++) {
        if (!l.width[k]) continue;
        l.width[k] = wider(l.width[k], headings[k]);
        if (first && l.width[k] < 12) l.width[k] = 12; /* room for "1234 others" */
        first = 0;
    }
    return l;
}

/* Nothing is known of 0. */
static void print_figure(double value, int width, const char *unit)
{
    char text[32] = "-";
    if (value > 0 && value < 0.05) snprintf(text, sizeof text, "<0.1%s", unit);
    else if (value > 0) snprintf(text, sizeof text, "%.1f%s", value, unit);
    printf("  %*s", width, text);
}

static void print_figures(const tn_profile_row *w)
{
    printf("  %6d  %10.3f  %5.1f%%", w->entries, 1e3 * w->seconds, 100 * w->share);
    const double t = w->seconds > 0 ? w->seconds : 1;
    print_figure(1e-9 * w->flops / t, 9, "");
    print_figure(1e-9 * w->bytes / t, 9, "");
    print_figure(100 * w->roofline, 8, "%");
    printf("\n");
}

static void print_names(const profile_cmd_layout *l, const char *const names[NAMES])
{
    const char *sep = "";
    for (int k = 0; k < NAMES; k++) {
        if (!l->width[k]) continue;
        printf("%s%-*s", sep, l->width[k], names[k] ? names[k] : "");
        sep = "  ";
    }
}

static void print_row(const profile_cmd_layout *l, const tn_profile_row *w)
{
    print_names(l, (const char *const[NAMES]){w->layer, w->operation, w->kernel, w->variant});
    print_figures(w);
}

/* One name, in the first column that is shown. */
static void print_named(const profile_cmd_layout *l, const char *name, const tn_profile_row *w)
{
    const char *names[NAMES] = {0};
    int first = 0;
    while (first < NAMES - 1 && !l->width[first]) first++;
    names[first] = name;
    print_names(l, names);
    print_figures(w);
}

static void print_heading(const profile_cmd_layout *l)
{
    print_names(l, headings);
    printf("  %6s  %10s  %6s  %9s  %9s  %8s\n", "runs", "ms", "share", "GFLOP/s", "GB/s", "roofline");
}

static tn_profile_row total_of(const tn_profile_report *r)
{
    const double by_flops = r->peak > 0 ? r->flops / r->peak : 0, by_bytes = r->bandwidth > 0 ? r->bytes / r->bandwidth : 0;
    tn_profile_row w = {.entries = r->n, .seconds = r->seconds, .share = 1, .flops = r->flops, .bytes = r->bytes};
    if (r->seconds > 0) w.roofline = (by_flops > by_bytes ? by_flops : by_bytes) / r->seconds;
    return w;
}

static int print_table(const tn_profile_report *r, tn_profile_by by, tn_error *err)
{
    tn_profile_row *rows, rest = {0};
    const tn_profile_row total = total_of(r);
    int n;
    const int rc = tn_profile_rows(r, by, &rows, &n, err);
    if (rc) return rc;
    const int shown = n <= TOP + 1 ? n : TOP;
    const profile_cmd_layout l = profile_cmd_lay_out(rows, shown);
    print_heading(&l);
    for (int i = 0; i < shown; i++) print_row(&l, &rows[i]);
    for (int i = shown; i < n; i++) {
        rest.entries += rows[i].entries;
        rest.seconds += rows[i].seconds;
        rest.share += rows[i].share;
    }
    char name[32];
    snprintf(name, sizeof name, "%d others", n - shown);
    if (shown < n) print_named(&l, name, &rest);
    print_named(&l, "total", &total);
    printf("\n");
    free(rows);
    return 0;
}

static void profile_cmd_print_summary(const tn_profile_report *r)
{
    const bool train = r->what == TN_PROFILE_TRAIN;
    const char *step = train ? "training step" : "prediction";
    printf("device      %s\n", r->device);
    printf("%-11s %d image%s, %s; medians of %d, peak %.0f MiB\n", train ? "train" : "predict", r->batch, r->batch == 1 ? "" : "s",
           r->storage, r->repeat, (double)r->peak_bytes / 1048576);
    printf("%-11s %.3f ms by the clock, %.1f img/s, device idle %.0f %%; transfers and waits included, bursts of %d\n", "step",
           1e3 * r->step_seconds, r->batch / r->step_seconds, 100 * r->idle, r->burst);
    printf("%-11s %.3f ms when each is timed\n", "commands", 1e3 * r->seconds);
    printf("%-11s %lld launches and %lld blocking calls of a %s\n", "host", r->launches, r->blocking, step);
    printf("%-11s %.1f GB/s copied by %s, %.1f GFLOP/s multiplied by %s\n", "roofline", 1e-9 * r->bandwidth, r->copied_by,
           1e-9 * r->peak, r->peak_by);
}

/* After each burst its seconds, and a wait. The first one's have the run-up in them. */
static int profile_cmd_pace(void *user, const tn_progress *p)
{
    static double released;
    const tn_cli *c = user;
    const long long first = p->total - 2 * c->repeat + 1;
    const bool burst = p->phase == TN_PHASE_PROFILING && p->done >= first && p->done < first + c->repeat;
    const double now = tn_now();
    if (!burst) {
        released = now;
        return tn_cli_progress(user, p);
    }
    printf("burst %.6f\n", now - released);
    fflush(stdout);
    for (int ch = 0; ch != EOF && ch != '\n';) ch = getchar();
    released = tn_now();
    return tn_interrupted;
}

/* A tn_profile_by, or -1. */
static int view_of(const char *name)
{
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        if (!strcmp(name, views[i].name)) return (int)views[i].by;
    return -1;
}

static int show(const tn_cli *c, const tn_profile_report *r, tn_error *err)
{
    if (c->json && !c->json_file) {
        char *text;
        const int rc = tn_profile_json(r, &text, err);
        if (!rc) puts(text);
        free(text);
        return rc;
    }
    int rc = print_table(r, c->by ? (tn_profile_by)view_of(c->by) : TN_BY_KERNEL, err);
    if (!rc && !c->by) rc = print_table(r, TN_BY_LAYER, err);
    if (!rc) profile_cmd_print_summary(r);
    return rc;
}

static int refuse(tn_error *err, const char *sentence)
{
    return tn_fail(err, TN_ERR_ARGUMENT, "%s", sentence);
}

int tn_cmd_profile(tn_cli *c, tn_error *err)
{
    tn_config *cfg = NULL;
    tn_profile_report *r = NULL;
    if (!c->repeat) c->repeat = 5;
    tn_profile_options p = {
        .version = TN_PROFILE_OPTIONS_VERSION, .batch = c->batch, .repeat = c->repeat, .json = c->json_file, .trace = c->trace};
    if (!c->action || (strcmp(c->action, "train") && strcmp(c->action, "predict"))) return refuse(err, "say train or predict");
    if (c->by && view_of(c->by) < 0) return refuse(err, "--by takes kernel, operation, layer or entry");
    if (!strcmp(c->action, "predict")) p.what = TN_PROFILE_PREDICT;
    if (c->paced) c->run.progress = profile_cmd_pace;
    int rc = tn_cli_config(&cfg, c, err);
    if (!rc) rc = tn_profile(cfg, &c->run, &p, &r, err);
    tn_bar_clear();
    if (!rc) rc = show(c, r, err);
    tn_profile_free(r);
    tn_config_free(cfg);
    return rc;
}
