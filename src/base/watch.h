/** The caller's progress function, as the rooms below hand it on. */
#ifndef TN_WATCH_H
#define TN_WATCH_H
#include <tracknet/error.h>
#include <tracknet/progress.h>

/** fn may be NULL. */
typedef struct tn_watch {
    tn_progress_fn *fn;
    void *user;
} tn_watch;

/** Tells how far a phase has come; TN_ERR_CANCELLED when the caller wants no more. w and item may be NULL. */
int tn_watch_tell(const tn_watch *w, tn_phase phase, const char *item, long long done, long long total, tn_error *err);
/** The sentence of a call that was stopped; returns TN_ERR_CANCELLED. */
int tn_cancelled(tn_phase phase, tn_error *err);
#endif
