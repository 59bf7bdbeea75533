/* What samples say, and how a figure is written. */
#include "bench.h"
#include "stats.h"
#include "units.h"

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

void bench_stats(Suite *s)
{
    add_tests(s, "stats", 60, TESTS(ONCE(interval_of_a_median), ONCE(quantiles), ONCE(drift), ONCE(figures_as_text)));
}
