/* Windows of frames and what is varied in training: which frames are in which window, and that a window is varied all alike. */
#include "files.h"
#include "loader.h"
#include "numeric.h"
#include "../testlib.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <tracknet/synth.h>

static char work[64];

static void must(int rc, const tn_error *e)
{
    ck_assert_msg(!rc, "%s", e->message);
}

/* ---- which frames ---- */

enum { CLIPS = 3, LABELLED = 11 };

/* Clips of 6, 2 and 4 frames, of the last of which the second has no label that counts: it is nobody's but a window's. */
static tn_dataset drawn(void)
{
    static const int in_time[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, ~0, 9, 10}, pictures[CLIPS] = {6, 2, 4}, labelled[CLIPS] = {6, 2, 3};
    tn_dataset d = {.n = LABELLED, .n_other = 1, .n_clips = CLIPS};
    d.f = calloc(LABELLED, sizeof *d.f);
    d.other = calloc(1, sizeof *d.other);
    d.clips = calloc(CLIPS, sizeof *d.clips);
    d.other[0].path = strdup(SOURCE_DIR "/tests/data/volleyball/game1/Clip1/0003.jpg");
    for (int i = 0; i < LABELLED; i++) d.f[i].visible = true;
    for (int i = 0, at = 0, first = 0; i < CLIPS; at += pictures[i], first += labelled[i++]) {
        tn_dataset_clip *c = &d.clips[i];
        c->name = tn_strf("game/clip%d", i + 1);
        c->first = first, c->n = labelled[i], c->n_in_time = pictures[i];
        c->in_time = malloc(sizeof *c->in_time * (size_t)pictures[i]);
        memcpy(c->in_time, in_time + at, sizeof *c->in_time * (size_t)pictures[i]);
    }
    return d;
}

/* "0 0 1>1 0 1 2>2 ": frames > labels of each window; an unlabelled frame is x, a label that does not count - */
static char *written(const tn_dataset *d)
{
    tn_text t = {0};
    for (int i = 0; i < tn_samples(d); i++) {
        for (int k = 0; k < tn_sample_frames(d); k++) {
            const int f = tn_sample_frame(d, i, k);
            tn_text_addf(&t, f < 0 ? "x" : "%d", f);
            tn_text_addf(&t, k + 1 < tn_sample_frames(d) ? " " : ">");
        }
        for (int k = 0; k < tn_sample_answers(d); k++) {
            const int f = tn_sample_label(d, i, k);
            tn_text_addf(&t, k ? " " : "");
            tn_text_addf(&t, f < 0 ? "-" : "%d", f);
        }
        tn_text_addf(&t, "; ");
    }
    return t.s;
}

static const struct {
    tn_sequence s;
    const char *want;
} layouts[] = {
    {{1, 1, false, false}, "0>0; 1>1; 2>2; 3>3; 4>4; 5>5; 6>6; 7>7; 8>8; 9>9; 10>10; "},
    {{3, 1, false, false}, "0 0 0>0; 0 0 1>1; 0 1 2>2; 1 2 3>3; 2 3 4>4; 3 4 5>5; 6 6 6>6; 6 6 7>7; 8 8 8>8; 8 x 9>9; x 9 10>10; "},
    {{2, 3, false, false}, "0 0>0; 2 3>3; 6 6>6; 8 8>8; 9 10>10; "},
    {{3, 1, true, false}, "0 1 2>0 1 2; 1 2 3>1 2 3; 2 3 4>2 3 4; 3 4 5>3 4 5; 6 6 7>- 6 7; 8 x 9>8 - 9; x 9 10>- 9 10; "},
    {{3, 3, true, false}, "0 1 2>0 1 2; 3 4 5>3 4 5; 6 6 7>- 6 7; 8 x 9>8 - 9; x 9 10>- 9 10; "},
    {{3, 3, true, true}, "0 1 2>0 1 2; 3 4 5>3 4 5; 6 6 7>- 6 7; 8 x 9>8 - 9; x 9 10>- - 10; "},
    {{4, 4, true, true}, "0 1 2 3>0 1 2 3; 2 3 4 5>- - 4 5; 6 6 6 7>- - 6 7; 8 x 9 10>8 - 9 10; "},
    {{6, 6, true, true}, "0 1 2 3 4 5>0 1 2 3 4 5; 6 6 6 6 6 7>- - - - 6 7; 8 8 8 x 9 10>- - 8 - 9 10; "},
};

START_TEST(windows_lie_within_clips)
{
    tn_dataset d = drawn();
    tn_error e;
    must(tn_dataset_window(&d, &layouts[_i].s, "train", NULL, &e), &e);
    char *got = written(&d);
    ck_assert_str_eq(got, layouts[_i].want);
    ck_assert_int_eq(tn_sampled_frames(&d), layouts[_i].s.length > 1 ? LABELLED + 1 : LABELLED);
    const int n = tn_samples(&d);
    tn_dataset_limit(&d, n + 5);
    ck_assert_int_eq(tn_samples(&d), n);
    tn_dataset_limit(&d, 2);
    ck_assert_int_eq(tn_samples(&d), 2);
    d.n = LABELLED;
    free(got);
    tn_dataset_free(&d);
}
END_TEST

START_TEST(a_window_longer_than_every_clip_is_one_sentence)
{
    tn_dataset d = drawn();
    tn_error e;
    const tn_sequence s = {7, 1, _i, false};
    ck_assert_int_eq(tn_dataset_window(&d, &s, "val", NULL, &e), TN_ERR_CONFIG);
    ck_assert_str_eq(e.message,
                     "data.sequence.length is 7, but the longest clip of the val split, game/clip1, has 6 frames; set it to "
                     "6 or less");
    tn_dataset_free(&d);
}
END_TEST

/* ---- from a folder ---- */

static char heard[512];

static void hear(void *user, tn_log_level level, const char *line)
{
    (void)user;
    if (level == TN_LOG_WARN) snprintf(heard, sizeof heard, "%s", line);
}

static const char *in_work(const char *name)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", work, name);
    return path;
}

static int draw_clips(const char *game, int frames, int width, int height, tn_error *e)
{
    tn_synth_options o = TN_SYNTH_OPTIONS_INIT;
    o.out = work, o.game = game, o.clips = 2, o.frames = frames, o.width = width, o.height = height;
    return tn_synth(&o, e);
}

static tn_dataset read_game(char *game, const tn_log *log)
{
    tn_dataset d;
    tn_error e;
    must(tn_dataset_read(&d, work, &(tn_strs){&game, 1}, "train", false, log, &e), &e);
    return d;
}

static int number_of(const tn_dataset *d, int frame)
{
    return atoi(strrchr(tn_dataset_frame(d, frame)->path, '/') + 1);
}

/* Rows in any order, some without a frame, frames without a row, one of them damaged: time is what the files' names say. */
START_TEST(rows_are_put_in_the_order_of_their_frames)
{
    static const char rows[] = "file name,visibility,x-coordinate,y-coordinate\n"
                               "0005.jpg,1,5,5\n0002.jpg,1,5,5\n0000.jpg,1,5,5\n0009.jpg,1,5,5\n0007.jpg,1,1000,5\n";
    static const int want[][3] = {{0, 0, 0}, {0, 1, 2}, {3, 4, 5}}; /* the windows that end at 0, 2 and 5 */
    const tn_log log = {hear, NULL};
    tn_error e;
    char game[] = "order", *data;
    size_t n;
    must(draw_clips(game, 9, 64, 36, &e), &e);
    must(tn_remove_tree(in_work("order/Clip2"), &e), &e);
    must(tn_write_file(in_work("order/Clip1/Label.csv"), rows, strlen(rows), &e), &e);
    must(tn_read_file(&data, &n, in_work("order/Clip1/0006.jpg"), &e), &e);
    must(tn_write_file(in_work("order/Clip1/0006.jpg"), data, n / 2, &e), &e);
    free(data);
    tn_dataset d = read_game(game, &log);
    ck_assert_msg(strstr(heard, "2 label rows count as not labelled"), "%s", heard); /* no 0009.jpg; outside the frame */
    const tn_sequence s = {3, 1, false, false};
    must(tn_dataset_window(&d, &s, "train", &log, &e), &e);
    ck_assert_msg(strstr(heard, "1 picture without a label cannot be read") && strstr(heard, "0006.jpg"), "%s", heard);
    ck_assert_int_eq(tn_samples(&d), 3);
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) ck_assert_int_eq(number_of(&d, tn_sample_frame(&d, i, k)), want[i][k]);
    ck_assert_int_eq(d.clips[0].n_in_time, 8);
    tn_dataset_free(&d);
}
END_TEST

/* ---- batches of windows ---- */

enum { WIDTH = 64, HEIGHT = 36, FRAME = 3 * WIDTH * HEIGHT, BATCH = 3 };

static const tn_prep plain = {.width = WIDTH, .height = HEIGHT, .heat_w = 32, .heat_h = 18, .seed = 3};
static const tn_prep varied = {.width = WIDTH,
                               .height = HEIGHT,
                               .heat_w = 32,
                               .heat_h = 18,
                               .seed = 3,
                               .flip_prob = 0.5,
                               .crop = {0.4, 0.9},
                               .jitter = {0.4, 0.3, 0.5, 0.2}};

typedef struct {
    uint8_t *frames; /* [samples, length, FRAME] */
    float *labels;   /* [samples, answers, 3] */
    int n;
} pass;

static pass pass_of(const tn_dataset *d, const tn_prep *p, int threads, size_t keep, int epoch)
{
    tn_loader *l;
    tn_error e;
    const int n = tn_samples(d), T = tn_sample_frames(d), K = tn_sample_answers(d);
    int *order = malloc(sizeof *order * (size_t)n);
    pass all = {malloc((size_t)(n * T) * FRAME), malloc(sizeof(float) * (size_t)(n * K) * 3), 0};
    tn_shuffle(order, n, 1, epoch);
    must(tn_loader_new(&l, d, p, BATCH, threads, 2, keep, &e), &e);
    must(tn_loader_start(l, order, n, epoch, &e), &e);
    for (tn_batch b = {.n = 1}; b.n; all.n += b.n) {
        must(tn_loader_next(l, &b, &e), &e);
        for (int i = 0; i < b.n; i++) ck_assert_int_eq(b.index[i], order[all.n + i]);
        memcpy(all.frames + (size_t)(all.n * T) * FRAME, b.frames, (size_t)(b.n * T) * FRAME);
        memcpy(all.labels + all.n * K * 3, b.labels, sizeof(float) * (size_t)(b.n * K) * 3);
    }
    tn_loader_free(l);
    free(order);
    ck_assert_int_eq(all.n, n);
    return all;
}

static void pass_free(pass *p)
{
    free(p->frames);
    free(p->labels);
}

/* The frame and its label by themselves, as sample `place` of the epoch has them. */
static void alone(uint8_t *rgb, float label[3], const tn_dataset *d, int frame, const tn_prep *p, int epoch, int place)
{
    tn_error e;
    tn_image whole, small;
    tn_vary_room room = {.whole = NULL};
    const tn_variation v = tn_vary(p, epoch, place);
    const tn_frame *f = tn_dataset_frame(d, frame);
    must(tn_frame_load(&whole, f, &e), &e);
    must(tn_image_resize(&small, &whole, p->width, p->height, &e), &e);
    must(tn_vary_frame(&small, p, &v, &room, &e), &e);
    tn_vary_label(label, p, &v, f, whole.w, whole.h);
    memcpy(rgb, small.rgb, FRAME);
    tn_vary_room_free(&room);
    tn_image_free(&whole), tn_image_free(&small);
}

static void is_what_its_frames_are(const tn_dataset *d, const tn_prep *p, const pass *got, int epoch)
{
    const int n = tn_samples(d), T = tn_sample_frames(d), K = tn_sample_answers(d);
    int *order = malloc(sizeof *order * (size_t)n);
    uint8_t rgb[FRAME];
    float label[3];
    tn_shuffle(order, n, 1, epoch);
    for (int i = 0; i < n; i++)
        for (int t = 0; t < T; t++) {
            const int k = t - (T - K), counts = k < 0 ? -1 : tn_sample_label(d, order[i], k);
            const float *have = got->labels + 3 * (i * K + k);
            alone(rgb, label, d, tn_sample_frame(d, order[i], t), p, epoch, i);
            ck_assert_msg(!memcmp(rgb, got->frames + (size_t)(i * T + t) * FRAME, FRAME), "frame %d of sample %d", t, i);
            if (counts >= 0) ck_assert_mem_eq(have, label, sizeof label);
            else if (k >= 0) ck_assert(have[2] == -1);
        }
    free(order);
}

static const tn_sequence shapes[] = {{1, 1, false, false}, {3, 1, false, false}, {3, 2, true, false}};

/* Every frame of a window is cut, turned and coloured alike, whoever made it and whatever was kept. */
START_TEST(a_window_is_varied_all_alike)
{
    const tn_prep *p = _i % 2 ? &varied : &plain;
    tn_error e;
    char game[] = "batches";
    tn_dataset d = read_game(game, NULL);
    must(tn_dataset_window(&d, &shapes[_i / 2], "train", NULL, &e), &e);
    uint8_t *before = NULL;
    for (int epoch = 0; epoch < 2; epoch++) {
        pass one = pass_of(&d, p, 1, 0, epoch), many = pass_of(&d, p, 4, epoch ? (size_t)1 << 30 : 5 * FRAME, epoch);
        const size_t bytes = (size_t)(one.n * tn_sample_frames(&d)) * FRAME;
        ck_assert_mem_eq(one.frames, many.frames, bytes);
        ck_assert_mem_eq(one.labels, many.labels, sizeof(float) * (size_t)(one.n * tn_sample_answers(&d)) * 3);
        is_what_its_frames_are(&d, p, &one, epoch);
        pass_free(&many);
        free(one.labels);
        if (before) ck_assert(memcmp(before, one.frames, bytes) != 0);
        free(before);
        before = one.frames;
    }
    free(before);
    tn_dataset_free(&d);
}
END_TEST

/* What ranks count a batch's labels by, without having its frames. */
START_TEST(labels_are_known_without_the_frames)
{
    tn_error e;
    char game[] = "batches";
    tn_dataset d = read_game(game, NULL);
    must(tn_dataset_window(&d, &shapes[_i], "train", NULL, &e), &e);
    const int n = tn_samples(&d), K = tn_sample_answers(&d);
    int *order = malloc(sizeof *order * (size_t)n), hidden = 0;
    float label[3 * 3];
    tn_prep narrow = varied;
    narrow.crop[0] = 0.1;
    for (int epoch = 0; epoch < 8; epoch++) {
        pass got = pass_of(&d, &narrow, 2, 0, epoch);
        tn_shuffle(order, n, 1, epoch);
        for (int i = 0; i < n; i++) {
            tn_sample_labels(label, &d, order[i], &narrow, epoch, i);
            ck_assert_mem_eq(label, got.labels + i * K * 3, sizeof(float) * (size_t)K * 3);
            for (int k = 0; k < K; k++) hidden += label[3 * k + 2] == 0;
        }
        pass_free(&got);
    }
    ck_assert_int_gt(hidden, 0); /* some are cut off */
    free(order);
    tn_dataset_free(&d);
}
END_TEST

/* ---- what is varied ---- */

static const struct {
    const char *name;
    tn_jitter_step step;
    double factor;
} jitters[] = {
    {"brightness_0.3", TN_BRIGHTNESS, 0.3},
    {"brightness_1.7", TN_BRIGHTNESS, 1.7},
    {"contrast_0.45", TN_CONTRAST, 0.45},
    {"contrast_2.2", TN_CONTRAST, 2.2},
    {"saturation_0.0", TN_SATURATION, 0},
    {"saturation_1.9", TN_SATURATION, 1.9},
    {"hue_-0.5", TN_HUE, -0.5},
    {"hue_-0.07", TN_HUE, -0.07},
    {"hue_0.21", TN_HUE, 0.21},
};

START_TEST(colours_are_torchvisions)
{
    tn_error e;
    tn_image got, want;
    char path[160];
    snprintf(path, sizeof path, SOURCE_DIR "/tests/golden/cases/jitter/%s.png", jitters[_i].name);
    must(tn_image_load(&got, SOURCE_DIR "/tests/golden/cases/jitter/frame.png", &e), &e);
    must(tn_image_load(&want, path, &e), &e);
    tn_jitter_frame(&got, jitters[_i].step, jitters[_i].factor);
    ck_assert_mem_eq(got.rgb, want.rgb, 3 * (size_t)want.w * (size_t)want.h);
    tn_image_free(&got), tn_image_free(&want);
}
END_TEST

/* A bright spot in the dark is where its label says, wherever the crop and the flip have brought it. */
START_TEST(labels_follow_crop_and_flip)
{
    enum { W = 96, H = 54, STORED = 2, DRAWS = 300 };
    const tn_prep p = {.width = W, .height = H, .heat_w = W, .heat_h = H, .flip_prob = 0.5, .crop = {0.3, 1}, .seed = 9};
    static uint8_t rgb[3 * W * H];
    tn_rng r = tn_rng_named(1, "spots");
    tn_vary_room room = {.whole = NULL};
    tn_error e;
    int inside = 0, flipped = 0;
    double least = 1, most = 0;
    for (int i = 0; i < DRAWS; i++) {
        const int x = 3 + (int)tn_rng_below(&r, W - 6), y = 3 + (int)tn_rng_below(&r, H - 6);
        const tn_frame f = {.visible = true, .x = STORED * x, .y = STORED * y};
        const tn_variation v = tn_vary(&p, 0, i);
        tn_image im = {W, H, rgb};
        float label[3];
        double sum = 0, cx = 0, cy = 0;
        memset(rgb, 0, sizeof rgb);
        for (int k = 0; k < 27; k++) rgb[3 * ((y - 1 + k / 9) * W + x - 1 + k / 3 % 3) + k % 3] = 255;
        must(tn_vary_frame(&im, &p, &v, &room, &e), &e);
        tn_vary_label(label, &p, &v, &f, STORED * W, STORED * H);
        flipped += v.flip;
        least = fmin(least, (double)v.w * v.h / (W * H)), most = fmax(most, (double)v.w * v.h / (W * H));
        const bool shown = x >= v.x && y >= v.y && x < v.x + v.w && y < v.y + v.h;
        ck_assert_int_eq(label[2] > 0, shown);
        if (x < v.x + 2 || y < v.y + 2 || x >= v.x + v.w - 2 || y >= v.y + v.h - 2) continue; /* cut */
        for (int k = 0; k < W * H; k++) sum += rgb[3 * k], cx += rgb[3 * k] * (double)(k % W), cy += rgb[3 * k] * (double)(k / W);
        /* the spot's middle, from edges as the resize counts; labels scale from the first pixel's middle: half a pixel apart */
        ck_assert_double_le(fabs(cx / sum - label[0]), 0.5 * W / v.w + 0.25);
        ck_assert_double_le(fabs(cy / sum - label[1]), 0.5 * H / v.h + 0.25);
        inside++;
    }
    ck_assert_int_gt(inside, DRAWS / 3);
    ck_assert(flipped > DRAWS / 3 && flipped < 2 * DRAWS / 3);
    ck_assert(least > 0.27 && least < 0.35 && most > 0.95 && most <= 1);
    tn_vary_room_free(&room);
}
END_TEST

/* Each step's factor within its range, every order, and nothing drawn for one changes with another. */
START_TEST(colour_factors_are_drawn_within_their_ranges)
{
    const tn_prep p = {.width = 8, .height = 8, .jitter = {0.4, 1.5, 0.2, 0.1}, .seed = 5};
    const double low[] = {0.6, 0, 0.8, -0.1}, high[] = {1.4, 2.5, 1.2, 0.1};
    int first[TN_JITTER_STEPS] = {0};
    ck_assert(tn_prep_varies(&p) && !tn_prep_varies(&plain));
    for (int i = 0; i < 400; i++) {
        const tn_variation v = tn_vary(&p, 2, i), other = tn_vary(&p, 3, i);
        for (int k = 0; k < TN_JITTER_STEPS; k++) ck_assert(v.factor[k] >= low[k] && v.factor[k] <= high[k]);
        ck_assert(v.factor[TN_HUE] != other.factor[TN_HUE]);
        first[v.order[0]]++;
    }
    for (int k = 0; k < TN_JITTER_STEPS; k++) ck_assert_int_gt(first[k], 60);
}
END_TEST

int main(void)
{
    tn_error unread;
    Suite *s = suite_create("windows");
    TCase *t = tcase_create("windows");
    snprintf(work, sizeof work, "/tmp/tracknet-windows-XXXXXX");
    if (!mkdtemp(work) || draw_clips("batches", 5, 128, 72, &unread)) return 2;
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, windows_lie_within_clips, 0, TN_COUNT(layouts));
    tcase_add_loop_test(t, a_window_longer_than_every_clip_is_one_sentence, 0, 2);
    tcase_add_test(t, rows_are_put_in_the_order_of_their_frames);
    tcase_add_loop_test(t, a_window_is_varied_all_alike, 0, 2 * TN_COUNT(shapes));
    tcase_add_loop_test(t, labels_are_known_without_the_frames, 0, TN_COUNT(shapes));
    tcase_add_loop_test(t, colours_are_torchvisions, 0, TN_COUNT(jitters));
    tcase_add_test(t, labels_follow_crop_and_flip);
    tcase_add_test(t, colour_factors_are_drawn_within_their_ranges);
    suite_add_tcase(s, t);
    const int status = run_suite(s);
    (void)tn_remove_tree(work, &unread);
    return status;
}
