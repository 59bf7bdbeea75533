/* Images, and the order they come in. */
#include "files.h"
#include "image.h"
#include "loader.h"
#include "numeric.h"
#include "resize.h"
#include "unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

START_TEST(resize_is_pillows)
{
    static const struct {
        const char *file;
        int w, h, x0, y0, x1, y1;
    } cases[] = {{"volleyball_0010_512x288.png", 512, 288, 0, 0, 0, 0},
                 {"volleyball_0010_250x141.png", 250, 141, 0, 0, 0, 0},
                 {"volleyball_0010_crop300_200_400_260_to_224x133.png", 224, 133, 300, 200, 400, 260}};
    tn_image im, want, got, part;
    tn_error e = {0};
    char *p = tn_strf("%s/tests/golden/cases/preprocess/%s", SOURCE_DIR, cases[_i].file);
    ck_assert_msg(!tn_image_load(&im, SOURCE_DIR "/tests/data/volleyball/game1/Clip1/0010.jpg", &e), "%s", e.message);
    ck_assert_msg(!tn_image_load(&want, p, &e), "%s", e.message);
    if (cases[_i].x1) {
        ck_assert_int_eq(tn_image_new(&part, cases[_i].x1 - cases[_i].x0, cases[_i].y1 - cases[_i].y0, &e), 0);
        for (int y = 0; y < part.h; y++)
            memcpy(part.rgb + y * part.w * 3, im.rgb + ((cases[_i].y0 + y) * im.w + cases[_i].x0) * 3, (size_t)part.w * 3);
        tn_image_free(&im);
        im = part;
    }
    ck_assert_int_eq(tn_image_resize(&got, &im, cases[_i].w, cases[_i].h, &e), 0);
    int off = 0, far = 0;
    for (int i = 0; i < got.w * got.h * 3; i++) {
        int d = abs(got.rgb[i] - want.rgb[i]);
        off += d == 1;
        far += d > 1;
    }
    ck_assert_int_eq(far, 0);
    ck_assert_int_lt(off, got.w * got.h * 3 / 1000 + 1);
    tn_image_free(&im), tn_image_free(&want), tn_image_free(&got);
    free(p);
}
END_TEST

/* Target o of `out` from n samples `step` bytes apart, as Pillow weighs them. */
static uint8_t weighed(const uint8_t *s, size_t step, int n, int out, int o)
{
    const double scale = (double)n / out, support = fmax(scale, 1), centre = (o + 0.5) * scale;
    const int lo = TN_MAX((int)(centre - support + 0.5), 0), hi = TN_MIN((int)(centre + support + 0.5), n);
    double sum = 0;
    long long v = 1 << 21;
    for (int i = lo; i < hi; i++) sum += fmax(1 - fabs((i - centre + 0.5) / support), 0);
    for (int i = lo; i < hi; i++)
        v += (long long)floor(fmax(1 - fabs((i - centre + 0.5) / support), 0) / sum * (1 << 22) + 0.5) * s[(size_t)i * step];
    return (uint8_t)TN_MIN(v >> 22, 255);
}

static void plain_resize(uint8_t *out, const uint8_t *in, int in_w, int in_h, int w, int h)
{
    uint8_t *mid = malloc((size_t)w * (size_t)in_h * 3);
    const size_t row = 3 * (size_t)w;
    for (int y = 0; y < in_h; y++)
        for (int i = 0; i < 3 * w; i++) mid[y * 3 * w + i] = weighed(in + y * 3 * in_w + i % 3, 3, in_w, w, i / 3);
    for (int y = 0; y < h; y++)
        for (int i = 0; i < 3 * w; i++) out[y * 3 * w + i] = weighed(mid + i, row, in_h, h, y);
    free(mid);
}

/* Sizes drawn at random, one resizer for all, rows in blocks of any height, with and without the processor's wide instructions. */
START_TEST(blocks_give_what_single_pixels_give)
{
    enum { MOST = 80 };
    tn_rng r = tn_rng_named(1, "sizes");
    tn_resizer resizer = {.plain = _i};
    tn_error e = {0};
    uint8_t *in = malloc(MOST * MOST * 3), *want = malloc(MOST * MOST * 3), *got = malloc(MOST * MOST * 3 + 1);
    for (int k = 0; k < 200; k++) {
        int size[4];
        for (int i = 0; i < 4; i++) size[i] = 1 + (int)tn_rng_below(&r, MOST);
        if (k % 8 == 0) size[2] = size[0];
        if (k % 9 == 0) size[3] = size[1];
        const size_t row = 3 * (size_t)size[0], bytes = 3 * (size_t)size[2] * (size_t)size[3];
        for (size_t i = 0; i < row * (size_t)size[1]; i++) in[i] = (uint8_t)(k % 3 ? tn_rng_below(&r, 256) : 255);
        plain_resize(want, in, size[0], size[1], size[2], size[3]);
        got[bytes] = 77;
        ck_assert(!tn_resizer_begin(&resizer, size[0], size[1], size[2], size[3], got, &e));
        for (int y = 0, n; y < size[1]; y += n) {
            n = TN_MIN(1 + (int)tn_rng_below(&r, TN_RESIZE_ROWS), size[1] - y);
            tn_resizer_rows(&resizer, in + (size_t)y * row, row, n);
        }
        ck_assert_msg(!memcmp(got, want, bytes), "%d x %d to %d x %d", size[0], size[1], size[2], size[3]);
        ck_assert_int_eq(got[bytes], 77);
    }
    tn_resizer_free(&resizer);
    free(in), free(want), free(got);
}
END_TEST

START_TEST(a_truncated_jpeg_is_refused)
{
    char *data, *p = temp_path("cut.jpg");
    size_t n;
    tn_error e = {0};
    tn_image im;
    ck_assert_int_eq(tn_read_file(&data, &n, SOURCE_DIR "/tests/data/volleyball/game1/Clip1/0000.jpg", &e), 0);
    tn_write_file(p, data, n / 2, NULL);
    ck_assert_int_ne(tn_image_load(&im, p, &e), 0);
    ck_assert_msg(strstr(e.message, "ends too early") && strstr(e.message, p), "%s", e.message);
    tn_write_file(p, data, 20, NULL);
    ck_assert_int_ne(tn_image_load(&im, p, &e), 0);
    tn_write_file(p, "plain text", 10, NULL);
    ck_assert_int_ne(tn_image_load(&im, p, &e), 0);
    ck_assert(strstr(e.message, "neither JPEG nor PNG"));
    free(data), free(p);
}
END_TEST

START_TEST(shuffles_are_permutations_of_the_seed)
{
    int a[50], b[50], seen[50] = {0};
    tn_shuffle(a, 50, 1, 2);
    tn_shuffle(b, 50, 1, 2);
    ck_assert_mem_eq(a, b, sizeof a);
    tn_shuffle(b, 50, 1, 3);
    ck_assert(memcmp(a, b, sizeof a));
    for (int i = 0; i < 50; i++) seen[a[i]]++;
    for (int i = 0; i < 50; i++) ck_assert_int_eq(seen[i], 1);
}
END_TEST

enum { CACHE_W = 64, CACHE_H = 36, CACHE_FRAME = CACHE_W * CACHE_H * 3, CACHE_FRAMES = 5, CACHE_KEPT = 3 };

/* A pass of epoch 1 over the frames 0 to n - 1, in batches of 2: how many came, their bytes to `to`, and the error. */
static int cache_pass(tn_loader *l, int n, uint8_t *to, tn_error *e)
{
    static const int order[CACHE_FRAMES] = {0, 1, 2, 3, 4};
    tn_batch b = {.n = 1};
    int got = 0;
    if (tn_loader_start(l, order, n, 1, e)) return got;
    while (b.n) {
        if (tn_loader_next(l, &b, e)) break;
        memcpy(to + (size_t)got * CACHE_FRAME, b.frames, (size_t)b.n * CACHE_FRAME);
        got += b.n;
    }
    return got;
}

/* The frames that go into the memory given come from there, as they were and flipped as ever; the others from their files. */
START_TEST(frames_are_kept_up_to_the_limit)
{
    static const tn_prep prep = {.width = CACHE_W, .height = CACHE_H, .heat_w = 32, .heat_h = 18, .flip_prob = 0.5, .seed = 5};
    tn_frame f[CACHE_FRAMES] = {{0}};
    const tn_dataset d = {.f = f, .n = CACHE_FRAMES};
    static uint8_t want[CACHE_FRAMES * CACHE_FRAME], got[CACHE_FRAMES * CACHE_FRAME];
    tn_error e = {0};
    tn_loader *none, *some;
    size_t bytes;
    for (int i = 0; i < CACHE_FRAMES; i++) {
        char *data, *from = tn_strf("%s/tests/data/volleyball/game1/Clip1/000%d.jpg", SOURCE_DIR, i), name[16];
        size_t n;
        snprintf(name, sizeof name, "kept%d.jpg", i);
        f[i].path = temp_path(name);
        ck_assert(!tn_read_file(&data, &n, from, &e) && !tn_write_file(f[i].path, data, n, &e));
        free(data), free(from);
    }
    ck_assert(!tn_loader_new(&none, &d, &prep, 2, 3, 2, CACHE_FRAME - 1, &e));
    ck_assert(!tn_loader_new(&some, &d, &prep, 2, _i, 2, CACHE_KEPT * CACHE_FRAME + 5, &e));
    ck_assert_int_eq(tn_loader_keeps(none, &bytes), 0);
    ck_assert_int_eq(tn_loader_keeps(some, &bytes), CACHE_KEPT);
    ck_assert_uint_eq(bytes, CACHE_FRAME);
    ck_assert_int_eq(cache_pass(none, CACHE_FRAMES, want, &e), CACHE_FRAMES);
    for (int again = 0; again < 2; again++) {
        memset(got, 0, sizeof got);
        ck_assert_int_eq(cache_pass(some, CACHE_FRAMES, got, &e), CACHE_FRAMES);
        ck_assert_mem_eq(got, want, sizeof got);
    }
    for (int i = 0; i < CACHE_FRAMES; i++) unlink(f[i].path);
    memset(got, 0, sizeof got);
    ck_assert_int_eq(cache_pass(some, CACHE_KEPT, got, &e), CACHE_KEPT);
    ck_assert_mem_eq(got, want, CACHE_KEPT * CACHE_FRAME);
    ck_assert_int_eq(cache_pass(some, CACHE_FRAMES, got, &e),
                     CACHE_KEPT - 1); /* the third shares its batch with one that is gone */
    ck_assert_msg(strstr(e.message, f[CACHE_KEPT].path), "%s", e.message);
    ck_assert_int_eq(cache_pass(none, 1, got, &e), 0);
    tn_loader_free(none), tn_loader_free(some);
    for (int i = 0; i < CACHE_FRAMES; i++) free(f[i].path);
}
END_TEST

/* One reader for JPEGs and PNGs of several sizes, one behind the other and after one that is damaged. */
START_TEST(a_reader_gives_what_load_and_resize_give)
{
    static const char *const files[] = {"data/volleyball/game1/Clip1/0003.jpg",
                                        "golden/cases/preprocess/volleyball_0010_250x141.png", "cut",
                                        "data/volleyball/game1/Clip1/0010.jpg"};
    static const int size[][2] = {{512, 288}, {100, 90}, {300, 141}};
    tn_image_reader *r;
    tn_image full, want, got;
    tn_error e = {0};
    char *data, *cut = temp_path("short.jpg");
    size_t n;
    int w, h;
    ck_assert(!tn_read_file(&data, &n, SOURCE_DIR "/tests/data/volleyball/game1/Clip1/0000.jpg", &e));
    ck_assert(!tn_write_file(cut, data, n / 2, &e) && !tn_image_reader_new(&r, &e));
    for (int k = 0; k < 12; k++) {
        const char *name = files[k % 4];
        char *p = tn_strf("%s/tests/%s", SOURCE_DIR, name);
        ck_assert(!tn_image_new(&got, size[k / 4][0], size[k / 4][1], &e));
        if (!strcmp(name, "cut")) {
            ck_assert(tn_image_reader_read(r, &got, &w, &h, cut, &e) && strstr(e.message, "ends too early"));
        } else {
            ck_assert(!tn_image_load(&full, p, &e) && !tn_image_resize(&want, &full, got.w, got.h, &e));
            ck_assert_msg(!tn_image_reader_read(r, &got, &w, &h, p, &e), "%s", e.message);
            ck_assert(w == full.w && h == full.h);
            ck_assert_mem_eq(got.rgb, want.rgb, (size_t)got.w * (size_t)got.h * 3);
            tn_image_free(&full), tn_image_free(&want);
        }
        tn_image_free(&got);
        free(p);
    }
    tn_image_reader_free(r);
    free(data), free(cut);
}
END_TEST

void unit_data(Suite *s)
{
    add_tests(s, "data", 120,
              TESTS(TIMES(resize_is_pillows, 3), TIMES(blocks_give_what_single_pixels_give, 2), ONCE(a_truncated_jpeg_is_refused),
                    ONCE(shuffles_are_permutations_of_the_seed), TIMES(frames_are_kept_up_to_the_limit, 4),
                    ONCE(a_reader_gives_what_load_and_resize_give)));
}
