/* Numbers, text and paths. */
#include "cpus.h"
#include "fail.h"
#include "files.h"
#include "machine.h"
#include "numeric.h"
#include "unit.h"

#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

START_TEST(half_formats_round_trip)
{
    for (uint32_t h = 0; h < 65536; h++) {
        float f = tn_f16_to_f32((uint16_t)h), b = tn_bf16_to_f32((uint16_t)h);
        if (!isnan(f)) ck_assert_uint_eq(tn_f32_to_f16(f), h);
        if (!isnan(b)) ck_assert_uint_eq(tn_f32_to_bf16(b), h);
    }
    ck_assert_uint_eq(tn_f32_to_f16(65520.0f), 0x7c00);     /* rounds to infinity */
    ck_assert_uint_eq(tn_f32_to_bf16(1.00390625f), 0x3f80); /* a tie goes to even */
}
END_TEST

START_TEST(expanded_paths_use_the_environment)
{
    setenv("TN_TEST_VAR", "value", 1);
    char *p = tn_expand_path("$TN_TEST_VAR/x/${TN_TEST_VAR}y");
    ck_assert_str_eq(p, "value/x/valuey");
    free(p);
}
END_TEST

/* A process of its own for each test, so that the affinity is nobody else's. */
START_TEST(the_machine_is_what_the_process_gets)
{
    cpu_set_t all, one;
    const size_t total = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    ck_assert(!sched_getaffinity(0, sizeof all, &all));
    ck_assert_int_ge(tn_processors(), 1);
    ck_assert_int_le(tn_processors(), CPU_COUNT(&all));
    int cpu = 0;
    while (!CPU_ISSET(cpu, &all)) cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ck_assert(!sched_setaffinity(0, sizeof one, &one));
    ck_assert_int_eq(tn_processors(), 1);
    ck_assert(!sched_setaffinity(0, sizeof all, &all));
    ck_assert_uint_gt(tn_memory_free(), 0);
    ck_assert_uint_lt(tn_memory_free(), total);
}
END_TEST

/* ---- draws of dropout ---- */

enum { DRAW_COLS = 384, DRAW_ROWS = 256, DRAWS = DRAW_ROWS * DRAW_COLS, DRAW_SEEDS = 8 };

/* The threshold of 0.999 has a byte that no draw reaches. */
static const double drop_rates[] = {0.05, 0.1, 0.5, 0.999};

static uint32_t rate_threshold(int i)
{
    return (uint32_t)lround(drop_rates[i] * 65536);
}

/* How many standard deviations n draws that dropped so many are from the probability that the threshold is. */
static double sigmas_off(double dropped, double n, uint32_t threshold)
{
    const double p = threshold / 65536.0;
    return fabs(dropped - n * p) / sqrt(n * p * (1 - p));
}

START_TEST(dropout_drops_its_share)
{
    const uint32_t threshold = rate_threshold(_i);
    int dropped = 0;
    for (uint32_t s = 0; s < DRAW_SEEDS; s++)
        for (uint32_t i = 0; i < DRAWS; i++) dropped += !tn_keeps(tn_hash_u32(1, s), i, threshold);
    ck_assert_double_le(sigmas_off(dropped, (double)DRAWS * DRAW_SEEDS, threshold), 4);
}
END_TEST

START_TEST(dropout_drops_its_share_of_each_place)
{
    enum { SEEDS = 1 << 15 };
    const uint32_t threshold = rate_threshold(_i), first = 16 * 1000;
    int dropped[16] = {0};
    for (uint32_t s = 0; s < SEEDS; s++)
        for (uint32_t i = 0; i < 16; i++) dropped[i] += !tn_keeps(tn_hash_u32(2, s), first + i, threshold);
    for (int i = 0; i < 16; i++) ck_assert_double_le(sigmas_off(dropped[i], SEEDS, threshold), 5);
}
END_TEST

/* The products of two series' deviations from the mean p, over n pairs: their sum has a standard deviation of sqrt(n) p (1 - p). */
static double sigmas_together(const unsigned char *a, const unsigned char *b, int n, double p)
{
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (a[i] - p) * (b[i] - p);
    return fabs(sum) / (sqrt(n) * p * (1 - p));
}

START_TEST(dropout_drops_elements_independently)
{
    static const int apart[] = {1, 8, 16, DRAW_COLS};
    static unsigned char a[DRAWS], b[DRAWS];
    const uint32_t threshold = rate_threshold(_i);
    for (uint32_t s = 100; s < 103; s++) {
        for (uint32_t i = 0; i < DRAWS; i++) a[i] = !tn_keeps(s, i, threshold), b[i] = !tn_keeps(s + 1, i, threshold);
        for (size_t k = 0; k < TN_COUNT(apart); k++)
            ck_assert_double_le(sigmas_together(a, a + apart[k], DRAWS - apart[k], threshold / 65536.0), 5);
        ck_assert_double_le(sigmas_together(a, b, DRAWS, threshold / 65536.0), 5);
    }
}
END_TEST

START_TEST(dropout_of_none_and_of_all)
{
    for (uint32_t i = 0; i < 1 << 16; i++) ck_assert(tn_keeps(7, i, 0) && !tn_keeps(7, i, 65536));
}
END_TEST

/* ---- processors, as a folder with sys/ and proc/ says ---- */

static const char *cpus_root(void)
{
    static char *root;
    if (!root) root = temp_path("machine");
    return root;
}

static void says(const char *file, const char *text)
{
    char *path = tn_path(cpus_root(), file), *dir = strdup(path);
    tn_error e = {0};
    *strrchr(dir, '/') = 0;
    ck_assert_msg(!tn_mkdirs(dir, &e) && !tn_write_file(path, text, strlen(text), &e), "%s", e.message);
    free(dir);
    free(path);
}

/* Processors 0 to n - 1 with two hardware threads a core: i and i + n / 2, or, where `adjacent`, 2 i and 2 i + 1. */
static void has_smt(int n, bool adjacent)
{
    for (int i = 0; i < n; i++) {
        char file[96], text[32];
        snprintf(file, sizeof file, "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i);
        if (adjacent) snprintf(text, sizeof text, "%d-%d\n", i & ~1, i | 1);
        else snprintf(text, sizeof text, "%d,%d\n", i % (n / 2), i % (n / 2) + n / 2);
        says(file, text);
    }
}

static tn_cpus cpus_of(int from, int to)
{
    cpu_set_t mask;
    tn_cpus c;
    CPU_ZERO(&mask);
    for (int i = from; i <= to; i++) CPU_SET(i, &mask);
    tn_cpus_read(&c, &mask, cpus_root());
    return c;
}

static void cpus_are(tn_cpus c, int online, int allowed, int cores, int quota)
{
    ck_assert_int_eq(c.online, online);
    ck_assert_int_eq(c.allowed, allowed);
    ck_assert_int_eq(c.cores, cores);
    ck_assert_int_eq(c.quota, quota);
}

START_TEST(threads_follow_the_affinity)
{
    cpus_are(cpus_of(0, 3), 4, 4, 4, INT_MAX); /* nothing is said */
    const tn_cpus unknown = cpus_of(0, 3);
    ck_assert(tn_cpus_threads(&unknown, 0) == 4 && !tn_cpus_bindable(&unknown, 4));
    says("sys/devices/system/cpu/online", "0-3\n");
    const tn_cpus all = cpus_of(0, 3), some = cpus_of(2, 3);
    cpus_are(all, 4, 4, 4, INT_MAX);
    ck_assert(tn_cpus_bindable(&all, 4) && !tn_cpus_bindable(&all, 2)); /* another process would be bound to the same two */
    ck_assert(tn_cpus_threads(&all, 3) == 3 && tn_cpus_threads(&all, 9) == 4);
    cpus_are(some, 4, 2, 2, INT_MAX);
    ck_assert(tn_cpus_threads(&some, 0) == 2 && !tn_cpus_bindable(&some, 2));
    says("sys/devices/system/cpu/online", "0-1,4-5\n");
    const tn_cpus gap = cpus_of(0, 3);
    ck_assert(!tn_cpus_bindable(&gap, 4));
    says("sys/devices/system/cpu/online", "0\n");
    const tn_cpus one = cpus_of(0, 0);
    ck_assert(tn_cpus_threads(&one, 0) == 1 && tn_cpus_bindable(&one, 1));
}
END_TEST

START_TEST(threads_of_a_core_are_known)
{
    says("sys/devices/system/cpu/online", "0-7\n");
    has_smt(8, false);
    const tn_cpus apart = cpus_of(0, 7), half = cpus_of(0, 4);
    cpus_are(apart, 8, 8, 4, INT_MAX);
    ck_assert(tn_cpus_bindable(&apart, 8) && tn_cpus_bindable(&apart, 4) && !tn_cpus_bindable(&apart, 3));
    cpus_are(half, 8, 5, 4, INT_MAX);
    ck_assert(!tn_cpus_bindable(&half, 4));
    has_smt(8, true);
    const tn_cpus together = cpus_of(0, 7);
    cpus_are(together, 8, 8, 4, INT_MAX);
    ck_assert(tn_cpus_bindable(&together, 8) && !tn_cpus_bindable(&together, 4)); /* 0 to 3 are two cores */
}
END_TEST

START_TEST(threads_follow_the_control_group)
{
    says("sys/devices/system/cpu/online", "0-7\n");
    says("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    says("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    cpus_are(cpus_of(0, 7), 8, 8, 8, INT_MAX);
    says("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "350000\n");
    const tn_cpus v1 = cpus_of(0, 7);
    cpus_are(v1, 8, 8, 8, 4);
    ck_assert(tn_cpus_threads(&v1, 0) == 4 && tn_cpus_threads(&v1, 6) == 6 && !tn_cpus_bindable(&v1, 8));
    says("sys/fs/cgroup/cpu.max", "300000 100000\n");
    cpus_are(cpus_of(0, 7), 8, 8, 8, 3);
    says("proc/self/cgroup", "1:cpu:/x\n0::/user.slice/run.scope\n");
    says("sys/fs/cgroup/cpu.max", "max 100000\n");
    says("sys/fs/cgroup/user.slice/cpu.max", "200000 100000\n");
    says("sys/fs/cgroup/user.slice/run.scope/cpu.max", "250000 100000\n");
    cpus_are(cpus_of(0, 7), 8, 8, 8, 2); /* the least of those it is in */
}
END_TEST

void unit_base(Suite *s)
{
    add_tests(s, "base", 120,
              TESTS(ONCE(half_formats_round_trip), ONCE(expanded_paths_use_the_environment),
                    ONCE(the_machine_is_what_the_process_gets), ONCE(threads_follow_the_affinity),
                    ONCE(threads_of_a_core_are_known), ONCE(threads_follow_the_control_group),
                    TIMES(dropout_drops_its_share, TN_COUNT(drop_rates)),
                    TIMES(dropout_drops_its_share_of_each_place, TN_COUNT(drop_rates)),
                    TIMES(dropout_drops_elements_independently, TN_COUNT(drop_rates)), ONCE(dropout_of_none_and_of_all)));
}
