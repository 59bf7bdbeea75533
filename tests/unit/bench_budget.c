/* What time allows to measure: a budget's parts, what is left out, and who stops it. */
#include "bench.h"
#include "budget.h"
#include "clock.h"
#include "measure.h"
#include "text.h"
#include "units.h"
#include "words.h"

#include <string.h>

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

void bench_budget(Suite *s)
{
    add_tests(s, "budget", 60,
              TESTS(ONCE(parts_of_a_budget), ONCE(what_is_left_out), ONCE(stages_and_words), ONCE(stopped_by_its_callback)));
}
