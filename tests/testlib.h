/** Shared by the Check suites: temporary paths below one folder, lists of tests, and one runner that prints `N passed, N failed`.
 */
#ifndef TN_TESTLIB_H
#define TN_TESTLIB_H
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/** A path below a folder of this process; caller frees. */
static inline char *temp_path(const char *name)
{
    static char dir[64];
    snprintf(dir, sizeof dir, "/tmp/tracknet-test-%ld", (long)getpid());
    mkdir(dir, 0777);
    char *p = malloc(256);
    if (p) snprintf(p, 256, "%s/%s", dir, name);
    return p;
}

/** A test that runs `loops` times, with _i from 0 on. */
typedef struct test_case {
    const TTest *run;
    int loops;
} test_case;
#define ONCE(test)                                                                                                                 \
    {                                                                                                                              \
        test, 1                                                                                                                    \
    }
#define TIMES(test, n)                                                                                                             \
    {                                                                                                                              \
        test, (int)(n)                                                                                                             \
    }
#define TESTS(...) ((const test_case[]){__VA_ARGS__, ONCE(NULL)})

/** Tests that may take so many seconds each. */
static inline void add_tests(Suite *s, const char *name, double seconds, const test_case *t)
{
    TCase *c = tcase_create(name);
    tcase_set_timeout(c, seconds);
    for (; t->run; t++) tcase_add_loop_test(c, t->run, 0, t->loops);
    suite_add_tcase(s, c);
}

static inline int run_suite(Suite *s)
{
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    const int failed = srunner_ntests_failed(r), run = srunner_ntests_run(r);
    srunner_free(r);
    printf("%d passed, %d failed\n", run - failed, failed);
    return failed || !run;
}

/** A suite of one list: the whole of a main. */
static inline int run_tests(const char *name, double seconds, const test_case *t)
{
    Suite *s = suite_create(name);
    add_tests(s, name, seconds, t);
    return run_suite(s);
}
#endif
