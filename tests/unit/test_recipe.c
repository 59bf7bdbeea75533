/* What a recipe decides from an epoch's figures. */
#include "../testlib.h"
#include "recipe.h"

#include <math.h>

static char train_loss[] = "train/loss", f1[] = "val/f1";

static tn_epoch epoch(double loss, const tn_eval_result *val)
{
    return (tn_epoch){.train_loss = loss, .validated = val != NULL, .val = val, .val_loss = val ? val->loss : 0};
}

static tn_trainer_state fresh(void)
{
    return (tn_trainer_state){.best = NAN, .es_best = NAN};
}

START_TEST(best_follows_the_loss)
{
    const double loss[] = {3, 1, 2}, score[] = {0.1, 0.2, 0.9};
    tn_settings s = {.training = {.es_monitor = f1, .es_patience = 1}};
    tn_trainer_state st = fresh();
    for (int i = 0; i < 3; i++) {
        const tn_eval_result val = {.loss = loss[i], .f1 = score[i]};
        tn_epoch e = epoch(0, &val);
        ck_assert(!tn_recipe_judge(&st, &s, &e));
        ck_assert_int_eq(e.best, i < 2);
    }
    ck_assert(st.best == 1 && st.es_best == 0.9 && !st.bad_epochs);
}
END_TEST

START_TEST(least_gain_is_early_stoppings)
{
    tn_settings s = {.training = {.es_monitor = train_loss, .es_patience = 2, .es_min_delta = 1}};
    tn_trainer_state st = fresh();
    for (int i = 0; i < 3; i++) {
        tn_epoch e = epoch(5 - 0.25 * i, NULL);
        ck_assert_int_eq(tn_recipe_judge(&st, &s, &e), i == 2);
        ck_assert(e.best);
    }
    ck_assert(st.best == 4.5 && st.es_best == 5 && st.bad_epochs == 2);
}
END_TEST

START_TEST(no_number_is_no_gain)
{
    const double loss[] = {NAN, 2, NAN};
    const bool best[] = {true, true, false};
    const int bad[] = {1, 0, 1};
    tn_settings s = {0};
    tn_trainer_state st = fresh();
    for (int i = 0; i < 3; i++) {
        tn_epoch e = epoch(loss[i], NULL);
        ck_assert(!tn_recipe_judge(&st, &s, &e));
        ck_assert(e.best == best[i] && st.bad_epochs == bad[i]);
    }
    ck_assert(st.best == 2 && st.es_best == 2);
}
END_TEST

START_TEST(limits)
{
    ck_assert_int_eq(tn_recipe_limit(10, 0), 10);
    ck_assert_int_eq(tn_recipe_limit(10, 1), 1);
    ck_assert_int_eq(tn_recipe_limit(10, 30), 10);
    ck_assert_int_eq(tn_recipe_limit(10, 0.25), 2);
    ck_assert_int_eq(tn_recipe_limit(3, 0.01), 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("recipe");
    TCase *t = tcase_create("recipe");
    tcase_add_test(t, best_follows_the_loss);
    tcase_add_test(t, least_gain_is_early_stoppings);
    tcase_add_test(t, no_number_is_no_gain);
    tcase_add_test(t, limits);
    suite_add_tcase(s, t);
    return run_suite(s);
}
