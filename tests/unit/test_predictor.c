/* Batches that are predicted one behind the other, with memory shared with the host and without: the same bits as each alone. */
#include "predict_once.h"
#include "small_engine.h"

#include <string.h>

/* LARGE: enough frames that they go beside the passes on a device of its own memory. */
enum { IMAGE_W = 128, IMAGE_H = 64, HEAT = 32 * 16, LARGE = 90, MOST = LARGE };

static const int sizes[] = {LARGE, 3, LARGE, 1, 2, LARGE, LARGE};
enum { BATCHES = 7, IMAGE = 3 * IMAGE_W * IMAGE_H };

typedef struct {
    tn_config *c;
    tn_engine *e;
    uint8_t *frames;                    /* [BATCHES][MOST] */
    float labels[3 * MOST];             /* the same of every batch */
    float *alone, *together;            /* heatmaps [BATCHES][MOST] */
    double loss[BATCHES], now[BATCHES]; /* alone and together */
} bench;

static void set_up(bench *t)
{
    static const char *const keys[] = {"model.pretrained_model_name='" SOURCE_DIR "/configs/backbone/tiny'",
                                       "data.preprocess.resize=[128,64]", "model.heatmap.size=[32,16]",
                                       "model.heatmap.head_std=0.3"};
    tn_error e = {0};
    tn_rng r = tn_rng_named(11, "predictor");
    const tn_run_options o = {.version = TN_RUN_OPTIONS_VERSION, .device = "cpu"};
    const size_t n = (size_t)BATCHES * MOST;
    t->c = small_config("vit_qlora_random", keys, TN_COUNT(keys));
    must(tn_engine_open(&t->e, tn_config_settings(t->c), &o, false, false, &e), &e);
    t->frames = malloc(n * IMAGE);
    t->alone = malloc(n * HEAT * sizeof *t->alone);
    t->together = malloc(n * HEAT * sizeof *t->together);
    for (size_t i = 0; i < n * IMAGE; i++) t->frames[i] = (uint8_t)tn_rng_below(&r, 256);
    for (int i = 0; i < 3 * MOST; i++) t->labels[i] = i % 3 == 2 ? 1 : (float)tn_rng_below(&r, 16);
}

static void tear_down(bench *t)
{
    tn_engine_close(t->e);
    tn_config_free(t->c);
    free(t->frames);
    free(t->alone);
    free(t->together);
}

static tn_batch batch_of(const bench *t, int k)
{
    return (tn_batch){.n = sizes[k], .frames = t->frames + (size_t)k * MOST * IMAGE, .labels = t->labels};
}

static float *heat_of(float *all, int k)
{
    return all + (size_t)k * MOST * HEAT;
}

static bool has_loss(int k)
{
    return k % 2 == 0;
}

static void run_alone(bench *t)
{
    for (int k = 0; k < BATCHES; k++) {
        const tn_batch b = batch_of(t, k);
        predict_once(t->e, &b, heat_of(t->alone, k), has_loss(k) ? &t->loss[k] : NULL);
    }
}

static void take(bench *t, tn_predictor *p, int k)
{
    tn_error e = {0};
    ck_assert_int_eq(tn_predictor_oldest(p), sizes[k]);
    must(tn_predictor_take(p, heat_of(t->together, k), &t->now[k], &e), &e);
}

static void run_together(bench *t)
{
    tn_error e = {0};
    tn_predictor *p;
    memset(t->together, 0xff, (size_t)BATCHES * MOST * HEAT * sizeof *t->together);
    must(tn_predictor_new(&p, t->e, &e), &e);
    for (int k = 0; k < BATCHES; k++) {
        tn_batch b = batch_of(t, k);
        uint8_t *copy = malloc((size_t)b.n * IMAGE);
        memcpy(copy, b.frames, (size_t)b.n * IMAGE);
        b.frames = copy;
        must(tn_predictor_put(p, &b, has_loss(k), &e), &e);
        memset(copy, 0, (size_t)b.n * IMAGE); /* everything was copied */
        free(copy);
        if (k) take(t, p, k - 1);
    }
    take(t, p, BATCHES - 1);
    ck_assert_int_eq(tn_predictor_under_way(p), 0);
    tn_predictor_free(p);
}

static void check_same(const bench *t)
{
    for (int k = 0; k < BATCHES; k++) {
        const size_t bytes = (size_t)sizes[k] * HEAT * sizeof(float);
        ck_assert_msg(!memcmp(heat_of(t->alone, k), heat_of(t->together, k), bytes), "batch %d has other heatmaps", k);
        if (has_loss(k)) ck_assert_double_eq(t->loss[k], t->now[k]);
    }
    ck_assert_mem_ne(heat_of(t->alone, 0), heat_of(t->alone, 2), sizeof(float) * LARGE * HEAT);
}

START_TEST(batches_under_way_keep_to_themselves)
{
    bench t;
    set_up(&t);
    run_alone(&t);
    for (int way = 0; way < 3; way++) {
        tn_dev *d = t.e->dev;
        d->info.unified_memory = way == 0;
        if (way == 2) d->memory_limit = d->allocated; /* no room for frames beside those of a pass */
        run_together(&t);
        check_same(&t);
        d->memory_limit = 0;
        d->info.unified_memory = true;
    }
    tear_down(&t);
}
END_TEST

START_TEST(parts_of_a_batch_are_the_batch)
{
    bench t;
    double sum = 0, part;
    tn_error e = {0};
    tn_predictor *p;
    set_up(&t);
    const tn_batch b = batch_of(&t, 0);
    t.e->most = 40;
    predict_once(t.e, &b, t.alone, &t.loss[0]);
    must(tn_predictor_new(&p, t.e, &e), &e);
    for (int i = 0; i < LARGE; i += 40) {
        const tn_batch some = {.n = TN_MIN(40, LARGE - i), .frames = b.frames + (size_t)i * IMAGE, .labels = b.labels + 3 * i};
        must(tn_predictor_put(p, &some, true, &e), &e);
        must(tn_predictor_take(p, t.together + (size_t)i * HEAT, &part, &e), &e);
        sum += part;
    }
    tn_predictor_free(p);
    ck_assert_mem_eq(t.alone, t.together, sizeof(float) * LARGE * HEAT);
    ck_assert_double_eq(sum, t.loss[0]);
    tear_down(&t);
}
END_TEST

START_TEST(too_many_and_too_few_are_refused)
{
    bench t;
    tn_error e = {0};
    tn_predictor *p;
    set_up(&t);
    const tn_batch b = batch_of(&t, 1);
    must(tn_predictor_new(&p, t.e, &e), &e);
    ck_assert_int_eq(tn_predictor_take(p, t.together, NULL, &e), TN_ERR_ARGUMENT);
    for (int i = 0; i < TN_PREDICTOR_SLOTS; i++) must(tn_predictor_put(p, &b, false, &e), &e);
    ck_assert_int_eq(tn_predictor_put(p, &b, false, &e), TN_ERR_ARGUMENT);
    ck_assert_str_eq(e.message, "2 batches are under way, as many as can be");
    tn_predictor_drop(p);
    ck_assert_int_eq(tn_predictor_oldest(p), 0);
    must(tn_predictor_put(p, &b, false, &e), &e);
    tn_predictor_free(p); /* with one under way */
    tear_down(&t);
}
END_TEST

int main(void)
{
    return run_tests("predictor", 120,
                     TESTS(ONCE(batches_under_way_keep_to_themselves), ONCE(parts_of_a_batch_are_the_batch),
                           ONCE(too_many_and_too_few_are_refused)));
}
