/* The checks and measurements of a device that a user asks for. */
#include "doctor.h"
#include "entry.h"
#include "facts.h"
#include "selftest.h"
#include "tuning.h"

#include <stdio.h>
#include <stdlib.h>

static int run_all(tn_dev *d, char *report, size_t n, tn_error *err)
{
    int count = 0;
    for (int k = 0; tn_case_tables[k]; k++)
        for (const tn_case *c = tn_case_tables[k]; c->name; c++)
            for (int act = TN_F32; act <= TN_F16; act++) {
                tn_case_result r;
                const tn_case_spec s = {.act = (tn_dtype)act};
                if (act != TN_F32 && c->float32_only) continue;
                TN_TRY(tn_case_run(c, d, &s, &r, err));
                if (!(r.worst <= 1))
                    return tn_fail(err, TN_ERR_NUMERIC,
                                   "device '%s': %s in %s is off by %.2g, one element by %.2g (%.2g and %.2g allowed)",
                                   d->info.name, c->name, tn_dtype_name((tn_dtype)act), r.error, r.element,
                                   tn_case_bound((tn_dtype)act), tn_case_element_bound((tn_dtype)act));
                count++;
            }
    if (report) snprintf(report, n, "%d checks passed", count);
    return 0;
}

/* Opens a device by the options of a run. */
static int open_for(tn_dev **d, int index, const tn_run_options *o, tn_error *err)
{
    *d = NULL;
    TN_TRY(tn_run_check(&o, err));
    const tn_dev_options x = {o->memory_limit, o->log, {o->progress, o->user}, o->variants, o->cache, o->helper, o->nice};
    return tn_dev_open(d, index, &x, err);
}

int tn_device_self_test(int index, const tn_run_options *o, char *report, size_t n, tn_error *err)
{
    TN_ENTRY(err);
    tn_dev *d;
    TN_TRY(open_for(&d, index, o, err));
    int rc = run_all(d, report, n, err);
    tn_dev_close(d);
    return rc;
}

/* The table as the caller's text. */
static int table_of(char **report, int index, const tn_run_options *o, bool measure, tn_error *err)
{
    tn_dev *d;
    tn_text text = {0};
    if (report) *report = NULL;
    TN_TRY(open_for(&d, index, o, err));
    int rc = measure ? tn_tune_usual(d, o ? o->tune_seconds : 0, err) : 0;
    if (!rc) rc = tn_tuning_table(&text, d, err);
    if (!rc && report && !(*report = text.s ? text.s : calloc(1, 1))) rc = tn_oom(err);
    if (rc || !report) tn_text_free(&text);
    tn_dev_close(d);
    return rc;
}

int tn_device_tune(int index, const tn_run_options *o, char **report, tn_error *err)
{
    TN_ENTRY(err);
    return table_of(report, index, o, true, err);
}

int tn_device_tuning(int index, const tn_run_options *o, char **report, tn_error *err)
{
    TN_ENTRY(err);
    return table_of(report, index, o, false, err);
}

static void add_failure(tn_text *out, const char *what, const tn_error *why)
{
    tn_text_addf(out, "FAILED %s: %s\n", what, why->message);
}

/* Each part says itself what failed in it; only a caller who wants no more ends it. */
static int report_on(tn_text *out, bool *works, tn_dev *d, bool thorough, int seconds, tn_error *err)
{
    int failed = 0;
    tn_error why = {0};
    tn_device_facts(out, d);
    if (thorough && tn_tune_usual(d, seconds, &why)) add_failure(out, "measuring the variants", &why), failed++;
    TN_TRY(tn_doctor_cases(out, &failed, d, thorough, err));
    if (!d->lost && tn_doctor_times(out, d, &why)) add_failure(out, "the timing", &why), failed++;
    *works = !failed && !d->lost;
    return tn_doctor_known(out, d, err);
}

int tn_device_report(int index, const tn_run_options *o, bool thorough, bool *works, char **report, tn_error *err)
{
    TN_ENTRY(err);
    TN_TRY(tn_required(report, "tn_device_report's report", err));
    tn_dev *d;
    tn_text text = {0};
    tn_error why = {0};
    bool good = false;
    int rc = 0;
    *report = NULL;
    if (open_for(&d, index, o, &why)) add_failure(&text, "opening the device", &why);
    else rc = report_on(&text, &good, d, thorough, o ? o->tune_seconds : 0, err);
    if (works) *works = good;
    if (!rc && (text.oom || !(*report = text.s ? text.s : calloc(1, 1)))) rc = tn_oom(err);
    if (rc) tn_text_free(&text);
    tn_dev_close(d);
    return rc;
}
