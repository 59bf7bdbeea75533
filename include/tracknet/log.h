/** Where the library's log lines go. */
#ifndef TRACKNET_LOG_H
#define TRACKNET_LOG_H

typedef enum tn_log_level { TN_LOG_DEBUG, TN_LOG_INFO, TN_LOG_WARN } tn_log_level;

/** Called with one line without its newline. May be called from the thread that called the library only. */
typedef struct tn_log {
    void (*fn)(void *user, tn_log_level level, const char *line);
    void *user;
} tn_log;
#endif
