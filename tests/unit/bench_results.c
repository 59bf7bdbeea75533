/* A benchmark's document, two side by side, and its page. */
#include "bench.h"
#include "compare.h"
#include "files.h"
#include "points.h"
#include "result.h"
#include "units.h"

#include <string.h>

static json_t *measurement(const char *id, const char *unit, double value, double spread)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:f, s:f, s:i, s:f, s:b}", "id", id, "group", "work", "name", id, "unit",
                     unit, "better", strcmp(unit, "s") != 0 ? "more" : "less", "check", "passed", "value", value, "low",
                     value * (1 - spread), "high", value * (1 + spread), "samples", 9, "drift", 0.0, "drifts", false);
}

static json_t *document(const char *device, double speed)
{
    json_t *list = json_array(), *step;
    json_array_append_new(list, measurement("a.rate", "img/s", 10 * speed, 0.01));
    json_array_append_new(list, measurement("a.time", "s", 2 / speed, 0.01));
    json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "id", "a.bad", "group", "work", "name", "bad",
                                          "unit", "s", "better", "less", "check", "failed", "why", "wrong: a <b> & \"c\""));
    step = json_pack(
        "{s:s, s:s, s:s, s:i, s:f, s:f, s:f, s:{s:f, s:s, s:f, s:s}, s:[{s:s, s:i, s:f, s:f, s:f}], s:[{s:s, s:f}], s:[{s:s, "
        "s:f}]}",
        "what", "train", "size", "vit-s", "storage", "float32", "batch", 2, "seconds", 0.5, "step_seconds", 0.6, "idle", 0.1,
        "roofline", "bytes_per_second", 1e10, "copied_by", "a kernel", "flops_per_second", 1e11, "multiplied_by", "gemm", "points",
        "kernels", "gemm <x>", "entries", 3, "seconds", 0.5, "flops", 1e10, "bytes", 1e8, "kernels", "kernel", "gemm <x>",
        "seconds", 0.5, "layers", "layer", "layer.0", "seconds", 0.5);
    return json_pack(
        "{s:s, s:i, s:s, s:s, s:s, s:s, s:{s:s, s:i, s:s, s:s}, s:[{s:{s:s, s:s, s:s, s:s, s:i}, s:o, s:[s], s:[o], s:f, "
        "s:f}]}",
        "schema", "tracknet-bench", "version", 1, "tracknet", "0.1.0", "time", "2026-01-01T00:00:00Z", "effort", "quick", "command",
        "tracknet bench", "host", "processor", "some", "processors", 2, "system", "Linux", "release", "6", "devices", "identity",
        "name", device, "type", "CPU", "version", "OpenCL 3.0", "driver", "1", "index", 0, "measurements", list, "notes", "a note",
        "steps", step, "others", 0.0, "seconds", 3.0);
}

static tn_bench_result *result(const char *device, double speed, const char *name)
{
    tn_bench_result *r;
    json_t *j = document(device, speed);
    ck_assert_ptr_nonnull(j);
    ck_assert_int_eq(tn_bench_result_new(&r, j, name, NULL), 0);
    return r;
}

START_TEST(round_trip)
{
    tn_bench_result *r = result("dev", 1, ""), *back;
    char *path = temp_path("r.json");
    tn_error err;
    ck_assert_int_eq(tn_bench_write(r, path, &err), 0);
    ck_assert_int_eq(tn_bench_read(&back, path, &err), 0);
    ck_assert(json_equal(r->j, back->j));
    ck_assert_str_eq(back->name, "r.json");
    ck_assert_int_eq(tn_bench_failures(back), 1);
    tn_bench_free(back);
    tn_bench_free(r);
    free(path);
}
END_TEST

static void refuses(json_t *j, const char *part)
{
    tn_bench_result *r;
    tn_error err = {0};
    char *path = temp_path("bad.json");
    ck_assert_int_eq(tn_json_write(j, path, &err), 0);
    ck_assert_int_eq(tn_bench_read(&r, path, &err), TN_ERR_FORMAT);
    ck_assert_ptr_null(r);
    ck_assert_msg(strstr(err.message, part) && strstr(err.message, path), "%s", err.message);
    json_decref(j);
    free(path);
}

START_TEST(refusals)
{
    json_t *j = document("dev", 1);
    json_object_set_new(j, "version", json_integer(2));
    refuses(j, "version 2 of the schema, this tracknet reads version 1");
    refuses(json_pack("{s:s}", "some", "thing"), "no result of 'tracknet bench");
    refuses(json_pack("[i]", 1), "no result of 'tracknet bench");
    j = document("dev", 1);
    json_object_set_new(j, "devices", json_array());
    refuses(j, "no devices");
    j = document("dev", 1);
    json_object_del(json_array_get(json_object_get(j, "devices"), 0), "identity");
    refuses(j, "no identity");
    j = document("dev", 1);
    json_object_del(json_array_get(json_object_get(json_array_get(json_object_get(j, "devices"), 0), "measurements"), 1), "high");
    refuses(j, "measurement 1 of device 0 has no 'high'");
    tn_bench_result *r;
    tn_error err;
    ck_assert_int_eq(tn_bench_read(&r, "/nowhere/x.json", &err), TN_ERR_IO);
    tn_bench_options o = TN_BENCH_OPTIONS_INIT;
    o.parts = "links,colours";
    ck_assert_int_eq(tn_bench_run(NULL, &o, &r, &err), TN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "no part 'colours'"));
    o.parts = NULL;
    o.sizes = "vit-nowhere";
    ck_assert_int_eq(tn_bench_run(NULL, &o, &r, &err), TN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "no backbone 'vit-nowhere'"));
    o.version = 99;
    ck_assert_int_eq(tn_bench_run(NULL, &o, &r, &err), TN_ERR_ARGUMENT);
}
END_TEST

/* ---- side by side ---- */

static bool noise(double a, double b, double spread, double busy)
{
    json_t *x = measurement("x", "img/s", a, spread), *y = measurement("x", "img/s", b, spread);
    const bool is = tn_bench_is_noise(x, y, busy);
    json_decref(x);
    json_decref(y);
    return is;
}

START_TEST(what_is_noise)
{
    ck_assert(noise(10, 10.1, 0.01, 0));  /* the intervals meet */
    ck_assert(!noise(10, 10.5, 0.01, 0)); /* they do not */
    ck_assert(noise(10, 10.5, 0.03, 0));
    ck_assert(noise(10, 14, 0.01, 0.5)); /* others had half of the processors */
    ck_assert(!noise(10, 16, 0.01, 0.5));
    json_t *x = measurement("x", "s", 2, 0.01), *y = measurement("x", "s", 1, 0.01);
    ck_assert_double_eq_tol(tn_bench_ratio(x, y), 2, 1e-12); /* half the time is twice as good */
    ck_assert(!tn_bench_is_noise(x, y, 0));
    json_object_set_new(y, "drift", json_real(1.5));
    ck_assert(!tn_bench_is_noise(x, y, 0));
    json_object_set_new(y, "drifts", json_true());
    ck_assert(tn_bench_is_noise(x, y, 0));
    json_decref(x);
    json_decref(y);
    x = measurement("x", "s", 1, 0), y = measurement("x", "s", 1.05, 0); /* taken once */
    json_object_set_new(x, "samples", json_integer(1));
    ck_assert(tn_bench_is_noise(x, y, 0));
    json_object_set_new(y, "value", json_real(1.5));
    ck_assert(!tn_bench_is_noise(x, y, 0));
    json_object_set_new(y, "value", json_real(0));
    ck_assert_double_eq(tn_bench_ratio(x, y), 0);
    json_decref(x);
    json_decref(y);
}
END_TEST

START_TEST(compared)
{
    tn_bench_result *a = result("one", 1, "a.json"), *b = result("two", 2, "b.json");
    const tn_bench_result *const both[] = {a, b};
    char *text;
    tn_error err;
    ck_assert_int_eq(tn_bench_compare(both, 2, false, &text, &err), 0);
    ck_assert_ptr_nonnull(strstr(text, "A  a.json: one"));
    ck_assert_ptr_nonnull(strstr(text, "20.0 img/s   2.00 "));
    ck_assert_ptr_nonnull(strstr(text, "1.00 s   2.00 "));
    ck_assert_ptr_nonnull(strstr(text, "failed"));
    free(text);
    ck_assert_int_eq(tn_bench_compare(both, 2, true, &text, &err), 0);
    json_t *j, *row;
    ck_assert_int_eq(tn_json_parse(&j, text, strlen(text), "text", &err), 0);
    row = json_array_get(json_object_get(json_array_get(json_object_get(j, "rows"), 1), "figures"), 1);
    ck_assert_double_eq_tol(tn_json_num(row, "ratio", 0), 2, 1e-9);
    ck_assert_int_eq(tn_json_bool(row, "noise", -1), 0);
    json_decref(j);
    free(text);
    ck_assert_int_eq(tn_bench_compare(both, 1, false, &text, &err), TN_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "second result"));
    tn_bench_free(a);
    tn_bench_free(b);
}
END_TEST

/* ---- pages ---- */

START_TEST(page_is_escaped)
{
    tn_bench_result *r = result("<script>alert(1)</script> & \"x\"", 1, "");
    const tn_bench_result *const one[] = {r};
    char *text;
    ck_assert_int_eq(tn_bench_html(one, 1, &text, NULL), 0);
    ck_assert_ptr_null(strstr(text, "<script"));
    ck_assert_ptr_nonnull(strstr(text, "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;x&quot;"));
    ck_assert_ptr_nonnull(strstr(text, "gemm &lt;x&gt;"));
    ck_assert_ptr_nonnull(strstr(text, "a &lt;b&gt; &amp; &quot;c&quot;"));
    ck_assert_ptr_null(strstr(text, "http"));
    free(text);
    tn_bench_free(r);
}
END_TEST

START_TEST(points_of_nodes)
{
    tn_profile_entry e[] = {{"a", "linear", NULL, "pack", 0, 1, 400, 40}, {"a", "linear", "v", "panel", 0, 3, 0, 0},
                            {"b", "linear", NULL, "pack", 1, 1, 400, 40}, {"b", "linear", "v", "panel", 1, 2, 0, 0},
                            {"b", "sum", NULL, "sum", 2, 9, 10, 100},     {"o", "step", NULL, "fill", -1, 1, 0, 0},
                            {"o", "step", NULL, "fill", -1, 1, 0, 0}};
    const tn_profile_report r = {.entries = e, .n = TN_COUNT(e)};
    json_t *p = tn_bench_points(&r);
    ck_assert_uint_eq(json_array_size(p), 3);
    const json_t *slowest = json_array_get(p, 0), *product = json_array_get(p, 1);
    ck_assert_str_eq(tn_json_str(slowest, "kernels", ""), "sum");
    ck_assert_str_eq(tn_json_str(product, "kernels", ""), "pack + panel");
    ck_assert_double_eq_tol(tn_json_num(product, "seconds", 0), 7, 1e-12);
    ck_assert_double_eq(tn_json_num(product, "flops", 0), 800);
    ck_assert_int_eq(tn_json_int(product, "entries", 0), 4);
    ck_assert_int_eq(tn_json_int(json_array_get(p, 2), "entries", 0), 2);
    json_decref(p);
}
END_TEST

void bench_results(Suite *s)
{
    add_tests(
        s, "results", 60,
        TESTS(ONCE(round_trip), ONCE(refusals), ONCE(what_is_noise), ONCE(compared), ONCE(page_is_escaped), ONCE(points_of_nodes)));
}
