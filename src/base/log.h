/** Log lines go to the caller's function; the library itself never prints. */
#ifndef TN_LOG_H
#define TN_LOG_H
#include <tracknet/log.h>

/** Formats one line (no newline) and hands it to log->fn; a NULL log or fn drops it. */
void tn_logf(const tn_log *log, tn_log_level level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#endif
