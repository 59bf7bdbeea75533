/* Entries taken together: times add up, a node's costs go where all of its entries are, and nowhere else. */
#include "prof.h"
#include "../testlib.h"

#include <math.h>
#include <string.h>

/* Two layers: a product of two kernels (pack, panel), a sum of one kernel that stands in both, and a node of unknown cost. */
static tn_profile_report *sample(bool with_unknown)
{
    static const tn_profile_entry all[] = {
        {"a", "linear", NULL, "pack", 0, 1, 400, 40},   {"a", "linear", "native", "panel", 0, 3, 0, 0},
        {"a", "residual", NULL, "sum", 1, 2, 10, 100},  {"b", "residual", NULL, "sum", 2, 2, 10, 100},
        {"b", "linear", NULL, "pack", 3, 1, 400, 40},   {"b", "linear", "native", "panel", 3, 6, 0, 0},
        {"b", "linear", "other", "panel", 4, 3, 90, 9}, {"b", "mystery", NULL, "dark", 5, 2, 0, 0},
    };
    const int n = (int)TN_COUNT(all) - !with_unknown;
    tn_profile_report *r;
    ck_assert_int_eq(tn_prof_report_new(&r, NULL), 0);
    r->entries = malloc(sizeof all);
    memcpy(r->entries, all, sizeof all);
    r->n = n;
    for (int i = 0; i < n; i++) r->seconds += all[i].seconds;
    r->peak = 200;
    r->bandwidth = 100;
    r->device = "device";
    r->driver = "driver";
    r->result = NAN;
    r->storage = "float32";
    r->copied_by = r->peak_by = "x";
    tn_prof_sum_costs(r);
    return r;
}

static const tn_profile_row *row(const tn_profile_row *rows, int n, const char *name, const char *variant)
{
    for (int i = 0; i < n; i++) {
        const char *v = rows[i].kernel ? rows[i].kernel : rows[i].operation ? rows[i].operation : rows[i].layer;
        if (!strcmp(v, name) && (!variant || (rows[i].variant && !strcmp(rows[i].variant, variant)))) return &rows[i];
    }
    ck_abort_msg("no row %s", name);
    return NULL;
}

START_TEST(by_kernel)
{
    tn_profile_report *r = sample(true);
    tn_profile_row *v;
    int n;
    ck_assert_int_eq(tn_profile_rows(r, TN_BY_KERNEL, &v, &n, NULL), 0);
    ck_assert_int_eq(n, 5); /* panel has two variants */
    ck_assert_str_eq(v[0].kernel, "panel");
    ck_assert_double_eq_tol(row(v, n, "panel", "native")->seconds, 9, 1e-12);
    ck_assert_double_eq(row(v, n, "panel", "native")->flops, 0); /* its node's other entry is elsewhere */
    ck_assert_double_eq(row(v, n, "pack", NULL)->flops, 0);
    ck_assert_double_eq(row(v, n, "panel", "other")->flops, 90);
    const tn_profile_row *sum = row(v, n, "sum", NULL);
    ck_assert_int_eq(sum->entries, 2);
    ck_assert_double_eq(sum->bytes, 200);
    ck_assert_double_eq_tol(sum->roofline, 200.0 / 100 / 4, 1e-12); /* bound by memory: 2 s of 4 */
    double share = 0;
    for (int i = 0; i < n; i++) share += v[i].share;
    ck_assert_double_eq_tol(share, 1, 1e-12);
    for (int i = 1; i < n; i++) ck_assert(v[i - 1].seconds >= v[i].seconds);
    free(v);
    tn_profile_free(r);
}
END_TEST

START_TEST(by_operation_and_layer)
{
    tn_profile_report *r = sample(true);
    tn_profile_row *v;
    int n;
    ck_assert_int_eq(tn_profile_rows(r, TN_BY_OPERATION, &v, &n, NULL), 0);
    ck_assert_int_eq(n, 3);
    ck_assert_double_eq(row(v, n, "linear", NULL)->flops, 890);
    ck_assert_double_eq_tol(row(v, n, "linear", NULL)->roofline, 890.0 / 200 / 14, 1e-12);
    ck_assert_double_eq(row(v, n, "mystery", NULL)->roofline, 0);
    free(v);
    ck_assert_int_eq(tn_profile_rows(r, TN_BY_LAYER, &v, &n, NULL), 0);
    ck_assert_int_eq(n, 2);
    ck_assert_double_eq(row(v, n, "a", NULL)->flops, 410);
    ck_assert_double_eq(row(v, n, "b", NULL)->flops, 0); /* one of its nodes is unknown */
    free(v);
    tn_profile_free(r);
}
END_TEST

START_TEST(by_entry)
{
    tn_profile_report *r = sample(false);
    tn_profile_row *v;
    int n;
    ck_assert_int_eq(tn_profile_rows(r, TN_BY_ENTRY, &v, &n, NULL), 0);
    ck_assert_int_eq(n, r->n);
    for (int i = 0; i < n; i++) ck_assert(v[i].layer && v[i].operation && v[i].kernel && v[i].entries == 1);
    ck_assert_double_eq(row(v, n, "panel", "other")->flops, 90);
    free(v);
    tn_profile_free(r);
}
END_TEST

START_TEST(sums)
{
    tn_profile_report *r = sample(false);
    ck_assert_double_eq(r->flops, 910);
    ck_assert_double_eq(r->bytes, 289);
    tn_profile_free(r);
    r = sample(true);
    ck_assert_double_eq(r->flops, 0); /* a sum of what is known would look like the whole */
    ck_assert_double_eq(r->bytes, 0);
    tn_profile_free(r);
}
END_TEST

START_TEST(as_json)
{
    tn_profile_report *r = sample(true);
    tn_error err = {0};
    char *text;
    json_t *j;
    ck_assert_msg(!tn_profile_json(r, &text, &err), "%s", err.message);
    ck_assert_msg(!tn_json_parse(&j, text, strlen(text), "the report", &err), "%s", err.message);
    ck_assert_int_eq((int)json_array_size(json_object_get(j, "entries")), r->n);
    ck_assert_int_eq((int)json_array_size(json_object_get(j, "kernels")), 5);
    ck_assert_int_eq((int)json_array_size(json_object_get(j, "layers")), 2);
    ck_assert(json_is_null(json_object_get(j, "result"))); /* a loss that is not a number is none in JSON either */
    json_decref(j);
    free(text);
    tn_profile_free(r);
}
END_TEST

int main(void)
{
    return run_tests("profile", 4, TESTS(ONCE(by_kernel), ONCE(by_operation_and_layer), ONCE(by_entry), ONCE(sums), ONCE(as_json)));
}
