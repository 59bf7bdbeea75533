/** A plan in three forms, with what came of it (m; NULL: nothing was run). Each is the caller's to free(), NULL when memory ran
 * out. */
#ifndef TN_PLAN_REPORT_H
#define TN_PLAN_REPORT_H
#include "measure.h"

char *tn_run_plan_table(const tn_run_plan *p, const tn_measured *m);
char *tn_run_plan_json(const tn_run_plan *p, const tn_measured *m);
/** What ran is drawn below the plan. */
char *tn_run_plan_svg(const tn_run_plan *p, const tn_measured *m);
#endif
