#include "logs.h"

#include "events.h"
#include "files.h"
#include "report.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tn_logs {
    char *epochs_path, *steps_path;
    FILE *steps;
    tn_events *events;
};

static int cannot_log(const char *path, tn_error *err)
{
    return tn_fail(err, TN_ERR_IO, "cannot write '%s': %s", path, strerror(errno));
}

/* How many bytes hold the header and the rows whose first number is at most `last`; a row that was torn off is none. */
static size_t kept_bytes(const char *text, size_t n, long long last)
{
    size_t kept = 0;
    for (const char *end; (end = memchr(text + kept, '\n', n - kept)); kept = (size_t)(end - text) + 1)
        if (kept && strtoll(text + kept, NULL, 10) > last) break;
    return kept;
}

/* A run that goes on writes these rows again. */
static int cut_log(const char *path, long long last, tn_error *err)
{
    char *text;
    size_t n;
    if (!tn_is_file(path)) return 0;
    TN_TRY(tn_read_file(&text, &n, path, err));
    const size_t kept = kept_bytes(text, n, last);
    free(text);
    return kept < n && truncate(path, (off_t)kept) ? cannot_log(path, err) : 0;
}

static int open_steps(tn_logs *l, long long step, tn_error *err)
{
    TN_TRY(cut_log(l->steps_path, step, err));
    l->steps = fopen(l->steps_path, "a");
    if (!l->steps || fseek(l->steps, 0, SEEK_END)) return cannot_log(l->steps_path, err);
    if (ftell(l->steps) > 0) return 0;
    return fputs("step,epoch,loss,lr,grad_norm,loss_scale,images_per_second\n", l->steps) < 0 ? cannot_log(l->steps_path, err) : 0;
}

int tn_logs_open(tn_logs **out, const char *dir, const tn_trainer_state *from, bool resumed, tn_error *err)
{
    tn_logs *l = *out = calloc(1, sizeof *l);
    if (!l) return tn_oom(err);
    l->epochs_path = tn_path(dir, "log.csv");
    l->steps_path = tn_path(dir, "steps.csv");
    char *tb = tn_path(dir, "tb");
    int rc = l->epochs_path && l->steps_path && tb ? 0 : tn_oom(err);
    if (!rc && resumed) rc = cut_log(l->epochs_path, from->epoch, err);
    if (!rc) rc = open_steps(l, from->step, err);
    if (!rc) rc = tn_events_open(&l->events, tb, from->step, err);
    free(tb);
    return rc;
}

int tn_logs_step(tn_logs *l, const tn_step_row *r, tn_error *err)
{
    const tn_scalar loss = {"train/loss_step", r->loss};
    char norm[32] = ""; /* of a step that overflowed: none */
    if (isfinite(r->grad_norm)) snprintf(norm, sizeof norm, "%.9g", r->grad_norm);
    if (fprintf(l->steps, "%lld,%d,%.9g,%.9g,%s,%.9g,%.3f\n", r->step, r->epoch, r->loss, r->lr, norm, r->loss_scale,
                r->images_per_second) < 0)
        return cannot_log(l->steps_path, err);
    return tn_events_write(l->events, r->step, &loss, 1, err);
}

static int epoch_events(tn_logs *l, const tn_epoch *e, long long step, tn_error *err)
{
    tn_scalar v[TN_SCALARS] = {{"train/loss", e->train_loss}, {"lr", e->lr}};
    int n = 2;
    for (const tn_metric *m = tn_metric_find(NULL); e->val && m->name && n < TN_SCALARS; m++) {
        const double value = tn_metric_value(m, e->val);
        if (!isnan(value)) v[n++] = (tn_scalar){m->name, value};
    }
    TN_TRY(tn_events_write(l->events, step, v, n, err));
    return tn_events_flush(l->events, err);
}

static int epoch_row(tn_logs *l, const tn_epoch *e, long long step, double rate, tn_error *err)
{
    char *names[] = {tn_metric_columns(false), tn_metric_columns(true)};
    char *cells[] = {tn_metric_cells(e->val, false), tn_metric_cells(e->val, true)};
    int rc = names[0] && names[1] && cells[0] && cells[1] ? 0 : tn_oom(err);
    const bool fresh = !rc && !tn_is_file(l->epochs_path);
    FILE *f = rc ? NULL : fopen(l->epochs_path, "a");
    bool ok = f != NULL;
    if (ok && fresh) ok = fprintf(f, "epoch,step,train/loss,lr%s,seconds,images_per_second%s,skipped\n", names[0], names[1]) > 0;
    if (ok) ok = fprintf(f, "%d,%lld,%.9g,%.9g%s", e->epoch, step, e->train_loss, e->lr, cells[0]) > 0;
    if (ok) ok = fprintf(f, ",%.3f,%.3f%s,%d\n", e->seconds, rate, cells[1], e->skipped) > 0;
    if (f && fclose(f)) ok = false;
    if (!rc && !ok) rc = cannot_log(l->epochs_path, err);
    for (int i = 0; i < 2; i++) free(names[i]), free(cells[i]);
    return rc;
}

int tn_logs_epoch(tn_logs *l, const tn_epoch *e, long long step, double images_per_second, tn_error *err)
{
    if (fflush(l->steps)) return cannot_log(l->steps_path, err);
    TN_TRY(epoch_events(l, e, step, err));
    return epoch_row(l, e, step, images_per_second, err);
}

void tn_logs_close(tn_logs *l)
{
    if (!l) return;
    if (l->steps) (void)fclose(l->steps); /* flushed at the end of every epoch */
    tn_events_close(l->events);
    free(l->epochs_path);
    free(l->steps_path);
    free(l);
}
