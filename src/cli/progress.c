#include "cli.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static double progress_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct {
    bool shown; /* stands on the terminal's line */
    double last;
} bar;

static int terminal_width(void)
{
    struct winsize w;
    return !ioctl(STDERR_FILENO, TIOCGWINSZ, &w) && w.ws_col > 20 ? w.ws_col : 80;
}

void tn_bar_show(double fraction, bool force, const char *fmt, ...)
{
    enum { BAR = 24 };
    const bool tty = isatty(STDERR_FILENO);
    const double t = progress_now();
    if (!bar.last) bar.last = t;
    if (!force && t - bar.last < (tty ? 0.1 : 10)) return;
    bar.last = t;
    char text[512], line[BAR + 1];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const int full = (int)(fmin(fmax(fraction, 0), 1) * BAR + 0.5);
    for (int i = 0; i < BAR; i++) line[i] = i < full ? '=' : i == full ? '>' : ' ';
    line[BAR] = 0;
    if (tty) fprintf(stderr, "\r\033[K%3.0f%% [%s] %.*s", 100 * fraction, line, terminal_width() - BAR - 10, text);
    else fprintf(stderr, "%3.0f%% %s\n", 100 * fraction, text);
    bar.shown = tty;
    fflush(stderr);
}

void tn_bar_clear(void)
{
    if (bar.shown) fprintf(stderr, "\r\033[K");
    bar.shown = false;
    fflush(stderr);
}

int tn_cli_progress(void *user, const tn_progress *p)
{
    const tn_cli *c = user;
    const bool elsewhere = p->phase == TN_PHASE_TRAINING || p->phase == TN_PHASE_PREDICTING;
    if ((!c->json || c->json_file) && !c->silent && !elsewhere && p->total)
        tn_bar_show((double)p->done / (double)p->total, p->done == p->total, "%s  %lld/%lld%s%s", p->what, p->done, p->total,
                    p->item ? "  " : "", p->item ? p->item : "");
    return tn_interrupted;
}

const char *tn_clock(char buf[32], double s)
{
    long n = s > 0 && s < 1e8 ? (long)(s + 0.5) : 0;
    if (n >= 3600) snprintf(buf, 32, "%ld:%02ld:%02ld", n / 3600, n / 60 % 60, n % 60);
    else snprintf(buf, 32, "%ld:%02ld", n / 60, n % 60);
    return buf;
}
