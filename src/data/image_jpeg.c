/* JPEG through libjpeg-turbo. */
#include "image_codec.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

typedef struct {
    struct jpeg_error_mgr base;
    jmp_buf jump;
    char text[JMSG_LENGTH_MAX];
    bool truncated;
} jpeg_errors;

typedef struct {
    struct jpeg_decompress_struct d;
    jpeg_errors e;
    uint8_t *ink; /* one row of CMYK, or NULL */
} jpeg_job;

static void on_error(j_common_ptr c)
{
    jpeg_errors *e = (jpeg_errors *)c->err;
    e->base.format_message(c, e->text);
    longjmp(e->jump, 1);
}

/* Warnings are harmless oddities, except that the file ended early. */
static void on_warning(j_common_ptr c, int level)
{
    jpeg_errors *e = (jpeg_errors *)c->err;
    if (level >= 0) return;
    char text[JMSG_LENGTH_MAX];
    e->base.format_message(c, text);
    e->base.num_warnings++;
    if (!strncmp(text, "Premature end of JPEG", 21)) e->truncated = true;
}

/* Ink as Adobe stores it, 255 for none, with or without Adobe's marker: so Pillow and OpenCV read it. The rounding is Pillow's. */
static void ink_to_rgb(uint8_t *rgb, const uint8_t *ink, int n)
{
    for (int i = 0; i < n; i++, ink += 4, rgb += 3)
        for (int c = 0; c < 3; c++) {
            const unsigned v = (255u - ink[c]) * ink[3] + 128;
            rgb[c] = (uint8_t)(ink[3] - ((v + (v >> 8)) >> 8));
        }
}

static int jpeg_pixels(jpeg_job *j, tn_image *im, tn_error *err)
{
    struct jpeg_decompress_struct *d = &j->d;
    const bool ink = d->jpeg_color_space == JCS_CMYK || d->jpeg_color_space == JCS_YCCK;
    d->out_color_space = ink ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(d);
    TN_TRY(tn_image_new(im, im->w, im->h, err));
    j->ink = ink ? malloc((size_t)im->w * 4) : NULL;
    if (ink && !j->ink) return tn_oom(err);
    while (d->output_scanline < d->output_height) {
        uint8_t *rgb = im->rgb + (size_t)d->output_scanline * (size_t)im->w * 3;
        JSAMPROW row = ink ? j->ink : rgb;
        jpeg_read_scanlines(d, &row, 1);
        if (ink) ink_to_rgb(rgb, row, im->w);
    }
    jpeg_finish_decompress(d);
    return 0;
}

/* Everything that libjpeg may jump out of; what it allocates hangs on j and im. */
static int jpeg_run(jpeg_job *j, tn_image *im, FILE *f, const char *path, bool sizes_only, tn_error *err)
{
    if (setjmp(j->e.jump)) return tn_fail(err, TN_ERR_FORMAT, "%s: not a readable JPEG (%s)", path, j->e.text);
    jpeg_create_decompress(&j->d);
    jpeg_stdio_src(&j->d, f);
    jpeg_read_header(&j->d, TRUE);
    if (j->d.image_width > TN_MAX_SIDE || j->d.image_height > TN_MAX_SIDE)
        return tn_image_too_large(path, j->d.image_width, j->d.image_height, err);
    im->w = (int)j->d.image_width;
    im->h = (int)j->d.image_height;
    return sizes_only ? 0 : jpeg_pixels(j, im, err);
}

int tn_jpeg_read(tn_image *im, FILE *f, const char *path, bool sizes_only, tn_error *err)
{
    *im = (tn_image){0};
    jpeg_job *j = calloc(1, sizeof *j);
    if (!j) return tn_oom(err);
    j->d.err = jpeg_std_error(&j->e.base);
    j->e.base.error_exit = on_error;
    j->e.base.emit_message = on_warning;
    int rc = jpeg_run(j, im, f, path, sizes_only, err);
    jpeg_destroy_decompress(&j->d);
    if (!rc && j->e.truncated) rc = tn_fail(err, TN_ERR_FORMAT, "%s: the JPEG ends too early", path);
    free(j->ink);
    free(j);
    if (rc) tn_image_free(im);
    return rc;
}
