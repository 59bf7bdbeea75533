/** The parts of test-bench, a file for each subject. */
#ifndef TN_TEST_BENCH_H
#define TN_TEST_BENCH_H
#include "../testlib.h"

void bench_stats(Suite *s);
void bench_results(Suite *s);
void bench_budget(Suite *s);
void bench_machine(Suite *s);
void bench_measure(Suite *s);
#endif
