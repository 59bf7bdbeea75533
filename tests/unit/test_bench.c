/* A benchmark's statistics, its rules for what counts, its document and pages; and that a wrong kernel has no time. */
#include "ceiling.h"
#include "clock.h"
#include "compare.h"
#include "fake_root.h"
#include "files.h"
#include "host.h"
#include "measure.h"
#include "parts.h"
#include "points.h"
#include "traffic.h"
#include "units.h"
#include "words.h"
#include "../testdev.h"
#include "../testlib.h"

#include <math.h>
#include <sched.h>
#include <string.h>

/* ---- statistics ---- */

START_TEST(interval_of_a_median)
{
    double v[101];
    tn_sampled s, again;
    for (int i = 0; i < 101; i++) v[i] = (i * 37) % 101; /* 0 to 100, mixed */
    ck_assert(tn_sampled_of(&s, v, 101));
    ck_assert_double_eq(s.median, 50);
    /* The order statistics of the binomial interval: 40 and 60, of 101. */
    ck_assert_double_eq_tol(s.low, 40, 3);
    ck_assert_double_eq_tol(s.high, 60, 3);
    ck_assert_double_eq(v[1], 37); /* as it was */
    ck_assert(tn_sampled_of(&again, v, 101));
    ck_assert_mem_eq(&s, &again, sizeof s);
    for (int i = 0; i < 4; i++) v[i] = 7;
    ck_assert(tn_sampled_of(&s, v, 4));
    ck_assert(s.median == 7 && s.low == 7 && s.high == 7 && s.drift == 0 && !s.drifts);
    v[0] = 1, v[1] = 3;
    ck_assert(tn_sampled_of(&s, v, 2));
    ck_assert(s.median == 2 && s.low == 1 && s.high == 3);
}
END_TEST

START_TEST(quantiles)
{
    const double v[] = {1, 2, 3, 4, 11};
    ck_assert_double_eq(tn_quantile(v, 5, 0), 1);
    ck_assert_double_eq(tn_quantile(v, 5, 0.5), 3);
    ck_assert_double_eq(tn_quantile(v, 5, 1), 11);
    ck_assert_double_eq_tol(tn_quantile(v, 5, 0.95), 9.6, 1e-12);
    ck_assert_double_eq(tn_quantile(v, 1, 0.99), 1);
}
END_TEST

START_TEST(drift)
{
    double v[30];
    tn_sampled s;
    for (int i = 0; i < 30; i++) v[i] = (i < 10 ? 1.0 : i < 20 ? 1.1 : 1.2) + 0.001 * (i % 3);
    ck_assert(tn_sampled_of(&s, v, 30));
    ck_assert_double_eq_tol(s.drift, 0.2, 0.005);
    ck_assert(s.drifts);
    for (int i = 0; i < 30; i++) v[i] = 1 + 0.02 * (i >= 20); /* too little */
    ck_assert(tn_sampled_of(&s, v, 30));
    ck_assert(!s.drifts);
    for (int i = 0; i < 30; i++) v[i] = 1 + (i * 17) % 30 / 10.0; /* more, but within what single ones vary by */
    ck_assert(tn_sampled_of(&s, v, 30));
    ck_assert(!s.drifts);
}
END_TEST

/* ---- documents ---- */

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

typedef struct {
    int calls, of_it;
} listener;

static int stop_soon(void *user, const tn_progress *p)
{
    listener *l = user;
    l->calls++;
    if (p->phase != TN_PHASE_MEASURING) return 0;
    ck_assert_str_eq(p->what, "measuring");
    ck_assert(p->item && p->total == 4 && p->done >= 0 && p->done < 4);
    return ++l->of_it == 2;
}

START_TEST(stopped_by_its_callback)
{
    listener l = {0};
    tn_run_options o = TN_RUN_OPTIONS_INIT;
    tn_bench_options p = TN_BENCH_OPTIONS_INIT;
    tn_bench_result *r;
    tn_error err;
    o.progress = stop_soon;
    o.user = &l;
    o.cache = "off";
    o.device = getenv("TRACKNET_TEST_DEVICE");
    p.effort = TN_BENCH_QUICK;
    p.parts = "links";
    ck_assert_int_eq(tn_bench_run(&o, &p, &r, &err), TN_ERR_CANCELLED);
    ck_assert_ptr_null(r);
    ck_assert_int_eq(l.of_it, 2);
    ck_assert_ptr_nonnull(strstr(err.message, "stopped while measuring"));
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

START_TEST(figures_as_text)
{
    char b[TN_FIGURE];
    ck_assert_str_eq(tn_bench_figure(b, 4.52e10, "B/s"), "45.2 GB/s");
    ck_assert_str_eq(tn_bench_figure(b, 1.234e-5, "s"), "12.3 us");
    ck_assert_str_eq(tn_bench_figure(b, 85e6, "B"), "81.1 MiB");
    ck_assert_str_eq(tn_bench_figure(b, 3.884e11, "FLOP/s"), "388 GFLOP/s");
    ck_assert_str_eq(tn_bench_figure(b, 352000, "1/s"), "352 k/s");
    ck_assert_str_eq(tn_bench_figure(b, 2020, "img/s"), "2020 img/s");
    ck_assert_str_eq(tn_bench_figure(b, 0, "s"), "0.00 s");
    ck_assert_str_eq(tn_bench_figure(b, 9.999e9, "B/s"), "10.0 GB/s");
}
END_TEST

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

/* ---- a step's points ---- */

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

/* ---- counters of the system, in a folder that looks like it ---- */

START_TEST(what_others_take)
{
    char *root = temp_path("root"), line[128];
    tn_load a, b;
    cpu_set_t set;
    int cpu = 0;
    ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
    while (!CPU_ISSET(cpu, &set)) cpu++;
    snprintf(line, sizeof line, "cpu  9 9 9 9\ncpu%d 100 0 50 1000 5 0 0 0\n", cpu);
    put("proc/stat", line);
    tn_load_now(&a, root);
    snprintf(line, sizeof line, "cpu  9 9 9 9\ncpu%d 150 0 200 9000 5 0 0 0\n", cpu);
    put("proc/stat", line);
    tn_load_now(&b, root);
    b.at = a.at + 4; /* 200 ticks of 10 ms in four seconds */
    b.own = a.own + 1;
    ck_assert_double_eq_tol(tn_load_others(&a, &b), (200.0 / (double)sysconf(_SC_CLK_TCK) - 1) / 4, 1e-9);
    b.own = a.own + 10;
    ck_assert_double_eq(tn_load_others(&a, &b), 0);
    tn_remove_tree(root, NULL);
    tn_load_now(&a, root);
    ck_assert(tn_load_others(&a, &b) < 0);
    free(root);
}
END_TEST

/* ---- jobs on a device ---- */

typedef struct {
    tn_bench b;
    double share;
    int runs, status;
    bool may_refuse;
    tn_buffer *from, *to;
} fake;

static int fake_run(void *self, tn_error *err)
{
    fake *f = self;
    f->runs++;
    return f->status ? tn_fail(err, f->status, "as it was told") : 0;
}

static int fake_compare(void *self, double *share, tn_error *err)
{
    (void)err;
    *share = ((fake *)self)->share;
    return 0;
}

static const json_t *measured(fake *f, double share, int status, double work)
{
    static const tn_bench_level level = {.name = "test", .least = 3, .most = 5, .sample = 1e-5, .figure = 1e-3};
    char id[32];
    snprintf(id, sizeof id, "fake.%zu", json_array_size(f->b.list)); /* what is there is not measured again */
    const tn_bench_job j = {.id = id,
                            .group = "fakes",
                            .name = "fake",
                            .unit = "FLOP/s",
                            .work = work,
                            .may_refuse = f->may_refuse,
                            .run = fake_run,
                            .runs = f,
                            .compare = fake_compare,
                            .self = f};
    tn_error err;
    f->b.level = &level;
    f->b.part = "fakes";
    f->share = share;
    f->status = status;
    f->runs = 0;
    ck_assert_int_eq(tn_bench_measure(&f->b, &j, &err), 0);
    return json_array_get(f->b.list, json_array_size(f->b.list) - 1);
}

START_TEST(wrong_kernels_have_no_time)
{
    tn_error err = {0};
    fake f = {.b.list = json_array(), .b.notes = json_array()};
    ck_assert_msg(!test_device(&f.b.dev, getenv("TRACKNET_TEST_DEVICE"), &err), "%s", err.message);
    f.b.info = f.b.dev->info;
    f.b.caps = f.b.dev->caps;
    const json_t *m = measured(&f, 0.5, 0, 1);
    ck_assert(tn_bench_has_value(m) && f.runs > 3 && f.b.failed == 0);
    ck_assert_str_eq(tn_json_str(m, "check", ""), "passed");
    ck_assert_ptr_null(json_object_get(m, "implausible"));
    m = measured(&f, 1.5, 0, 1);
    ck_assert(!tn_bench_has_value(m) && f.runs == 1 && f.b.failed == 1);
    ck_assert_ptr_nonnull(strstr(tn_json_str(m, "why", ""), "1.5 times the error"));
    m = measured(&f, NAN, 0, 1);
    ck_assert(!tn_bench_has_value(m) && f.b.failed == 2);
    ck_assert_ptr_nonnull(strstr(tn_json_str(m, "why", ""), "not written"));
    m = measured(&f, 0, TN_ERR_DEVICE, 1);
    ck_assert(!tn_bench_has_value(m) && f.b.failed == 3);
    ck_assert_str_eq(tn_json_str(m, "why", ""), "as it was told");
    ck_assert_str_eq(tn_json_str(m, "check", ""), "failed");
    f.may_refuse = true;
    m = measured(&f, 0, TN_ERR_DEVICE, 1);
    ck_assert_str_eq(tn_json_str(m, "check", ""), "refused");
    ck_assert(!tn_bench_has_value(m) && f.b.failed == 3);
    m = measured(&f, 1.5, 0, 1); /* but what is wrong is wrong */
    ck_assert_str_eq(tn_json_str(m, "check", ""), "failed");
    f.may_refuse = false;
    m = measured(&f, 0, TN_ERR_MEMORY, 1);
    ck_assert_str_eq(tn_json_str(m, "check", ""), "refused");
    ck_assert_int_eq(f.b.failed, 4);
    m = measured(&f, 0, 0, 1e20);
    ck_assert(tn_bench_has_value(m) && json_object_get(m, "implausible"));
    tn_dev_close(f.b.dev);
    json_decref(f.b.list);
    json_decref(f.b.notes);
}
END_TEST

/* Reading, writing and copying of sizes that no item's share divides: all of it, and nothing behind it. */
START_TEST(traffic_of_odd_sizes)
{
    enum { MOST = 64 * 1031, BEHIND = 256 };
    static float v[(MOST + BEHIND) / 4], got[(MOST + BEHIND) / 4];
    const size_t sizes[] = {64, 192, (size_t)64 * 257, MOST}, whole = sizeof v;
    tn_error err = {0};
    tn_dev *d;
    tn_ctx c;
    tn_buffer *from, *to;
    tn_rng r = tn_rng_named(1, "traffic");
    ck_assert_msg(!test_device(&d, getenv("TRACKNET_TEST_DEVICE"), &err), "%s", err.message);
    tn_ctx_init(&c, d);
    for (size_t i = 0; i < TN_COUNT(v); i++) v[i] = (float)tn_rng_below(&r, 8);
    ck_assert(!tn_buffer_new(&from, d, whole, "test", &err) && !tn_buffer_new(&to, d, whole, "test", &err));
    ck_assert(!tn_buffer_write(from, 0, v, whole, &err));
    for (size_t s = 0; s < TN_COUNT(sizes); s++) {
        const size_t n = sizes[s] / 4, sums = tn_read_sums(&c, sizes[s]);
        double sum = 0, want = 0;
        for (size_t i = 0; i < n; i++) want += v[i];
        ck_assert(!tn_buffer_fill(to, 0, whole, 0x7fc07fc0u, &err) && !tn_read_by_kernel(&c, from, to, sizes[s], &err));
        ck_assert(!tn_buffer_read(to, 0, got, whole, &err));
        for (size_t i = 0; i < sums; i++) sum += got[i];
        ck_assert_double_eq(sum, want);
        for (size_t i = sums; i < TN_COUNT(got); i++) ck_assert(isnan(got[i]));
        ck_assert(!tn_buffer_fill(to, 0, whole, 0x7fc07fc0u, &err) && !tn_write_by_kernel(&c, to, 5, sizes[s], &err));
        ck_assert(!tn_buffer_read(to, 0, got, whole, &err));
        for (size_t i = 0; i < TN_COUNT(got); i++) ck_assert(i < n ? got[i] == 5 : isnan(got[i]));
        ck_assert(!tn_buffer_fill(to, 0, whole, 0x7fc07fc0u, &err) && !tn_copy_by_kernel(&c, from, to, sizes[s], &err));
        ck_assert(!tn_buffer_read(to, 0, got, whole, &err));
        for (size_t i = 0; i < TN_COUNT(got); i++) ck_assert(i < n ? got[i] == v[i] : isnan(got[i]));
    }
    tn_buffer_free(to);
    tn_buffer_free(from);
    tn_ctx_free(&c);
    tn_dev_close(d);
}
END_TEST

enum { TOUCHED = 1 << 12 }; /* bytes */

static int writes(void *self, tn_error *err)
{
    fake *f = self;
    return tn_write_by_kernel(&f->b.c, f->to, 2, TOUCHED, err);
}

static int reads_beside(void *self, tn_error *err)
{
    fake *f = self;
    return tn_read_by_kernel(&f->b.c, f->from, f->to, TOUCHED, err);
}

static const json_t *of_kind(fake *f, bool gpu, bool recorded)
{
    char id[32];
    tn_error err;
    snprintf(id, sizeof id, "short.%zu", json_array_size(f->b.list));
    const tn_bench_job j = {.id = id,
                            .group = "fakes",
                            .name = "fake",
                            .unit = "s",
                            .by_context = recorded,
                            .run = writes,
                            .runs = f,
                            .beside = reads_beside,
                            .self = f};
    f->b.info.type = gpu ? TN_DEVICE_GPU : TN_DEVICE_CPU;
    ck_assert_msg(!tn_bench_measure(&f->b, &j, &err), "%s", err.message);
    const json_t *m = json_array_get(f->b.list, json_array_size(f->b.list) - 1);
    ck_assert(tn_json_num(m, "value", 0) > 0 && tn_json_num(m, "of_copy", 0) > 0);
    return m;
}

/* What a GPU does in less than 0.1 ms is timed by events; what cannot be recorded, and what a CPU does, by the host. */
START_TEST(short_runs_by_events)
{
    static const tn_bench_level level = {.name = "test", .least = 3, .most = 5, .sample = 1e-4, .figure = 1e-3};
    tn_error err = {0};
    fake f = {.b.list = json_array(), .b.notes = json_array(), .b.part = "fakes", .b.level = &level, .b.time.pace = 1};
    bool by_device = false;
    ck_assert_msg(!test_device(&f.b.dev, getenv("TRACKNET_TEST_DEVICE"), &err), "%s", err.message);
    tn_ctx_init(&f.b.c, f.b.dev);
    f.b.info = f.b.dev->info;
    ck_assert(!tn_buffer_new(&f.from, f.b.dev, TOUCHED, "test", &err) && !tn_buffer_new(&f.to, f.b.dev, TOUCHED, "test", &err));
    ck_assert(!tn_buffer_fill(f.from, 0, TOUCHED, 0, &err));
    ck_assert_str_eq(tn_json_str(of_kind(&f, false, true), "clock", ""), "host");
    ck_assert_str_eq(tn_json_str(of_kind(&f, true, false), "clock", ""), "host");
    for (int i = 0; i < 100 && !by_device; i++) /* where others keep the processors busy it may take longer now and then */
        by_device = !strcmp(tn_json_str(of_kind(&f, true, true), "clock", ""), "device");
    ck_assert(by_device);
    tn_buffer_free(f.to);
    tn_buffer_free(f.from);
    tn_ctx_free(&f.b.c);
    tn_dev_close(f.b.dev);
    json_decref(f.b.list);
    json_decref(f.b.notes);
}
END_TEST

/* Every width reads each of its floats once, and is checked; latency has a figure where events tell it. */
START_TEST(reads_as_clpeak)
{
    static const tn_bench_level level = {.name = "test", .least = 3, .most = 3, .figure = 1e-3};
    tn_error err = {0};
    tn_bench b = {
        .list = json_array(), .notes = json_array(), .left = json_array(), .part = "clpeak", .level = &level, .time.pace = 1};
    size_t i;
    json_t *m;
    ck_assert_msg(!test_device(&b.dev, getenv("TRACKNET_TEST_DEVICE"), &err), "%s", err.message);
    tn_ctx_init(&b.c, b.dev);
    b.info = b.dev->info;
    b.info.largest_allocation = 9u << 20; /* so that little is read */
    ck_assert_msg(!tn_bench_clpeak_read(&b, &err), "%s", err.message);
    ck_assert_uint_eq(json_array_size(b.list), 5);
    json_array_foreach(b.list, i, m)
    {
        ck_assert_str_eq(tn_json_str(m, "check", ""), "passed");
        ck_assert(tn_json_num(m, "value", 0) > 0 && tn_json_int(m, "runs", 0) >= 20);
    }
    ck_assert_msg(!tn_bench_clpeak_launch(&b, &err), "%s", err.message);
    ck_assert_uint_le(json_array_size(b.list), 6);
    tn_ctx_free(&b.c);
    tn_dev_close(b.dev);
    json_decref(b.list);
    json_decref(b.notes);
    json_decref(b.left);
}
END_TEST

/* ---- time ---- */

START_TEST(parts_of_a_budget)
{
    tn_budget t = {.begin = tn_now(), .seconds = 100};
    tn_budget_part(&t, 0.5);
    ck_assert_double_eq_tol(tn_budget_left(&t), 50, 0.5);
    ck_assert(tn_budget_allows(&t, 0, 10, 0));
    ck_assert_double_eq(t.pace, 1);
    t.step -= 2; /* the first took two seconds: nine more have time */
    ck_assert(tn_budget_allows(&t, 1, 10, 0));
    ck_assert_double_eq(t.pace, 1);
    t.begin -= 40, t.end -= 40, t.step -= 2; /* ten seconds for eight: shorter figures */
    ck_assert(tn_budget_allows(&t, 2, 10, 0));
    ck_assert(t.pace > 0.1 && t.pace < 0.6);
    t.end -= 9, t.step -= 2; /* one second is left */
    ck_assert(!tn_budget_allows(&t, 3, 10, 0));
    ck_assert(!tn_budget_allows(&t, 4, 10, 0)); /* it takes no less for having left one out */
    tn_budget_part(&t, 1);                      /* what is left, and what comes later, is the next part's */
    ck_assert(tn_budget_allows(&t, 0, 4, 0));
    ck_assert_double_eq(t.pace, 1);
    t.step -= 9; /* of which eight went into kernels: they are there now */
    ck_assert(tn_budget_allows(&t, 1, 4, 8));
    ck_assert_double_eq_tol(t.took, 1, 0.1);
    t = (tn_budget){.pace = 1}; /* no end */
    tn_budget_part(&t, 0.1);
    ck_assert(tn_budget_allows(&t, 0, 1, 0) && tn_budget_left(&t) > 1e8);
}
END_TEST

START_TEST(what_is_left_out)
{
    tn_text t = {0};
    json_t *d = json_pack("{s:[s, s, s, s, s]}", "left_out", "products: float32 x 8", "products: float32 x 9",
                          "products: float16 x 1", "work: train vit-b", "vit-l");
    tn_bench_left(&t, d);
    ck_assert_str_eq(t.s, "products: float32 x 8 and 2 more; work: train vit-b; vit-l");
    tn_text_free(&t);
    json_decref(d);
    d = json_object();
    tn_bench_left(&t, d);
    ck_assert_ptr_null(t.s);
    json_decref(d);
}
END_TEST

START_TEST(stages_and_words)
{
    char name[64];
    ck_assert_int_eq(tn_bench_stages("links,kernels,work", "a,b"), 11);
    ck_assert_int_eq(tn_bench_stages("few-tokens, memory", "a,b"), 2);
    ck_assert_str_eq(tn_bench_stage_name(name, "few-tokens,memory,work", "a, b", 0), "memory");
    ck_assert_str_eq(tn_bench_stage_name(name, "few-tokens,memory,work", "a, b", 1), "few tokens");
    ck_assert_str_eq(tn_bench_stage_name(name, "few-tokens,memory,work", "a, b", 3), "b");
    ck_assert(tn_bench_is_part("clpeak") && tn_bench_is_part("clpeak-read") && tn_bench_is_part("work") &&
              !tn_bench_is_part("wor"));
    ck_assert(tn_has_word("a,bc", "bc") && !tn_has_word("a,bc", "b") && tn_count_words("") == 0);
}
END_TEST

START_TEST(ceilings_know_caches)
{
    tn_bench b = {.info = {.type = TN_DEVICE_CPU, .compute_units = 4, .clock_mhz = 3000}, .caps = TN_CAP_CPU | TN_CAP_AVX512};
    char why[200];
    const tn_bench_job j = {.unit = "B/s", .set = 1 << 20};
    b.curve[0].set = 1 << 20, b.curve[0].rate = 200e9;
    b.curve[1].set = 1 << 27, b.curve[1].rate = 20e9;
    b.n_curve = 2;
    ck_assert_double_eq(tn_ceiling_bytes(&b, 1 << 20), 400e9);
    ck_assert_double_eq(tn_ceiling_bytes(&b, 1 << 27), 40e9);
    ck_assert_double_eq(tn_ceiling_bytes(&b, 1e12), 40e9);
    tn_ceiling_judge(why, sizeof why, &b, &j, 300e9);
    ck_assert_str_eq(why, "");
    tn_ceiling_judge(why, sizeof why, &b, &j, 500e9);
    ck_assert_ptr_nonnull(strstr(why, "500 GB/s is more than this device can do"));
    ck_assert_double_eq(tn_ceiling_flops(&b, TN_F32), 4 * 6e9 * 64);
    b.caps |= TN_CAP_AMX_BF16;
    ck_assert_double_eq(tn_ceiling_flops(&b, TN_BF16), 4 * 6e9 * 2048);
    b.info = (tn_device_info){.type = TN_DEVICE_GPU, .compute_units = 132, .clock_mhz = 1980};
    b.caps = TN_CAP_NV_PTX | TN_CAP_NV_MMA80 | TN_CAP_NV_WGMMA; /* an H100: 989 TFLOP/s of bfloat16 are sold at 1.83 GHz */
    ck_assert_double_eq_tol(tn_ceiling_flops(&b, TN_BF16), 1.1 * 132 * 1.98e9 * 4096, 1);
    ck_assert(tn_ceiling_flops(&b, TN_BF16) > 989e12 && tn_ceiling_flops(&b, TN_F32) > 67e12);
}
END_TEST

int main(void)
{
    return run_tests("bench", 60,
                     TESTS(ONCE(interval_of_a_median), ONCE(quantiles), ONCE(drift), ONCE(round_trip), ONCE(refusals),
                           ONCE(stopped_by_its_callback), ONCE(what_is_noise), ONCE(compared), ONCE(figures_as_text),
                           ONCE(page_is_escaped), ONCE(points_of_nodes), ONCE(what_others_take), ONCE(wrong_kernels_have_no_time),
                           ONCE(short_runs_by_events), ONCE(reads_as_clpeak), ONCE(parts_of_a_budget), ONCE(what_is_left_out),
                           ONCE(stages_and_words), ONCE(traffic_of_odd_sizes), ONCE(ceilings_know_caches)));
}
