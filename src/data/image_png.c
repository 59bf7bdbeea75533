/* PNG through libpng: whatever the file stores becomes the 8-bit RGB that OpenCV's imread gives. */
#include "image_codec.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

typedef struct {
    png_structp png;
    png_infop info;
    png_bytep *rows;
    jmp_buf jump;
    char text[160];
} png_job;

static void png_failed(png_structp png, png_const_charp text)
{
    png_job *j = png_get_error_ptr(png);
    snprintf(j->text, sizeof j->text, "%s", text);
    longjmp(j->jump, 1);
}

/* Oddities of chunks that do not touch the pixels. */
static void png_odd(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

/* To 8-bit RGB as it is stored: the high byte of 16 bits, alpha and tRNS dropped, and no gamma, whatever gAMA, sRGB or iCCP say. */
static void png_as_rgb(const png_job *j)
{
    const png_byte colour = png_get_color_type(j->png, j->info);
    if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(j->png);
    if (!(colour & PNG_COLOR_MASK_COLOR)) {
        if (png_get_bit_depth(j->png, j->info) < 8) png_set_expand_gray_1_2_4_to_8(j->png);
        png_set_gray_to_rgb(j->png);
    }
    png_set_strip_16(j->png);
    png_set_strip_alpha(j->png);
    png_set_interlace_handling(j->png);
    png_read_update_info(j->png, j->info);
}

static int png_pixels(png_job *j, tn_image *im, tn_error *err)
{
    png_as_rgb(j);
    TN_TRY(tn_image_new(im, im->w, im->h, err));
    j->rows = malloc(sizeof *j->rows * (size_t)im->h);
    if (!j->rows) return tn_oom(err);
    for (int y = 0; y < im->h; y++) j->rows[y] = im->rgb + (size_t)y * (size_t)im->w * 3;
    png_read_image(j->png, j->rows);
    png_read_end(j->png, NULL);
    return 0;
}

/* Everything that libpng may jump out of; what it allocates hangs on j and im. */
static int png_run(png_job *j, tn_image *im, FILE *f, const char *path, bool sizes_only, tn_error *err)
{
    if (setjmp(j->jump)) return tn_fail(err, TN_ERR_FORMAT, "%s: not a readable PNG (%s)", path, j->text);
    png_init_io(j->png, f);
    png_set_user_limits(j->png, 0x7fffffff, 0x7fffffff);
    png_read_info(j->png, j->info);
    const png_uint_32 w = png_get_image_width(j->png, j->info), h = png_get_image_height(j->png, j->info);
    if (w > TN_MAX_SIDE || h > TN_MAX_SIDE) return tn_image_too_large(path, w, h, err);
    im->w = (int)w;
    im->h = (int)h;
    return sizes_only ? 0 : png_pixels(j, im, err);
}

int tn_png_read(tn_image *im, FILE *f, const char *path, bool sizes_only, tn_error *err)
{
    *im = (tn_image){0};
    png_job *j = calloc(1, sizeof *j);
    if (!j) return tn_oom(err);
    if (!setjmp(j->jump)) {
        j->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, j, png_failed, png_odd);
        j->info = j->png ? png_create_info_struct(j->png) : NULL;
    }
    const int rc = j->info ? png_run(j, im, f, path, sizes_only, err) : tn_oom(err);
    png_destroy_read_struct(&j->png, &j->info, NULL);
    free(j->rows);
    free(j);
    if (rc) tn_image_free(im);
    return rc;
}
