/** Where the library's log lines go. */
#ifndef TRACKNET_LOG_H
#define TRACKNET_LOG_H

typedef enum tn_log_level { TN_LOG_DEBUG, TN_LOG_INFO, TN_LOG_WARN } tn_log_level;

/** Called with one line without its newline, which is borrowed for the call, and only from the thread that called the
 * library. It may be called at any time while that function runs. The struct never grows; the library copies it. */
typedef struct tn_log {
    void (*fn)(void *user, tn_log_level level, const char *line);
    void *user;
} tn_log;
#endif
