#include "log.h"
#include "scope.h"

#include <stdarg.h>
#include <stdio.h>

void tn_logf(const tn_log *log, tn_log_level level, const char *fmt, ...)
{
    if (!log || !log->fn) return;
    char line[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    TN_CALLBACK(log->fn(log->user, level, line));
}
