/* A benchmark's statistics, its rules for what counts, its document and pages; and that a wrong kernel has no time. */
#include "bench.h"

int main(void)
{
    Suite *s = suite_create("bench");
    bench_stats(s);
    bench_results(s);
    bench_budget(s);
    bench_machine(s);
    bench_measure(s);
    return run_suite(s);
}
