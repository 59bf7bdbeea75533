/* Jobs on a device: a wrong kernel has no time, short ones are timed by events, traffic is all of what is counted. */
#include "bench.h"
#include "measure.h"
#include "parts.h"
#include "result.h"
#include "traffic.h"
#include "../testdev.h"

#include <math.h>
#include <string.h>

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

void bench_measure(Suite *s)
{
    add_tests(
        s, "measure", 60,
        TESTS(ONCE(wrong_kernels_have_no_time), ONCE(short_runs_by_events), ONCE(reads_as_clpeak), ONCE(traffic_of_odd_sizes)));
}
