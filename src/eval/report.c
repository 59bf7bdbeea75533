#include "report.h"
#include "text.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define AT(field) offsetof(tn_eval_result, field)

static const tn_metric metric_rows[] = {
    {"val/loss", AT(loss), false, false, false},
    {"val/l2", AT(l2), false, false, false},
    {"val/pck", AT(pck), false, true, false},
    {"val/tp", AT(tp), true, true, true},
    {"val/fp1", AT(fp1), true, false, true},
    {"val/fp2", AT(fp2), true, false, true},
    {"val/tn", AT(tn), true, true, true},
    {"val/fn", AT(fn), true, false, true},
    {"val/accuracy", AT(accuracy), false, true, true},
    {"val/precision", AT(precision), false, true, true},
    {"val/recall", AT(recall), false, true, true},
    {"val/f1", AT(f1), false, true, true},
    {"val/threshold", AT(threshold), false, false, true},
    {"val/l2_frame", AT(l2_frame), false, false, true},
    {0},
};

const tn_metric *tn_metric_find(const char *name)
{
    for (const tn_metric *m = metric_rows; name && m->name; m++)
        if (!strcmp(m->name, name)) return m;
    return metric_rows;
}

double tn_metric_value(const tn_metric *m, const tn_eval_result *r)
{
    const char *field = (const char *)r + m->at;
    return m->whole ? *(const int *)field : *(const double *)field;
}

char *tn_metric_columns(bool last)
{
    tn_text t = {0};
    for (const tn_metric *m = metric_rows; m->name; m++)
        if (m->last == last) tn_text_addf(&t, ",%s", m->name);
    if (!t.oom) return t.s;
    tn_text_free(&t);
    return NULL;
}

char *tn_metric_cells(const tn_eval_result *r, bool last)
{
    tn_text t = {0};
    for (const tn_metric *m = metric_rows; m->name; m++) {
        if (m->last != last) continue;
        const double v = r ? tn_metric_value(m, r) : NAN;
        if (isnan(v)) tn_text_addf(&t, ",");
        else tn_text_addf(&t, ",%.9g", v);
    }
    if (!t.oom) return t.s;
    tn_text_free(&t);
    return NULL;
}

static int count_empty(const tn_dataset *d)
{
    int n = 0;
    for (int i = 0; i < d->n; i++) n += !d->f[i].visible;
    return n;
}

/* The frames that are looked at, and those among them without a ball. */
static int count_seen(const tn_dataset *d, int *empty)
{
    int n = *empty = 0;
    for (int i = 0; i < tn_samples(d); i++)
        for (int k = 0; k < tn_sample_answers(d); k++) {
            const int frame = tn_sample_label(d, i, k);
            n += frame >= 0;
            *empty += frame >= 0 && !d->f[frame].visible;
        }
    return n;
}

void tn_metric_notes(const tn_settings *s, const tn_dataset *train, const tn_dataset *val, const tn_log *log)
{
    static const char stored[] = "checkpoints store the threshold 0, with which every frame is said to show a ball";
    const bool negative = !strcmp(s->training.invisible, "negative");
    int val_empty;
    const int empty = count_empty(train), val_all = count_seen(val, &val_empty);
    if (negative && !empty)
        tn_logf(log, TN_LOG_WARN, "training.loss.invisible is negative, but every frame of the train split shows a ball");
    if (!negative && empty)
        tn_logf(log, TN_LOG_INFO,
                "%d of the train split's %d frames show no ball and are left out of the loss; "
                "training.loss.invisible=negative learns from them",
                empty, train->n);
    if (!val_all && empty) tn_logf(log, TN_LOG_INFO, "there is no validation split to choose a threshold on: %s", stored);
    if (val_all && !val_empty) tn_logf(log, TN_LOG_INFO, "every frame of the val split shows a ball: %s", stored);
    if (val_all && val_empty == val_all)
        tn_logf(
            log, TN_LOG_WARN,
            "no frame of the val split shows a ball: distances, and a loss that leaves such frames out, cannot be measured, and %s",
            stored);
}

void tn_metric_resolution_note(const tn_eval_result *r, const tn_log *log)
{
    if (r->tolerance >= r->resolution) return;
    tn_logf(log, TN_LOG_INFO,
            "a ball may be %.1f px of the frame from the middle of the heatmap pixel it lies in: with a tolerance of %g px even a "
            "perfect model misses some; raise model.heatmap.size or training.metrics.tolerance",
            r->resolution, r->tolerance);
}
