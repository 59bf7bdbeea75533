/* Files of pictures: which decoder reads one, and how PNG and JPEG are written. */
#include "files.h"
#include "image_codec.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jpeglib.h>
#include <png.h>
#include <unistd.h>

typedef struct {
    struct jpeg_error_mgr base;
    jmp_buf jump;
} jpeg_save_errors;

static void save_failed(j_common_ptr c)
{
    longjmp(((jpeg_save_errors *)c->err)->jump, 1);
}

int tn_image_open(FILE **f, bool *png, const char *path, tn_error *err)
{
    *f = fopen(path, "rb");
    if (!*f) return tn_fail(err, TN_ERR_IO, "cannot open frame '%s': %s", path, strerror(errno));
    unsigned char magic[8] = {0};
    const size_t n = fread(magic, 1, 8, *f);
    rewind(*f);
    *png = n == 8 && !memcmp(magic, "\x89PNG\r\n\x1a\n", 8);
    if (*png || (n >= 3 && magic[0] == 0xff && magic[1] == 0xd8)) return 0;
    fclose(*f);
    return tn_fail(err, TN_ERR_FORMAT, "%s: neither JPEG nor PNG", path);
}

static int image_read(tn_image *im, const char *path, bool sizes_only, tn_error *err)
{
    FILE *f;
    bool png;
    *im = (tn_image){0};
    TN_TRY(tn_image_open(&f, &png, path, err));
    const int rc = (png ? tn_png_read : tn_jpeg_read)(im, f, path, sizes_only, err);
    fclose(f);
    return rc;
}

int tn_image_load(tn_image *im, const char *path, tn_error *err)
{
    return image_read(im, path, false, err);
}

int tn_image_size(int *w, int *h, const char *path, tn_error *err)
{
    tn_image im;
    TN_TRY(image_read(&im, path, true, err));
    *w = im.w;
    *h = im.h;
    return 0;
}

/* Whether the end of a JPEG or PNG stands in the last 4 KiB of the file, where others may have written behind it. */
static bool image_ends(const char *path)
{
    enum { TAIL = 4096 };
    char tail[TAIL];
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    if (fseek(f, -TAIL, SEEK_END)) rewind(f);
    const size_t n = fread(tail, 1, TAIL, f);
    fclose(f);
    return memmem(tail, n, "\xff\xd9", 2) || memmem(tail, n, "IEND", 4);
}

int tn_image_whole(int *w, int *h, const char *path, tn_error *err)
{
    tn_image im;
    TN_TRY(tn_image_size(w, h, path, err));
    if (image_ends(path)) return 0;
    TN_TRY(tn_image_load(&im, path, err));
    tn_image_free(&im);
    return 0;
}

bool tn_image_named(const char *name)
{
    static const char *const ends[] = {".jpg", ".jpeg", ".png"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && dot != name && i < TN_COUNT(ends); i++)
        if (!strcasecmp(dot, ends[i])) return true;
    return false;
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
    jpeg_save_errors e = {0};
    char *tmp = tn_strf("%s.tmp.%ld", path, (long)getpid());
    FILE *f = tmp ? fopen(tmp, "wb") : NULL;
    if (!f) {
        free(tmp);
        return tn_fail(err, TN_ERR_IO, "cannot write picture '%s': %s", path, strerror(errno));
    }
    volatile bool ok = false;
    c.err = jpeg_std_error(&e.base);
    e.base.error_exit = save_failed;
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
