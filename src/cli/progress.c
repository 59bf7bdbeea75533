#include "cli.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

tn_progress tn_progress_begin(void)
{
    return (tn_progress){.tty = isatty(STDERR_FILENO), .begin = now()};
}

static int terminal_width(void)
{
    struct winsize w;
    return !ioctl(STDERR_FILENO, TIOCGWINSZ, &w) && w.ws_col > 20 ? w.ws_col : 80;
}

void tn_progress_show(tn_progress *p, double fraction, bool force, const char *fmt, ...)
{
    enum { BAR = 24 };
    const double t = now();
    if (!force && t - p->last < (p->tty ? 0.1 : 10)) return;
    p->last = t;
    char text[512], bar[BAR + 1];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const int full = (int)(fmin(fmax(fraction, 0), 1) * BAR + 0.5);
    for (int i = 0; i < BAR; i++) bar[i] = i < full ? '=' : i == full ? '>' : ' ';
    bar[BAR] = 0;
    if (p->tty) fprintf(stderr, "\r\033[K%3.0f%% [%s] %.*s", 100 * fraction, bar, terminal_width() - BAR - 10, text);
    else fprintf(stderr, "%3.0f%% %s\n", 100 * fraction, text);
    fflush(stderr);
}

void tn_progress_end(tn_progress *p)
{
    if (p->tty) fprintf(stderr, "\r\033[K");
    fflush(stderr);
}

const char *tn_clock(char buf[32], double s)
{
    long n = s > 0 && s < 1e8 ? (long)(s + 0.5) : 0;
    if (n >= 3600) snprintf(buf, 32, "%ld:%02ld:%02ld", n / 3600, n / 60 % 60, n % 60);
    else snprintf(buf, 32, "%ld:%02ld", n / 60, n % 60);
    return buf;
}
