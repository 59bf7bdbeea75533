/* What is counted of labelled frames, the threshold that is chosen on them, and what frames without a ball do to the loss. */
#include "metrics.h"
#include "predict_once.h"
#include "report.h"
#include "score.h"
#include "stepper.h"
#include "tiny.h"

#include <math.h>

static tn_eval_result score(const tn_sighting *s, int n, float threshold)
{
    tn_eval_result r = TN_EVAL_RESULT_INIT;
    tn_score(&r, s, n, threshold);
    return r;
}

/* ---- counts and ratios ---- */

START_TEST(each_kind_is_counted)
{
    static const tn_sighting s[] = {
        {0.9f, true, true},   {0.5f, true, true},    {0.8f, true, true}, /* found; the second just so */
        {0.7f, true, false},                                             /* too far off */
        {0.6f, false, false}, {0.55f, false, false},                     /* where none is */
        {0.1f, false, false}, {0, false, false},                         /* rightly none */
        {0.4f, true, true},   {0.49f, true, false},  {0.2f, true, true}, /* missed, near or not */
    };
    const tn_eval_result r = score(s, TN_COUNT(s), 0.5f);
    ck_assert_int_eq(r.tp, 3);
    ck_assert_int_eq(r.fp1, 1);
    ck_assert_int_eq(r.fp2, 2);
    ck_assert_int_eq(r.tn, 2);
    ck_assert_int_eq(r.fn, 3);
    ck_assert_double_eq(r.accuracy, 5.0 / 11);
    ck_assert_double_eq(r.precision, 0.5);
    ck_assert_double_eq(r.recall, 0.5);
    ck_assert_double_eq(r.f1, 0.5);
    ck_assert_double_eq(r.threshold, 0.5);
}
END_TEST

START_TEST(a_ratio_over_nothing_is_zero)
{
    static const tn_sighting none[] = {{0.1f, false, false}, {0.2f, false, false}}, missed[] = {{0.1f, true, true}},
                             far[] = {{0.9f, true, false}};
    tn_eval_result r = score(none, 2, 0.5f); /* nothing found, nothing to find */
    ck_assert(r.tn == 2 && r.accuracy == 1 && r.precision == 0 && r.recall == 0 && r.f1 == 0);
    r = score(none, 2, 0); /* all found, none there */
    ck_assert(r.fp2 == 2 && r.accuracy == 0 && r.precision == 0 && r.recall == 0 && r.f1 == 0);
    r = score(missed, 1, 0.5f); /* precision of no prediction */
    ck_assert(r.fn == 1 && r.precision == 0 && r.recall == 0 && r.f1 == 0);
    r = score(far, 1, 0.5f); /* FP1 is no FN: recall of nothing */
    ck_assert(r.fp1 == 1 && r.fn == 0 && r.precision == 0 && r.recall == 0 && r.f1 == 0);
    r = score(NULL, 0, 0.5f);
    ck_assert(r.accuracy == 0 && r.f1 == 0 && tn_best_threshold(NULL, 0) == 0);
}
END_TEST

enum { MOST = 12, STEPS = 64 };

/* Confidences are sixteenths, so that a grid of 64ths holds every gap's ends. */
static int draw(tn_sighting s[MOST], tn_rng *r)
{
    const int n = 1 + (int)tn_rng_below(r, MOST);
    for (int i = 0; i < n; i++) {
        const bool visible = tn_rng_below(r, 3) > 0;
        s[i] = (tn_sighting){(float)tn_rng_below(r, 17) / 16, visible, visible && tn_rng_below(r, 4) > 0};
    }
    return n;
}

/* By definition, one kind after the other. */
static double plain_f1(const tn_sighting *s, int n, float t)
{
    int tp = 0, fp = 0, fn = 0;
    for (int i = 0; i < n; i++) tp += s[i].confidence >= t && s[i].visible && s[i].near;
    for (int i = 0; i < n; i++) fp += s[i].confidence >= t && !(s[i].visible && s[i].near);
    for (int i = 0; i < n; i++) fn += s[i].confidence < t && s[i].visible;
    const double p = tp + fp ? (double)tp / (tp + fp) : 0, r = tp + fn ? (double)tp / (tp + fn) : 0;
    return p + r > 0 ? 2 * p * r / (p + r) : 0;
}

/* The middle of the longest run of best grid points. A run of k points stands for (first - 1, last] of 64ths. */
static double plain_threshold(const tn_sighting *s, int n)
{
    double best = -1, at = 0;
    int longest = 0;
    for (int i = STEPS, run = 0; i >= 1; i--) {
        const double f1 = plain_f1(s, n, (float)i / STEPS);
        run = i < STEPS && fabs(f1 - plain_f1(s, n, (float)(i + 1) / STEPS)) < 1e-12 ? run + 1 : 1;
        if (f1 > best + 1e-12) best = f1, longest = 0;
        if (fabs(f1 - best) < 1e-12 && run > longest) longest = run, at = (i - 1 + run / 2.0) / STEPS;
    }
    return plain_f1(s, n, 0) > best - 1e-12 ? 0 : at;
}

START_TEST(random_frames_agree_with_plain_counting)
{
    tn_rng r = tn_rng_named(7, "frames");
    int chosen = 0;
    for (int round = 0; round < 5000; round++) {
        tn_sighting s[MOST];
        const int n = draw(s, &r);
        const float any = (float)tn_rng_uniform(&r);
        ck_assert_double_eq_tol(score(s, n, any).f1, plain_f1(s, n, any), 1e-12);
        const double want = plain_threshold(s, n);
        const float t = tn_best_threshold(s, n);
        ck_assert_msg(fabs(t - want) < 1e-6, "round %d: %g instead of %g", round, (double)t, want);
        for (int i = 0; i <= STEPS; i++) ck_assert(score(s, n, (float)i / STEPS).f1 <= score(s, n, t).f1 + 1e-12);
        chosen += t > 0;
    }
    ck_assert_int_gt(chosen, 1000);
}
END_TEST

START_TEST(the_threshold_is_the_middle_of_its_gap)
{
    tn_sighting gap[] = {{0.2f, false, false}, {0.9f, true, true}, {0.6f, true, true}, {0.1f, false, false}};
    ck_assert_float_eq_tol(tn_best_threshold(gap, 4), 0.4f, 1e-6f);
    /* one that is too far off is as well left out: the gap goes on behind it */
    tn_sighting far[] = {{0.2f, false, false}, {0.9f, true, true}, {0.6f, true, false}};
    ck_assert_float_eq_tol(tn_best_threshold(far, 3), 0.55f, 1e-6f);
    /* no number between: the upper one still counts as found */
    tn_sighting close[] = {{0.5f, false, false}, {nextafterf(0.5f, 1), true, true}};
    const float t = tn_best_threshold(close, 2);
    ck_assert(score(close, 2, t).f1 == 1);
    /* nothing to choose */
    tn_sighting full[] = {{0.7f, true, true}, {0.3f, true, true}}, bad[] = {{0.7f, true, false}, {0.3f, false, false}},
                wrong[] = {{0.7f, false, false}, {0.3f, true, true}};
    ck_assert(tn_best_threshold(full, 2) == 0 && tn_best_threshold(bad, 2) == 0 && tn_best_threshold(wrong, 2) == 0);
}
END_TEST

/* ---- by name ---- */

START_TEST(columns_and_cells_belong_together)
{
    tn_eval_result r = {.l2 = NAN, .pck = NAN, .loss = 0.5, .tp = 3, .fn = 2, .f1 = 0.75, .threshold = 0.25, .l2_frame = NAN};
    char *names = tn_metric_columns(true), *cells = tn_metric_cells(&r, true), *empty = tn_metric_cells(NULL, true);
    ck_assert_str_eq(names, ",val/tp,val/fp1,val/fp2,val/tn,val/fn,val/accuracy,val/precision,val/recall,val/f1,val/threshold,"
                            "val/l2_frame");
    ck_assert_str_eq(cells, ",3,0,0,0,2,0,0,0,0.75,0.25,");
    ck_assert_str_eq(empty, ",,,,,,,,,,,");
    free(names), free(cells), free(empty);
    names = tn_metric_columns(false), cells = tn_metric_cells(&r, false);
    ck_assert_str_eq(names, ",val/loss,val/l2,val/pck");
    ck_assert_str_eq(cells, ",0.5,,");
    free(names), free(cells);
    ck_assert_double_eq(tn_metric_value(tn_metric_find("val/f1"), &r), 0.75);
    ck_assert_double_eq(tn_metric_value(tn_metric_find(NULL), &r), 0.5);
    ck_assert(tn_metric_find("val/f1")->more && !tn_metric_find("val/loss")->more);
}
END_TEST

START_TEST(a_heatmap_of_logits_becomes_confidence)
{
    float heat[12] = {-3, -3, -3, -3, -3, -3, 2, -3, -3, -3, -3, -3}, high[2] = {0, 7}, low[2] = {-1, -2};
    tn_ball b;
    tn_heat_ball(heat, 4, 3, true, &b);
    ck_assert(fabs(b.x - 2) < 1e-6 && fabs(b.y - 1) < 1e-6);
    ck_assert_double_eq_tol(b.confidence, 1 / (1 + exp(-2)), 1e-6);
    tn_heat_ball(high, 2, 1, false, &b);
    ck_assert(b.confidence == 1 && fabs(b.x - 1) < 1e-6);
    tn_heat_ball(low, 2, 1, false, &b);
    ck_assert(b.confidence == 0);
}
END_TEST

/* ---- the loss of frames without a ball ---- */

enum { BATCH = 3, HW = W / 4, HH = H / 4, AREA = HW * HH };

static const struct {
    const char *loss, *invisible;
} kinds[] = {{"mse", "ignore"}, {"mse", "negative"}, {"focal", "ignore"}, {"focal", "negative"},
             {"bce", "ignore"}, {"bce", "negative"}, {"wbce", "ignore"},  {"wbce", "negative"}};
enum { POS_WEIGHT = 3 }; /* of bce and wbce */

typedef struct {
    tn_config *c;
    tn_engine *e;
    uint8_t frames[BATCH * W * H * 3];
    float labels[BATCH * 3];
    tn_batch b;
    tn_step_result last;
    float *grad; /* of the head's weight, in the last step */
} bench;

static int step_seen(void *user, const tn_step_result *r, tn_error *err)
{
    (void)err;
    ((bench *)user)->last = *r;
    return 0;
}

/* Noise, and a ball in all frames but the second. */
static void set_up(bench *t, int kind)
{
    static const float labels[] = {5.25f, 7, 1, 3, 3, 0, 20, 2.5f, 1};
    static const int index[] = {0, 1, 2};
    const tn_run_options o = on_cpu();
    tn_error e = {0};
    tn_rng r = tn_rng_named(3, "noise");
    t->c = tiny("never", 4);
    must(tn_config_set_str(t->c, "training.loss.name", kinds[kind].loss, &e), &e);
    must(tn_config_set_str(t->c, "training.loss.invisible", kinds[kind].invisible, &e), &e);
    must(tn_config_set_real(t->c, "training.loss.pos_weight", POS_WEIGHT, &e), &e);
    must(tn_config_set_real(t->c, "model.heatmap.head_std", 0.3, &e), &e);
    must(tn_engine_open(&t->e, tn_config_settings(t->c), &o, true, false, &e), &e);
    for (size_t i = 0; i < sizeof t->frames; i++) t->frames[i] = (uint8_t)tn_rng_below(&r, 256);
    memcpy(t->labels, labels, sizeof labels);
    t->b = (tn_batch){.n = BATCH, .index = index, .frames = t->frames, .labels = t->labels};
}

static void tear_down(bench *t)
{
    tn_engine_close(t->e);
    tn_config_free(t->c);
}

/* A pixel's loss as papers write it, of a heatmap's value x and its target y. */
static double plain_pixel(const char *loss, double x, double y)
{
    const double q = 1 / (1 + exp(-x)), r = 1 - q;
    if (!strcmp(loss, "focal")) return -y * r * r * log(q) - pow(1 - y, 5) * q * q * log(r);
    if (!strcmp(loss, "bce")) return -POS_WEIGHT * y * log(q) - (1 - y) * log(r);
    if (!strcmp(loss, "wbce")) return -POS_WEIGHT * r * r * y * log(q) - q * q * (1 - y) * log(r);
    return (x - y) * (x - y);
}

static double plain_loss(const bench *t, int kind, const float *heat)
{
    double sum = 0;
    const bool negative = kind % 2;
    for (int i = 0; i < BATCH * AREA; i++) {
        const float *l = t->labels + 3 * (i / AREA);
        const double dx = i % HW - l[0], dy = i % AREA / HW - l[1], s2 = t->e->s->model.sigma * t->e->s->model.sigma;
        const double y = l[2] > 0 ? exp(-(dx * dx + dy * dy) / (2 * s2)) : 0;
        if (l[2] > 0 || negative) sum += plain_pixel(kinds[kind].loss, heat[i], y);
    }
    return sum / ((negative ? 3 : 2) * AREA);
}

static double mean_loss(bench *t)
{
    static float heat[BATCH * AREA];
    double sum;
    predict_once(t->e, &t->b, heat, &sum);
    return sum / (tn_engine_counted(t->e, t->b.labels, t->b.n) * AREA);
}

static float *values_of(const bench *t, int slot, bool gradient)
{
    tn_error e = {0};
    const tn_slot *s = &t->e->model->slots[slot];
    float *v = malloc((size_t)s->rows * (size_t)s->cols * sizeof *v);
    must((gradient ? tn_store_get_grad : tn_store_get)(t->e->session->store, slot, v, &e), &e);
    return v;
}

/* The slope of the loss along a slot's gradient is the gradient's square. */
static void check_slope(bench *t, int slot, const float *grad)
{
    tn_error e = {0};
    const tn_slot *s = &t->e->model->slots[slot];
    const int n = s->rows * s->cols;
    float *at = values_of(t, slot, false), *v = malloc((size_t)n * sizeof *v);
    double square = 0, side[2];
    for (int i = 0; i < n; i++) square += (double)grad[i] * grad[i];
    ck_assert_msg(square > 0, "%s has no gradient", s->name);
    const double h = 2e-3 * mean_loss(t) / square;
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < n; i++) v[i] = (float)(at[i] + (k ? h : -h) * grad[i]);
        must(tn_store_set(t->e->session->store, slot, v, &e), &e);
        side[k] = mean_loss(t);
    }
    must(tn_store_set(t->e->session->store, slot, at, &e), &e);
    const double slope = (side[1] - side[0]) / (2 * h);
    ck_assert_msg(fabs(slope - square) <= 0.01 * square, "%s: slope %g along a gradient of square %g", s->name, slope, square);
    free(at), free(v);
}

static int head_slot(const bench *t)
{
    for (int i = 0; i < t->e->model->n_slots; i++)
        if (!strcmp(t->e->model->slots[i].name, "head.conv.weight")) return i;
    ck_abort_msg("the model has no head.conv.weight");
    return -1;
}

static int run_last_pass(void *user, tn_exec *x, tn_error *err)
{
    return tn_session_run(((bench *)user)->e->session, x, err);
}

/* Behind the passes and before the optimiser, which leaves it zero. */
static int keep_gradient(void *user, int groups, tn_error *err)
{
    bench *t = user;
    (void)groups;
    (void)err;
    t->grad = values_of(t, head_slot(t), true);
    return 0;
}

static int same_loss(void *user, double *loss, tn_error *err)
{
    (void)user;
    (void)loss;
    (void)err;
    return 0;
}

/* Of rate 0. The gradient becomes the caller's. */
static float *step(bench *t, int micro)
{
    tn_error e = {0};
    tn_stepper *st;
    tn_step_job j = {.batch = t->b, .micro = micro, .groups = tn_engine_groups(t->e), .lr = 0};
    must(tn_stepper_new(&st, t->e, BATCH, step_seen, t, &e), &e);
    tn_stepper_join(st, &(tn_step_others){run_last_pass, keep_gradient, same_loss, t});
    must(tn_stepper_step(st, &j, &e), &e);
    must(tn_stepper_drain(st, &e), &e);
    tn_stepper_free(st);
    return t->grad;
}

START_TEST(frames_without_a_ball_count_as_told)
{
    static bench t;
    static float heat[BATCH * AREA];
    set_up(&t, _i);
    predict_once(t.e, &t.b, heat, NULL);
    const double want = plain_loss(&t, _i, heat);
    ck_assert_double_eq_tol(mean_loss(&t), want, 1e-5 * want);
    const int head = head_slot(&t);
    float *whole = NULL;
    for (int micro = BATCH; micro >= 1; micro--) {
        float *grad = step(&t, micro);
        ck_assert_double_eq_tol(t.last.loss, want, 1e-5 * want);
        if (!whole) check_slope(&t, head, whole = grad);
        for (int i = 0; i < t.e->model->slots[head].cols; i++)
            ck_assert_double_eq_tol(grad[i], whole[i], 1e-5 * (1 + fabs((double)whole[i])));
        if (grad != whole) free(grad);
    }
    free(whole);
    tear_down(&t);
}
END_TEST

START_TEST(a_batch_without_a_ball)
{
    static bench t;
    set_up(&t, _i);
    for (int i = 0; i < BATCH; i++) t.labels[3 * i + 2] = 0;
    float *grad = step(&t, 2);
    const bool negative = _i % 2;
    ck_assert(negative ? t.last.loss > 0 && grad[0] != 0 : t.last.loss == 0 && grad[0] == 0);
    free(grad);
    tear_down(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("metrics");
    add_tests(s, "score", 60,
              TESTS(ONCE(each_kind_is_counted), ONCE(a_ratio_over_nothing_is_zero), ONCE(random_frames_agree_with_plain_counting),
                    ONCE(the_threshold_is_the_middle_of_its_gap), ONCE(columns_and_cells_belong_together),
                    ONCE(a_heatmap_of_logits_becomes_confidence)));
    add_tests(s, "loss", 300,
              TESTS(TIMES(frames_without_a_ball_count_as_told, TN_COUNT(kinds)), TIMES(a_batch_without_a_ball, TN_COUNT(kinds))));
    return run_in_folder(s);
}
