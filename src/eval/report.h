/** The figures of an evaluation by name, as logs and early stopping have them. */
#ifndef TN_REPORT_H
#define TN_REPORT_H
#include "settings.h"
#include "windows.h"
#include <tracknet/train.h>

typedef struct tn_metric {
    const char *name; /* as in log.csv and training.early_stopping.monitor */
    size_t at;        /* in tn_eval_result */
    bool whole;       /* an int there, else a double */
    bool more;        /* the more, the better */
    bool last;        /* its column stands among log.csv's last */
} tn_metric;
/** Names are checked by the schema: NULL, or one that is not here, means the first. Rows follow one
 * another up to one without a name. */
const tn_metric *tn_metric_find(const char *name);
/** NAN where there was nothing to measure. */
double tn_metric_value(const tn_metric *m, const tn_eval_result *r);

/** log.csv's columns of metrics and a row's cells, ",val/tp,val/fp1"; `last`: which of the two groups. r NULL, and what was not
 * measured: cells stay empty. NULL when memory ran out; caller frees. */
char *tn_metric_columns(bool last);
char *tn_metric_cells(const tn_eval_result *r, bool last);

/** Says what frames without a ball, or a lack of them, mean for this run. A split of no frames: there is none. */
void tn_metric_notes(const tn_settings *s, const tn_dataset *train, const tn_dataset *val, const tn_log *log);
/** Says so where heatmaps are too coarse for the tolerance. */
void tn_metric_resolution_note(const tn_eval_result *r, const tn_log *log);
#endif
