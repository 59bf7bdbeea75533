#include "watch.h"
#include "fail.h"
#include "scope.h"

static const char *const phases[] = {
    [TN_PHASE_OPENING] = "opening the device",
    [TN_PHASE_LOADING] = "loading weights",
    [TN_PHASE_TUNING] = "checking and measuring kernels",
    [TN_PHASE_TRAINING] = "training",
    [TN_PHASE_VALIDATING] = "validating",
    [TN_PHASE_EXPORTING] = "exporting",
    [TN_PHASE_PREDICTING] = "predicting",
    [TN_PHASE_QUANTIZING] = "quantising",
    [TN_PHASE_MERGING] = "merging",
    [TN_PHASE_DRAWING] = "drawing",
    [TN_PHASE_PROFILING] = "profiling",
    [TN_PHASE_FEATURES] = "running the frozen backbone",
    [TN_PHASE_BUILDING] = "building kernels",
    [TN_PHASE_MEASURING] = "measuring",
};

int tn_cancelled(tn_phase phase, tn_error *err)
{
    return tn_fail(err, TN_ERR_CANCELLED, "stopped while %s, as a callback asked", phases[phase]);
}

int tn_watch_tell(const tn_watch *w, tn_phase phase, const char *item, long long done, long long total, tn_error *err)
{
    if (!w || !w->fn) return 0;
    const tn_progress p = {phase, phases[phase], item, done, total};
    return TN_CALLBACK(w->fn(w->user, &p)) ? tn_cancelled(phase, err) : 0;
}
