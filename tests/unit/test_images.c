/* Odd pictures give the values that OpenCV's imread gives; what is damaged is refused by name. */
#include "../testlib.h"
#include "files.h"
#include "image.h"

#include <jpeglib.h>
#include <png.h>
#include <string.h>

enum { W = 5, HH = 3 };

/* How the test writes a PNG: rows as they are stored, `bits` of `colour`. */
typedef struct {
    int bits, colour, interlace, width, height;
    double gamma; /* 0: no gAMA */
    bool srgb, trns;
    png_color palette[4];
} png_spec;

static char *write_png(const png_spec *s, const uint8_t *rows, size_t stride)
{
    char *path = temp_path("odd.png");
    FILE *f = fopen(path, "wb");
    png_structp p = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop i = png_create_info_struct(p);
    ck_assert(f && p && i && !setjmp(png_jmpbuf(p)));
    png_init_io(p, f);
    png_set_IHDR(p, i, (png_uint_32)s->width, (png_uint_32)s->height, s->bits, s->colour, s->interlace,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (s->colour == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(p, i, s->palette, 4);
    if (s->gamma > 0) png_set_gAMA(p, i, s->gamma);
    if (s->srgb) png_set_sRGB(p, i, PNG_sRGB_INTENT_PERCEPTUAL);
    png_byte alphas[4] = {0, 128, 255, 7};
    png_color_16 clear = {.red = rows[0], .green = rows[1], .blue = rows[2], .gray = 1};
    if (s->trns) png_set_tRNS(p, i, alphas, 4, &clear);
    png_write_info(p, i);
    png_bytep v[64];
    for (int y = 0; y < s->height; y++) v[y] = (png_bytep)rows + (size_t)y * stride;
    png_write_image(p, v);
    png_write_end(p, i);
    png_destroy_write_struct(&p, &i);
    fclose(f);
    return path;
}

static void is_image(const char *path, int w, int h, const uint8_t *want)
{
    tn_image im;
    tn_error e;
    int sw, sh;
    ck_assert_msg(!tn_image_load(&im, path, &e), "%s", e.message);
    ck_assert(im.w == w && im.h == h);
    for (int i = 0; i < w * h * 3; i++) ck_assert_msg(im.rgb[i] == want[i], "value %d is %d and not %d", i, im.rgb[i], want[i]);
    ck_assert_msg(!tn_image_size(&sw, &sh, path, &e), "%s", e.message);
    ck_assert(sw == w && sh == h);
    tn_image_free(&im);
}

static const png_spec specs[] = {
    {.bits = 8, .colour = PNG_COLOR_TYPE_RGB},
    {.bits = 8, .colour = PNG_COLOR_TYPE_RGB, .gamma = 1.0},
    {.bits = 8, .colour = PNG_COLOR_TYPE_RGB, .gamma = 1 / 1.8, .trns = true},
    {.bits = 8, .colour = PNG_COLOR_TYPE_RGB, .srgb = true, .gamma = 0.45455},
    {.bits = 8, .colour = PNG_COLOR_TYPE_RGB_ALPHA},
    {.bits = 8, .colour = PNG_COLOR_TYPE_GRAY},
    {.bits = 8, .colour = PNG_COLOR_TYPE_GRAY, .gamma = 1.0, .trns = true},
    {.bits = 8, .colour = PNG_COLOR_TYPE_GRAY_ALPHA},
    {.bits = 16, .colour = PNG_COLOR_TYPE_RGB},
    {.bits = 16, .colour = PNG_COLOR_TYPE_RGB, .srgb = true},
    {.bits = 16, .colour = PNG_COLOR_TYPE_RGB, .gamma = 1.0, .trns = true},
    {.bits = 16, .colour = PNG_COLOR_TYPE_RGB_ALPHA, .gamma = 0.45455},
    {.bits = 16, .colour = PNG_COLOR_TYPE_GRAY},
    {.bits = 16, .colour = PNG_COLOR_TYPE_GRAY, .trns = true, .gamma = 1.0},
    {.bits = 16, .colour = PNG_COLOR_TYPE_GRAY_ALPHA},
};
enum { SPECS = sizeof specs / sizeof *specs };

/* Samples of every kind, straight and interlaced: the high byte of each colour, and grey three times. */
START_TEST(samples_are_their_high_bytes)
{
    png_spec s = specs[_i % SPECS];
    s.width = W, s.height = HH, s.interlace = _i < SPECS ? PNG_INTERLACE_NONE : PNG_INTERLACE_ADAM7;
    const bool colour = s.colour & PNG_COLOR_MASK_COLOR, alpha = s.colour & PNG_COLOR_MASK_ALPHA;
    const int channels = (colour ? 3 : 1) + alpha, bytes = s.bits / 8;
    uint8_t rows[W * HH * 4 * 2], want[W * HH * 3];
    for (int i = 0; i < W * HH * channels * bytes; i++) rows[i] = (uint8_t)(i * 37 + 11);
    rows[0] = 0, rows[bytes] = 255;
    for (int i = 0; i < W * HH; i++)
        for (int c = 0; c < 3; c++) want[3 * i + c] = rows[(i * channels + (colour ? c : 0)) * bytes];
    char *p = write_png(&s, rows, (size_t)(W * channels * bytes));
    is_image(p, W, HH, want);
    free(p);
}
END_TEST

START_TEST(few_bits_are_stretched)
{
    static const uint8_t one[] = {0xa0}, two[] = {0x1b}, four[] = {0x0f, 0x3c};
    static const uint8_t want1[] = {255, 255, 255, 0, 0, 0, 255, 255, 255, 0, 0, 0},
                         want2[] = {0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255},
                         want4[] = {0, 0, 0, 255, 255, 255, 51, 51, 51, 204, 204, 204};
    const uint8_t *rows[] = {one, two, four}, *want[] = {want1, want2, want4};
    for (int trns = 0; trns < 2; trns++) {
        const png_spec s = {.bits = 1 << _i, .colour = PNG_COLOR_TYPE_GRAY, .width = 4, .height = 1, .trns = trns, .gamma = 1.0};
        uint8_t row[4];
        memcpy(row, rows[_i], (size_t)(4 * s.bits + 7) / 8);
        char *p = write_png(&s, row, 4);
        is_image(p, 4, 1, want[_i]);
        free(p);
    }
}
END_TEST

START_TEST(palettes_are_looked_up)
{
    static const uint8_t rows[][4] = {{0x1b}, {0x01, 0x23}, {0, 1, 2, 3}};
    png_spec s = {.bits = 2 << _i,
                  .colour = PNG_COLOR_TYPE_PALETTE,
                  .width = 4,
                  .height = 1,
                  .gamma = 1.0,
                  .palette = {{1, 2, 3}, {40, 50, 60}, {255, 0, 128}, {9, 99, 199}}};
    static const uint8_t want[] = {1, 2, 3, 40, 50, 60, 255, 0, 128, 9, 99, 199};
    for (int trns = 0; trns < 2; trns++) {
        s.trns = trns;
        char *p = write_png(&s, rows[_i], 4);
        is_image(p, 4, 1, want);
        free(p);
    }
}
END_TEST

/* Every cut of a PNG, and a flipped bit in its pixels or header, is told of in one sentence that names the file. */
START_TEST(damaged_pngs_are_refused)
{
    const png_spec s = {.bits = 8, .colour = PNG_COLOR_TYPE_RGB, .width = W, .height = HH};
    uint8_t rows[W * HH * 3];
    for (size_t i = 0; i < sizeof rows; i++) rows[i] = (uint8_t)(i * i);
    char *good = write_png(&s, rows, (size_t)W * 3), *bad = temp_path("bad.png"), *data;
    size_t n;
    tn_error e;
    tn_image im;
    ck_assert(!tn_read_file(&data, &n, good, &e));
    for (size_t cut = 0; cut < n; cut++) {
        tn_write_file(bad, data, cut, NULL);
        ck_assert_msg(tn_image_load(&im, bad, &e) == TN_ERR_FORMAT && !im.rgb && strstr(e.message, bad), "cut at %zu", cut);
    }
    for (size_t at = 16; at < n; at++) {
        data[at] = (char)(data[at] ^ 4);
        tn_write_file(bad, data, n, NULL);
        ck_assert_msg(tn_image_load(&im, bad, &e) == TN_ERR_FORMAT && !im.rgb && strstr(e.message, bad), "damaged at %zu", at);
        data[at] = (char)(data[at] ^ 4);
    }
    free(data), free(good), free(bad);
}
END_TEST

/* ---- JPEG ---- */

enum { SIDE = 16 };

typedef struct {
    int components;
    J_COLOR_SPACE in, stored;
    bool adobe, progressive, exif;
} jpeg_spec;

/* One colour all over, which survives JPEG's rounding at quality 100 where its YCC is whole. */
static char *write_jpeg(const jpeg_spec *s, const uint8_t *colour)
{
    char *path = temp_path("odd.jpg");
    FILE *f = fopen(path, "wb");
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr e;
    c.err = jpeg_std_error(&e);
    jpeg_create_compress(&c);
    jpeg_stdio_dest(&c, f);
    c.image_width = SIDE, c.image_height = SIDE / 2, c.input_components = s->components, c.in_color_space = s->in;
    jpeg_set_defaults(&c);
    jpeg_set_colorspace(&c, s->stored);
    jpeg_set_quality(&c, 100, TRUE);
    if (s->progressive) jpeg_simple_progression(&c);
    c.write_Adobe_marker = s->adobe;
    jpeg_start_compress(&c, TRUE);
    /* orientation 6: a viewer turns it */
    static const uint8_t exif[] = "Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    if (s->exif) jpeg_write_marker(&c, JPEG_APP0 + 1, exif, sizeof exif - 1);
    uint8_t row[SIDE * 4];
    for (int i = 0; i < SIDE * s->components; i++) row[i] = colour[i % s->components];
    JSAMPROW r = row;
    while (c.next_scanline < c.image_height) jpeg_write_scanlines(&c, &r, 1);
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    fclose(f);
    return path;
}

static void is_colour(const jpeg_spec *s, const uint8_t *colour, const uint8_t rgb[3])
{
    uint8_t want[SIDE * SIDE / 2 * 3];
    for (size_t i = 0; i < sizeof want; i++) want[i] = rgb[i % 3];
    char *p = write_jpeg(s, colour);
    is_image(p, SIDE, SIDE / 2, want);
    free(p);
}

START_TEST(jpegs_of_every_kind)
{
    static const jpeg_spec rgb[] = {{.components = 3, .in = JCS_RGB, .stored = JCS_YCbCr, .progressive = true},
                                    {.components = 3, .in = JCS_RGB, .stored = JCS_YCbCr, .exif = true},
                                    {.components = 3, .in = JCS_RGB, .stored = JCS_RGB, .adobe = true},
                                    {.components = 1, .in = JCS_GRAYSCALE, .stored = JCS_GRAYSCALE}};
    static const uint8_t grey[] = {77, 77, 77};
    for (int i = 0; i < 4; i++) is_colour(&rgb[i], grey, grey);
}
END_TEST

/* Pillow's convert("RGB") of the same files, to the bit: 255 is no ink, marker or not. */
START_TEST(ink_is_adobes)
{
    static const struct {
        uint8_t ink[4], rgb[3];
    } cases[] = {{{255, 255, 255, 255}, {255, 255, 255}}, {{0, 0, 0, 0}, {0, 0, 0}},
                 {{255, 255, 255, 0}, {0, 0, 0}},         {{0, 0, 0, 255}, {0, 0, 0}},
                 {{0, 255, 255, 255}, {0, 255, 255}},     {{200, 100, 50, 255}, {200, 100, 50}},
                 {{200, 100, 50, 128}, {100, 50, 25}},    {{10, 20, 30, 77}, {3, 6, 9}}};
    static const jpeg_spec marked = {.components = 4, .in = JCS_CMYK, .stored = JCS_CMYK, .adobe = true},
                           plain = {.components = 4, .in = JCS_CMYK, .stored = JCS_CMYK};
    is_colour(&marked, cases[_i].ink, cases[_i].rgb);
    is_colour(&plain, cases[_i].ink, cases[_i].rgb);
}
END_TEST

START_TEST(ycck_is_turned_to_ink)
{
    static const jpeg_spec ycck = {.components = 4, .in = JCS_CMYK, .stored = JCS_YCCK, .adobe = true};
    static const uint8_t ink[] = {90, 90, 90, 255}, rgb[] = {90, 90, 90}, dark[] = {90, 90, 90, 51}, rgb_dark[] = {18, 18, 18};
    is_colour(&ycck, ink, rgb);
    is_colour(&ycck, dark, rgb_dark);
}
END_TEST

START_TEST(names_of_pictures)
{
    static const char *const yes[] = {"a.jpg", "a.JPG", "b.Jpeg", "c.png", "d.e.PNG"}, *const no[] = {"a.bmp", "jpg", ".png",
                                                                                                      "a.jpg~", "a.csv"};
    for (int i = 0; i < 5; i++) ck_assert(tn_image_named(yes[i]) && !tn_image_named(no[i]));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("images");
    TCase *c = tcase_create("images");
    tcase_add_loop_test(c, samples_are_their_high_bytes, 0, 2 * SPECS);
    tcase_add_loop_test(c, few_bits_are_stretched, 0, 3);
    tcase_add_loop_test(c, palettes_are_looked_up, 0, 3);
    tcase_add_test(c, damaged_pngs_are_refused);
    tcase_add_test(c, jpegs_of_every_kind);
    tcase_add_loop_test(c, ink_is_adobes, 0, 8);
    tcase_add_test(c, ycck_is_turned_to_ink);
    tcase_add_test(c, names_of_pictures);
    suite_add_tcase(s, c);
    return run_suite(s);
}
