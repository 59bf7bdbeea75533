/** Shared by the Check suites: temporary paths below one folder, and a runner that prints a TAP-like summary. */
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

static inline int run_suite(Suite *s)
{
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    const int failed = srunner_ntests_failed(r), run = srunner_ntests_run(r);
    srunner_free(r);
    printf("%d passed, %d failed\n", run - failed, failed);
    return failed || !run;
}
#endif
