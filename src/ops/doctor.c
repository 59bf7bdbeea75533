#include "doctor.h"
#include "clock.h"
#include "jsonio.h"
#include "qualify.h"
#include "selftest.h"
#include "tuning.h"
#include "tuning_db.h"

#include <math.h>

static int case_count(void)
{
    int n = 0;
    for (int t = 0; tn_case_tables[t]; t++)
        for (const tn_case *k = tn_case_tables[t]; k->name; k++) n++;
    return n;
}

/* False where it failed; out says how. */
static bool case_passes(tn_text *out, const tn_case *k, tn_dev *d, tn_dtype act)
{
    tn_case_result r;
    tn_error why = {0};
    const tn_case_spec s = {.act = act};
    const int rc = tn_case_run(k, d, &s, &r, &why);
    if (rc) tn_text_addf(out, "FAILED %s, %s: %s\n", k->name, tn_dtype_name(act), why.message);
    else if (!(r.worst <= 1))
        tn_text_addf(out, "FAILED %s, %s: off by %.2g, one element by %.2g (%.2g and %.2g allowed)\n", k->name, tn_dtype_name(act),
                     r.error, r.element, tn_case_bound(act), tn_case_element_bound(act));
    return !rc && r.worst <= 1;
}

int tn_doctor_cases(tn_text *out, int *failed, tn_dev *d, bool every_type, tn_error *err)
{
    const int n = case_count();
    int done = 0, run = 0;
    *failed = 0;
    for (int t = 0; tn_case_tables[t]; t++)
        for (const tn_case *k = tn_case_tables[t]; k->name && !d->lost; k++) {
            TN_TRY(tn_watch_tell(&d->watch, TN_PHASE_TUNING, k->name, done++, n, err));
            for (int act = TN_F32; act <= (every_type && !k->float32_only ? TN_F16 : TN_F32); act++, run++)
                *failed += !case_passes(out, k, d, (tn_dtype)act);
        }
    tn_text_addf(out, "%d of %d self-test cases passed\n", run - *failed, run);
    if (d->lost) tn_text_addf(out, "the device was lost; nothing was run after that\n");
    return 0;
}

static void add_check(tn_text *out, const char *op, const char *kind, const char *row, const json_t *v)
{
    const double e = tn_json_num(v, "error", -1);
    tn_text_addf(out, "%s, %s: %s ", op, kind, row);
    if (tn_json_bool(v, "good", 0)) tn_text_addf(out, "good, error %.2g\n", e);
    else tn_text_addf(out, "REFUSED: %s\n", tn_json_str(v, "why", ""));
}

int tn_doctor_known(tn_text *out, tn_dev *d, tn_error *err)
{
    json_t *db, *rows, *v;
    const char *kind, *row;
    TN_TRY(tn_db(&db, d, err));
    for (int i = 0; tn_variant_ops[i]; i++) {
        json_object_foreach(tn_db_at(db, "checks", tn_variant_ops[i]->name, NULL, NULL), kind, rows)
        {
            json_object_foreach(rows, row, v) add_check(out, tn_variant_ops[i]->name, kind, row, v);
        }
    }
    TN_TRY(tn_qualify_table(out, d, err));
    return tn_tuning_table(out, d, err);
}

/* ---- times ---- */

enum { TRIES = 5, SIDE = 512 };

static int time_copy(tn_text *out, tn_dev *d, tn_error *err)
{
    tn_buffer *a = NULL, *b = NULL;
    const size_t bytes = TN_MIN((size_t)32 << 20, d->info.largest_allocation / 4);
    double best = INFINITY;
    int rc = tn_buffer_new(&a, d, bytes, "a copy", err);
    if (!rc) rc = tn_buffer_new(&b, d, bytes, "a copy", err);
    for (int i = 0; !rc && i < TRIES; i++) {
        const double t = tn_now();
        rc = tn_buffer_copy(a, 0, b, 0, bytes, err);
        if (!rc) rc = tn_dev_finish(d, err);
        best = TN_MIN(best, tn_now() - t);
    }
    tn_buffer_free(b);
    tn_buffer_free(a);
    if (!rc) tn_text_addf(out, "copy of %zu MiB: %.2f GB/s read and written\n", bytes >> 20, 2e-9 * (double)bytes / best);
    return rc;
}

/* The launch alone, and the product. */
static int time_product(tn_text *out, tn_dev *d, tn_error *err)
{
    tn_ctx c;
    tn_tensor t[3] = {{0}};
    double small = INFINITY, large = INFINITY;
    int rc = 0;
    tn_ctx_bare(&c, d);
    for (int i = 0; !rc && i < 3; i++) rc = tn_tensor_new(&t[i], d, TN_F32, SIDE, SIDE, "a product", err);
    for (int i = 0; !rc && i < 2; i++) rc = tn_tensor_random(d, &t[i], err);
    for (int i = 0; !rc && i < 2 * TRIES; i++) {
        const int side = i % 2 ? SIDE : 16;
        const tn_gemm_args g = {.tb = true,
                                .alpha = 1,
                                .A = tn_view(t[0].mem, TN_F32, side, side),
                                .B = tn_view(t[1].mem, TN_F32, side, side),
                                .C = tn_view(t[2].mem, TN_F32, side, side)};
        const double begin = tn_now();
        rc = tn_gemm_run(&c, &g, err);
        if (!rc) rc = tn_dev_finish(d, err);
        if (i % 2) large = TN_MIN(large, tn_now() - begin);
        else small = TN_MIN(small, tn_now() - begin);
    }
    for (int i = 2; i >= 0; i--)
        if (t[i].mem) tn_tensor_free(d, &t[i]);
    tn_ctx_free(&c);
    if (!rc)
        tn_text_addf(out, "portable product of %d x %d x %d: %.1f GFLOP/s; one of 16 x 16 x 16, launched and waited for: %.0f us\n",
                     SIDE, SIDE, SIDE, 2e-9 * SIDE * SIDE * SIDE / large, 1e6 * small);
    return rc;
}

int tn_doctor_times(tn_text *out, tn_dev *d, tn_error *err)
{
    TN_TRY(time_copy(out, d, err));
    return time_product(out, d, err);
}
