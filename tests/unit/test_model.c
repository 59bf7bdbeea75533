/* Models that stay open: frames in memory against frames in files, batches, adapters, and two of everything in two threads. */
#include "image.h"
#include "tiny.h"

#include <math.h>
#include <pthread.h>

static tn_image frame(int i)
{
    char path[64];
    tn_image im;
    tn_error e;
    snprintf(path, sizeof path, "data/game1/Clip1/%04d.jpg", i);
    must(tn_image_load(&im, in_work(path), &e), &e);
    return im;
}

static tn_rgb rgb_of(const tn_image *im)
{
    return (tn_rgb){im->rgb, im->w, im->h, 0};
}

/* ---- a model that stays open ---- */

typedef struct {
    tn_ball ball[FRAMES];
    int n;
} balls;

static int collect(void *user, const tn_prediction *p, int done, int total)
{
    balls *b = user;
    ck_assert_int_le(done, total);
    b->ball[b->n++ % FRAMES] = (tn_ball){p->x, p->y, p->confidence};
    return 0;
}

static const char *variants; /* of every run, or NULL */

static tn_run_options here(void)
{
    tn_run_options o = on_cpu();
    o.variants = variants;
    return o;
}

/* What tn_predict says of all frames, with an adapter when it is not NULL. */
static balls by_files(const char *checkpoint, const char *adapter)
{
    balls b = {.n = 0};
    tn_error e;
    tn_config *c;
    tn_run_options o = here();
    const char *images[] = {in_work("data/game1/Clip1")};
    tn_predict_options p = TN_PREDICT_OPTIONS_INIT;
    p.images = images, p.n_images = 1, p.each = collect, p.user = &b;
    o.checkpoint = checkpoint;
    if (adapter) o.adapters = &adapter, o.n_adapters = 1;
    must(tn_checkpoint_config(&c, checkpoint, NULL, 0, NULL, &e), &e);
    must(tn_predict(c, &o, &p, &e), &e);
    ck_assert_int_eq(b.n, FRAMES);
    tn_config_free(c);
    return b;
}

static tn_model_handle *open_model(const char *checkpoint, const char *const *adapters, int n)
{
    tn_error e;
    tn_model_handle *m;
    tn_run_options o = here();
    o.checkpoint = checkpoint, o.adapters = adapters, o.n_adapters = n;
    must(tn_model_open(&m, NULL, &o, &e), &e);
    return m;
}

static balls one_by_one(tn_model_handle *m)
{
    balls b = {.n = FRAMES};
    tn_error e;
    for (int i = 0; i < FRAMES; i++) {
        tn_image im = frame(i);
        const tn_rgb f = rgb_of(&im);
        must(tn_model_predict(m, &f, 1, &b.ball[i], NULL, &e), &e);
        tn_image_free(&im);
    }
    return b;
}

static void same(const balls *a, const balls *b)
{
    for (int i = 0; i < FRAMES; i++)
        ck_assert_msg(!memcmp(&a->ball[i], &b->ball[i], sizeof a->ball[i]), "frame %d: %.17g, %.17g instead of %.17g, %.17g", i,
                      a->ball[i].x, a->ball[i].y, b->ball[i].x, b->ball[i].y);
}

START_TEST(frames_in_memory_are_as_frames_in_files)
{
    const char *checkpoint = trained("a", 1);
    tn_model_handle *m = open_model(checkpoint, NULL, 0);
    const balls want = by_files(checkpoint, NULL), got = one_by_one(m), again = one_by_one(m);
    same(&got, &want);
    same(&again, &want);
    tn_model_close(m);
}
END_TEST

START_TEST(a_batch_with_strides_is_as_one_by_one)
{
    enum { STRIDE = 3 * W + 13 };
    tn_error e;
    tn_model_handle *m = open_model(trained("a", 1), NULL, 0);
    tn_model_info info = TN_MODEL_INFO_INIT;
    must(tn_model_describe(m, &info, &e), &e);
    ck_assert(info.image_width == W && info.heat_height == H / 4 && info.parameters > 0 && info.adapter == -1);
    const balls want = one_by_one(m);
    uint8_t *padded = malloc((size_t)FRAMES * STRIDE * H);
    float *heat = malloc(sizeof *heat * FRAMES * (W / 4) * (H / 4));
    tn_rgb f[FRAMES];
    tn_ball ball[FRAMES];
    for (int i = 0; i < FRAMES; i++) {
        tn_image im = frame(i);
        uint8_t *to = padded + (size_t)i * STRIDE * H;
        for (int y = 0; y < H; y++) memcpy(to + y * STRIDE, im.rgb + y * 3 * W, 3 * W);
        f[i] = (tn_rgb){to, W, H, STRIDE};
        tn_image_free(&im);
    }
    must(tn_model_predict(m, f, FRAMES, ball, heat, &e), &e);
    for (int i = 0; i < FRAMES; i++) {
        const float *h = heat + i * (W / 4) * (H / 4);
        float peak = h[0];
        for (int k = 1; k < (W / 4) * (H / 4); k++) peak = fmaxf(peak, h[k]);
        ck_assert(fabs(ball[i].x - want.ball[i].x) < 0.05 && fabs(ball[i].y - want.ball[i].y) < 0.05);
        ck_assert(fabs(ball[i].confidence - fmin(fmax(peak, 0), 1)) < 1e-6);
    }
    f[3].stride = 5;
    REFUSES(tn_model_predict(m, f, FRAMES, ball, NULL, &e));
    f[3].stride = 0, f[3].width = 0;
    REFUSES(tn_model_predict(m, f, FRAMES, ball, NULL, &e));
    REFUSES(tn_model_predict(m, f, -1, ball, NULL, &e));
    REFUSES(tn_model_use_adapter(m, 0, &e));
    const balls after = one_by_one(m);
    same(&after, &want);
    free(padded);
    free(heat);
    tn_model_close(m);
}
END_TEST

START_TEST(adapters_change_places)
{
    char first[160];
    snprintf(first, sizeof first, "%s", trained("a", 1));
    const char *adapters[] = {first, trained("b", 2)};
    const balls a = by_files(first, adapters[0]), b = by_files(first, adapters[1]);
    tn_model_handle *m = open_model(first, adapters, 2);
    tn_error e;
    const balls at_first = one_by_one(m);
    must(tn_model_use_adapter(m, 1, &e), &e);
    const balls other = one_by_one(m);
    must(tn_model_use_adapter(m, 0, &e), &e);
    const balls back = one_by_one(m);
    same(&at_first, &a);
    same(&other, &b);
    same(&back, &a);
    ck_assert(memcmp(&a.ball, &b.ball, sizeof a.ball) != 0);
    REFUSES(tn_model_use_adapter(m, 2, &e));
    tn_model_close(m);
}
END_TEST

/* ---- threads ---- */

typedef struct {
    char checkpoint[160];
    balls got;
    int rounds;
} predictor;

static void *predict_always(void *arg)
{
    predictor *p = arg;
    tn_model_handle *m = open_model(p->checkpoint, NULL, 0);
    const balls first = one_by_one(m);
    for (int i = 1; i < p->rounds; i++) {
        p->got = one_by_one(m);
        same(&p->got, &first);
    }
    tn_model_close(m);
    return NULL;
}

START_TEST(two_models_in_two_threads_are_as_one_after_the_other)
{
    predictor p[] = {{.rounds = 4}, {.rounds = 8}}; /* one closes while the other goes on */
    pthread_t t[2];
    balls want[2];
    variants = _i ? "gemm=clblast" : NULL; /* whose cache is the process's */
    for (int i = 0; i < 2; i++) {
        snprintf(p[i].checkpoint, sizeof p[i].checkpoint, "%s", trained(i ? "b" : "a", i + 1));
        want[i] = by_files(p[i].checkpoint, NULL);
    }
    for (int i = 0; i < 2; i++) ck_assert_int_eq(pthread_create(&t[i], NULL, predict_always, &p[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < 2; i++) same(&p[i].got, &want[i]);
}
END_TEST

typedef struct {
    tn_config *c;
    tn_train_summary sum;
    tn_error err;
    int rc;
} trainee;

static void *train_once(void *arg)
{
    trainee *t = arg;
    const tn_run_options o = here();
    t->rc = tn_train(t->c, &o, NULL, &t->sum, &t->err);
    return NULL;
}

START_TEST(training_beside_predicting_changes_neither)
{
    predictor p = {.rounds = 8};
    pthread_t t[2];
    trainee alone = {tiny("alone", 5), TN_TRAIN_SUMMARY_INIT, {0}, 0}, beside = {tiny("beside", 5), TN_TRAIN_SUMMARY_INIT, {0}, 0};
    snprintf(p.checkpoint, sizeof p.checkpoint, "%s", trained("a", 1));
    const balls want = by_files(p.checkpoint, NULL);
    train_once(&alone);
    must(alone.rc, &alone.err);
    ck_assert_int_eq(pthread_create(&t[0], NULL, predict_always, &p), 0);
    ck_assert_int_eq(pthread_create(&t[1], NULL, train_once, &beside), 0);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    must(beside.rc, &beside.err);
    same(&p.got, &want);
    ck_assert(alone.sum.first_loss == beside.sum.first_loss && alone.sum.last_loss == beside.sum.last_loss);
    ck_assert(alone.sum.best_metric == beside.sum.best_metric);
    tn_config_free(alone.c);
    tn_config_free(beside.c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("model");
    add_tests(s, "handle", 300,
              TESTS(ONCE(frames_in_memory_are_as_frames_in_files), ONCE(a_batch_with_strides_is_as_one_by_one),
                    ONCE(adapters_change_places)));
    add_tests(
        s, "threads", 600,
        TESTS(TIMES(two_models_in_two_threads_are_as_one_after_the_other, 2), ONCE(training_beside_predicting_changes_neither)));
    return run_in_folder(s);
}
