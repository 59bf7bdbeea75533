/* Images, and the order they come in. */
#include "files.h"
#include "image.h"
#include "loader.h"
#include "unit.h"

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

void unit_data(Suite *s)
{
    add_tests(s, "data", 120,
              TESTS(TIMES(resize_is_pillows, 3), ONCE(a_truncated_jpeg_is_refused), ONCE(shuffles_are_permutations_of_the_seed)));
}
