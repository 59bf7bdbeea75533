/* JPEG through libjpeg-turbo and PNG through libpng's simplified interface. */
#include "files.h"
#include "image.h"

#include <errno.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>
#include <unistd.h>

enum { MAX_SIDE = 32768 };

typedef struct {
    struct jpeg_error_mgr base;
    jmp_buf jump;
    char text[JMSG_LENGTH_MAX];
    bool truncated;
} jpeg_errors;

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
    if (strstr(text, "remature end")) e->truncated = true;
}

static int load_jpeg(tn_image *im, FILE *f, const char *path, tn_error *err)
{
    struct jpeg_decompress_struct d;
    jpeg_errors e = {0};
    d.err = jpeg_std_error(&e.base);
    e.base.error_exit = on_error;
    e.base.emit_message = on_warning;
    if (setjmp(e.jump)) {
        jpeg_destroy_decompress(&d);
        tn_image_free(im);
        return tn_fail(err, TN_ERR_FORMAT, "%s: not a readable JPEG (%s); replace the frame or remove its row in Label.csv", path,
                       e.text);
    }
    jpeg_create_decompress(&d);
    jpeg_stdio_src(&d, f);
    jpeg_read_header(&d, TRUE);
    d.out_color_space = JCS_RGB;
    jpeg_start_decompress(&d);
    int rc = d.output_width > MAX_SIDE || d.output_height > MAX_SIDE
                 ? tn_fail(err, TN_ERR_FORMAT, "%s: %u x %u pixels is too large", path, d.output_width, d.output_height)
                 : tn_image_new(im, (int)d.output_width, (int)d.output_height, err);
    while (!rc && d.output_scanline < d.output_height) {
        JSAMPROW row = im->rgb + (size_t)d.output_scanline * (size_t)im->w * 3;
        jpeg_read_scanlines(&d, &row, 1);
    }
    if (!rc) jpeg_finish_decompress(&d);
    jpeg_destroy_decompress(&d);
    if (!rc && e.truncated) {
        tn_image_free(im);
        rc = tn_fail(err, TN_ERR_FORMAT, "%s: the JPEG ends too early; copy the frame again or remove its row in Label.csv", path);
    }
    return rc;
}

static int load_png(tn_image *im, const char *path, tn_error *err)
{
    png_image p = {.version = PNG_IMAGE_VERSION};
    int rc = 0;
    if (!png_image_begin_read_from_file(&p, path))
        return tn_fail(err, TN_ERR_FORMAT, "%s: not a readable PNG (%s)", path, p.message);
    p.format = PNG_FORMAT_RGB;
    if (p.width > MAX_SIDE || p.height > MAX_SIDE)
        rc = tn_fail(err, TN_ERR_FORMAT, "%s: %u x %u pixels is too large", path, p.width, p.height);
    if (!rc) rc = tn_image_new(im, (int)p.width, (int)p.height, err);
    const png_color black = {0, 0, 0};
    if (!rc && !png_image_finish_read(&p, &black, im->rgb, 0, NULL)) {
        rc = tn_fail(err, TN_ERR_FORMAT, "%s: not a readable PNG (%s)", path, p.message);
        tn_image_free(im);
    }
    png_image_free(&p);
    return rc;
}

int tn_image_load(tn_image *im, const char *path, tn_error *err)
{
    *im = (tn_image){0};
    FILE *f = fopen(path, "rb");
    if (!f) return tn_fail(err, TN_ERR_IO, "cannot open frame '%s': %s", path, strerror(errno));
    unsigned char magic[8] = {0};
    size_t n = fread(magic, 1, 8, f);
    rewind(f);
    int rc;
    if (n >= 3 && magic[0] == 0xff && magic[1] == 0xd8) rc = load_jpeg(im, f, path, err);
    else if (n == 8 && !memcmp(magic, "\x89PNG\r\n\x1a\n", 8)) rc = load_png(im, path, err);
    else rc = tn_fail(err, TN_ERR_FORMAT, "%s: neither JPEG nor PNG", path);
    fclose(f);
    return rc;
}

/* Moves a finished temporary file into place. */
static int put(const char *tmp, const char *path, bool ok, tn_error *err)
{
    if (ok && !rename(tmp, path)) return 0;
    int e = errno;
    unlink(tmp);
    return tn_fail(err, TN_ERR_IO, "cannot write picture '%s': %s", path, e ? strerror(e) : "the disk may be full");
}

int tn_image_save_png(const tn_image *im, const char *path, tn_error *err)
{
    png_image p = {
        .version = PNG_IMAGE_VERSION, .width = (png_uint_32)im->w, .height = (png_uint_32)im->h, .format = PNG_FORMAT_RGB};
    char *tmp = tn_strf("%s.tmp.%ld", path, (long)getpid());
    if (!tmp) return tn_oom(err);
    errno = 0;
    int rc = put(tmp, path, png_image_write_to_file(&p, tmp, 0, im->rgb, 0, NULL), err);
    free(tmp);
    return rc;
}

int tn_image_save_jpeg(const tn_image *im, const char *path, int quality, tn_error *err)
{
    struct jpeg_compress_struct c;
    jpeg_errors e = {0};
    char *tmp = tn_strf("%s.tmp.%ld", path, (long)getpid());
    FILE *f = tmp ? fopen(tmp, "wb") : NULL;
    if (!f) {
        free(tmp);
        return tn_fail(err, TN_ERR_IO, "cannot write picture '%s': %s", path, strerror(errno));
    }
    volatile bool ok = false;
    c.err = jpeg_std_error(&e.base);
    e.base.error_exit = on_error;
    if (!setjmp(e.jump)) {
        jpeg_create_compress(&c);
        jpeg_stdio_dest(&c, f);
        c.image_width = (JDIMENSION)im->w;
        c.image_height = (JDIMENSION)im->h;
        c.input_components = 3;
        c.in_color_space = JCS_RGB;
        jpeg_set_defaults(&c);
        jpeg_set_quality(&c, quality, TRUE);
        jpeg_start_compress(&c, TRUE);
        while (c.next_scanline < c.image_height) {
            JSAMPROW row = im->rgb + (size_t)c.next_scanline * (size_t)im->w * 3;
            jpeg_write_scanlines(&c, &row, 1);
        }
        jpeg_finish_compress(&c);
        ok = true;
    }
    jpeg_destroy_compress(&c);
    if (fclose(f)) ok = false;
    int rc = put(tmp, path, ok, err);
    free(tmp);
    return rc;
}
