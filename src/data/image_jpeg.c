/* JPEG through libjpeg-turbo. */
#include "image_codec.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <sys/stat.h>

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
    tn_jpeg_room *room;
    const char *path;
    tn_image *im; /* what the whole image becomes, or NULL: it is resized to `out` */
    tn_resizer *resizer;
    const tn_image *out;
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

/* The next n rows, one behind the other. */
static void jpeg_rows(jpeg_job *j, uint8_t *rgb, int n)
{
    struct jpeg_decompress_struct *d = &j->d;
    JSAMPROW row[TN_RESIZE_ROWS];
    for (int i = 0; i < n; i++) row[i] = rgb + (size_t)i * d->output_width * 3;
    for (int i = 0; i < n;) {
        JSAMPROW ink = j->ink;
        const int got = (int)jpeg_read_scanlines(d, ink ? &ink : row + i, ink ? 1 : (JDIMENSION)(n - i));
        if (ink) ink_to_rgb(row[i], ink, (int)d->output_width);
        i += got;
    }
}

/* Room for *n bytes at *p, whose content is lost. */
static int jpeg_need(uint8_t **p, size_t *n, size_t bytes, tn_error *err)
{
    if (*n >= bytes) return 0;
    free(*p);
    *p = malloc(bytes);
    *n = *p ? bytes : 0;
    return *p ? 0 : tn_oom(err);
}

static int jpeg_pixels(jpeg_job *j, tn_error *err)
{
    struct jpeg_decompress_struct *d = &j->d;
    const bool ink = d->jpeg_color_space == JCS_CMYK || d->jpeg_color_space == JCS_YCCK;
    d->out_color_space = ink ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(d);
    const int w = (int)d->output_width, h = (int)d->output_height;
    const size_t row = (size_t)w * 3;
    if (j->im) TN_TRY(tn_image_new(j->im, w, h, err));
    else TN_TRY(jpeg_need(&j->room->rows, &j->room->n_rows, row * TN_RESIZE_ROWS, err));
    if (!j->im) TN_TRY(tn_resizer_begin(j->resizer, w, h, j->out->w, j->out->h, j->out->rgb, err));
    j->ink = ink ? malloc((size_t)w * 4) : NULL;
    if (ink && !j->ink) return tn_oom(err);
    for (int y = 0; y < h; y += TN_RESIZE_ROWS) {
        const int n = TN_MIN((int)TN_RESIZE_ROWS, h - y);
        uint8_t *rgb = j->im ? j->im->rgb + (size_t)y * row : j->room->rows;
        jpeg_rows(j, rgb, n);
        if (!j->im) tn_resizer_rows(j->resizer, rgb, row, n);
    }
    jpeg_finish_decompress(d);
    return 0;
}

/* Everything that libjpeg may jump out of; what it allocates hangs on j. The file's `n` bytes lie in the room; 0: its header is
 * read from f, for the size. */
static int jpeg_run(jpeg_job *j, int *w, int *h, FILE *f, size_t n, tn_error *err)
{
    if (setjmp(j->e.jump)) return tn_fail(err, TN_ERR_FORMAT, "%s: not a readable JPEG (%s)", j->path, j->e.text);
    jpeg_create_decompress(&j->d);
    if (n) jpeg_mem_src(&j->d, j->room->file, n);
    else jpeg_stdio_src(&j->d, f);
    jpeg_read_header(&j->d, TRUE);
    if (j->d.image_width > TN_MAX_SIDE || j->d.image_height > TN_MAX_SIDE)
        return tn_image_too_large(j->path, j->d.image_width, j->d.image_height, err);
    *w = (int)j->d.image_width;
    *h = (int)j->d.image_height;
    return n ? jpeg_pixels(j, err) : 0;
}

static int jpeg_do(jpeg_job *j, int *w, int *h, FILE *f, size_t n, tn_error *err)
{
    j->d.err = jpeg_std_error(&j->e.base);
    j->e.base.error_exit = on_error;
    j->e.base.emit_message = on_warning;
    int rc = jpeg_run(j, w, h, f, n, err);
    jpeg_destroy_decompress(&j->d);
    if (!rc && j->e.truncated) rc = tn_fail(err, TN_ERR_FORMAT, "%s: the JPEG ends too early", j->path);
    free(j->ink);
    return rc;
}

/* The file to the room: libjpeg decodes fastest where the whole file lies before it. */
static int jpeg_bytes(tn_jpeg_room *m, size_t *n, FILE *f, const char *path, tn_error *err)
{
    struct stat st;
    if (fstat(fileno(f), &st) || st.st_size < 1) return tn_fail(err, TN_ERR_IO, "cannot read frame '%s'", path);
    TN_TRY(jpeg_need(&m->file, &m->n_file, (size_t)st.st_size, err));
    *n = fread(m->file, 1, (size_t)st.st_size, f);
    return *n && !ferror(f) ? 0 : tn_fail(err, TN_ERR_IO, "cannot read frame '%s'", path);
}

int tn_jpeg_read(tn_image *im, FILE *f, const char *path, bool sizes_only, tn_error *err)
{
    tn_jpeg_room m = {0};
    jpeg_job j = {.room = &m, .path = path, .im = im};
    size_t n = 0;
    *im = (tn_image){0};
    int rc = sizes_only ? 0 : jpeg_bytes(&m, &n, f, path, err);
    if (!rc) rc = jpeg_do(&j, &im->w, &im->h, f, n, err);
    tn_jpeg_room_free(&m);
    if (rc) tn_image_free(im);
    return rc;
}

/* The decoder is a new one for each file, which costs microseconds: an old one would lend a damaged file the tables of the file
 * before. */
int tn_jpeg_resized(tn_jpeg_room *m, tn_resizer *r, const tn_image *out, int *w, int *h, FILE *f, const char *path, tn_error *err)
{
    jpeg_job j = {.room = m, .path = path, .resizer = r, .out = out};
    size_t n = 0;
    TN_TRY(jpeg_bytes(m, &n, f, path, err));
    return jpeg_do(&j, w, h, f, n, err);
}

void tn_jpeg_room_free(tn_jpeg_room *m)
{
    free(m->file);
    free(m->rows);
    *m = (tn_jpeg_room){0};
}
