/* Threads of CPU devices: what tn_cpu_threads leaves in the environment, and what PoCL makes of it. Each test has a process of its
 * own, in which nobody asked for devices before. */
#include "cpus.h"
#include "../testlib.h"

#include <dirent.h>
#include <string.h>
#include <tracknet/tracknet.h>

static tn_error err;

static void clear(void)
{
    static const char *const names[] = {"POCL_AFFINITY",
                                        "POCL_MAX_PTHREAD_COUNT",
                                        "POCL_CPU_MAX_CU_COUNT",
                                        "POCL_PTHREAD_MIN_THREADS",
                                        "CL_CONFIG_CPU_TBB_NUM_WORKERS",
                                        "LP_NUM_THREADS"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
}

static cpu_set_t affinity(void)
{
    cpu_set_t all;
    ck_assert(!sched_getaffinity(0, sizeof all, &all));
    return all;
}

/* To the last processor that it may use, which PoCL would not bind a single thread to. */
static int keep_one(void)
{
    const cpu_set_t all = affinity();
    cpu_set_t one;
    int last = CPU_SETSIZE - 1;
    while (!CPU_ISSET(last, &all)) last--;
    CPU_ZERO(&one);
    CPU_SET(last, &one);
    ck_assert(!sched_setaffinity(0, sizeof one, &one));
    return last;
}

static bool pocl; /* the device that cpu_units looked at */

static unsigned cpu_units(void)
{
    tn_device_info **v;
    int n, at;
    ck_assert_msg(!tn_device_list(&v, &n, &err) && !tn_device_select(&at, "cpu", &err), "%s", err.message);
    const unsigned units = v[at]->compute_units;
    pocl = strstr(v[at]->platform, "Portable Computing Language") != NULL;
    tn_device_list_free(v);
    return units;
}

/* Threads of this process that may run on a single processor, and those that may run on one outside `mask`. */
static void count_bound(int *bound, int *outside, const cpu_set_t *mask)
{
    DIR *d = opendir("/proc/self/task");
    *bound = *outside = 0;
    for (struct dirent *e; (e = readdir(d));) {
        cpu_set_t its, both;
        if (e->d_name[0] == '.' || sched_getaffinity(atoi(e->d_name), sizeof its, &its)) continue;
        CPU_AND(&both, &its, mask);
        *bound += CPU_COUNT(&its) == 1;
        *outside += !CPU_EQUAL(&both, &its);
    }
    closedir(d);
}

START_TEST(the_limit_is_taken)
{
    clear();
    ck_assert_msg(!tn_cpu_threads(1, &err), "%s", err.message);
    ck_assert_str_eq(getenv("POCL_MAX_PTHREAD_COUNT"), "1");
    ck_assert_uint_eq(cpu_units(), 1);
}
END_TEST

START_TEST(all_processors_are_bound_to)
{
    const cpu_set_t all = affinity();
    tn_cpus c;
    int bound, outside;
    clear();
    tn_cpus_read(&c, &all, "");
    ck_assert_msg(!tn_cpu_threads(0, &err), "%s", err.message);
    const bool should = tn_cpus_bindable(&c, tn_cpus_threads(&c, 0)); /* not where this test itself is kept to some */
    ck_assert_int_eq(getenv("POCL_AFFINITY") != NULL, should);
    ck_assert_uint_eq(cpu_units(), (unsigned)tn_cpus_threads(&c, 0));
    count_bound(&bound, &outside, &all);
    ck_assert_int_eq(outside, 0);
    if (should && pocl) ck_assert_int_ge(bound, c.online);
}
END_TEST

/* PoCL by itself has a thread for every processor of the machine then, and would bind them to those. */
START_TEST(a_mask_is_kept)
{
    int bound, outside;
    clear();
    keep_one();
    const cpu_set_t one = affinity();
    ck_assert_msg(!tn_cpu_threads(0, &err), "%s", err.message);
    ck_assert_uint_eq(cpu_units(), 1);
    count_bound(&bound, &outside, &one);
    ck_assert_int_eq(outside, 0);
}
END_TEST

START_TEST(what_the_user_set_stays)
{
    clear();
    setenv("POCL_MAX_PTHREAD_COUNT", "1", 1);
    ck_assert_msg(!tn_cpu_threads(0, &err), "%s", err.message);
    ck_assert_str_eq(getenv("POCL_MAX_PTHREAD_COUNT"), "1");
    ck_assert_ptr_null(getenv("POCL_AFFINITY"));
    ck_assert(cpu_units() == 1 || !pocl);
}
END_TEST

START_TEST(no_affinity_stays)
{
    clear();
    setenv("POCL_AFFINITY", "0", 1);
    ck_assert_msg(!tn_cpu_threads(0, &err), "%s", err.message);
    ck_assert_str_eq(getenv("POCL_AFFINITY"), "0");
}
END_TEST

START_TEST(it_comes_once_and_first)
{
    clear();
    ck_assert_int_eq(tn_cpu_threads(-1, &err), TN_ERR_ARGUMENT);
    ck_assert_str_eq(err.message, "a CPU device cannot have -1 threads");
    (void)cpu_units();
    ck_assert_int_eq(tn_cpu_threads(1, &err), TN_ERR_ARGUMENT);
    ck_assert_str_eq(err.message, "tn_cpu_threads is called once, before anything that asks for devices");
    ck_assert_ptr_null(getenv("POCL_MAX_PTHREAD_COUNT"));
}
END_TEST

int main(void)
{
    return run_tests("threads", 60,
                     TESTS(ONCE(the_limit_is_taken), ONCE(all_processors_are_bound_to), ONCE(a_mask_is_kept),
                           ONCE(what_the_user_set_stays), ONCE(no_affinity_stays), ONCE(it_comes_once_and_first)));
}
