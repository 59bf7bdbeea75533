/** Filling a tn_error, and the two idioms for passing one on. */
#ifndef TN_FAIL_H
#define TN_FAIL_H
#include <tracknet/error.h>

/** Writes the message (printf style) into err (may be NULL) and returns status. */
int tn_fail(tn_error *err, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/** Host memory ran out; returns TN_ERR_MEMORY. */
int tn_oom(tn_error *err);

/** Puts "prefix: " before the message that err (not NULL) already holds; returns err's status. */
int tn_fail_in(tn_error *err, const char *prefix);

#define TN_TRY(expr)                                                                                                               \
    do {                                                                                                                           \
        int tn_rc_ = (expr);                                                                                                       \
        if (tn_rc_) return tn_rc_;                                                                                                 \
    } while (0)

/** For functions with one cleanup label: needs `int rc` and `out:`. */
#define TN_GO(expr)                                                                                                                \
    do {                                                                                                                           \
        rc = (expr);                                                                                                               \
        if (rc) goto out;                                                                                                          \
    } while (0)

#define TN_COUNT(a)       (sizeof(a) / sizeof((a)[0]))
#define TN_MIN(a, b)      ((a) < (b) ? (a) : (b))
#define TN_MAX(a, b)      ((a) > (b) ? (a) : (b))
#define TN_CEIL_DIV(a, b) (((a) + (b)-1) / (b))
#define TN_ROUND_UP(a, b) (TN_CEIL_DIV(a, b) * (b))
#endif
