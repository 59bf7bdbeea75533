#include "verdict.h"
#include "selftest.h"

#include <math.h>
#include <stdio.h>

/* Runs the cases of op with the row forced, at two sizes; worst: the largest share of what is allowed. With `ahead` nothing runs,
 * and their launches are registered there. */
static int run_cases(tn_case_result *sum, tn_dev *d, const tn_case_spec *like, tn_ahead *ahead, tn_error *err)
{
    *sum = (tn_case_result){0};
    for (int t = 0; tn_case_tables[t]; t++)
        for (const tn_case *k = tn_case_tables[t]; k->name; k++)
            for (int i = 0; tn_case_of(k, like->op) && i < 6; i++) {
                tn_case_spec s = *like;
                tn_case_result r = {0};
                s.act = (tn_dtype)(i % 3);
                s.size = i / 3;
                if (s.act != TN_F32 && k->float32_only) continue;
                TN_TRY(ahead ? tn_case_walk(k, d, &s, NULL, ahead, err) : tn_case_run(k, d, &s, &r, err));
                tn_case_add(sum, &r);
            }
    return 0;
}

int tn_check_row(tn_verdict *out, tn_dev *d, const tn_variant_op *op, int row, const char *kind, const void *like, tn_error *err)
{
    tn_case_result r;
    tn_error e = {0};
    const tn_case_spec s = {.op = op, .row = row, .kind = kind, .like = like};
    const int rc = run_cases(&r, d, &s, NULL, &e);
    if (rc == TN_ERR_MEMORY) return tn_fail(err, rc, "%s", e.message);
    *out = (tn_verdict){.good = !rc && r.runs && r.worst <= 1, .error = isfinite(r.error) ? r.error : -1.0};
    if (rc) snprintf(out->why, sizeof out->why, "%.240s", e.message);
    else if (!r.runs) snprintf(out->why, sizeof out->why, "no self-test case covers it");
    else if (!out->good) snprintf(out->why, sizeof out->why, "wrong: %.2g times the error allowed", r.worst);
    return 0;
}

int tn_check_ahead(tn_ahead *ahead, tn_dev *d, const tn_variant_op *op, int row, const char *kind, const void *like, tn_error *err)
{
    tn_case_result none;
    const tn_case_spec s = {.op = op, .row = row, .kind = kind, .like = like};
    return run_cases(&none, d, &s, ahead, err);
}

int tn_check_twice(tn_verdict *out, tn_dev *d, const tn_variant_op *op, int row, const char *kind, const void *like, tn_error *err)
{
    tn_verdict first;
    TN_TRY(tn_check_row(&first, d, op, row, kind, like, err));
    *out = first;
    if (!first.good) return 0;
    TN_TRY(tn_check_row(out, d, op, row, kind, like, err));
    if (!out->good || out->error == first.error) return 0; /* the same inputs: the error is a sum over all outputs */
    out->good = false;
    snprintf(out->why, sizeof out->why, "its results are not the same each time (off by %.9g, then by %.9g)", first.error,
             out->error);
    return 0;
}

void tn_check_stamp(char *out, size_t n)
{
    snprintf(out, n, "tracknet-check-1 %zu %016llx", sizeof(tn_check_request), tn_cl_sources_hash());
}
