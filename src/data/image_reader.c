/* Pictures read to a size, one after another. */
#include "image_codec.h"

#include <stdlib.h>

struct tn_image_reader {
    tn_resizer resizer;
    tn_jpeg_room jpeg;
};

int tn_image_reader_new(tn_image_reader **r, tn_error *err)
{
    *r = calloc(1, sizeof **r);
    return *r ? 0 : tn_oom(err);
}

void tn_image_reader_free(tn_image_reader *r)
{
    if (!r) return;
    tn_resizer_free(&r->resizer);
    tn_jpeg_room_free(&r->jpeg);
    free(r);
}

/* A PNG is read whole: it may be interlaced. */
static int png_resized(tn_resizer *r, const tn_image *out, int *w, int *h, FILE *f, const char *path, tn_error *err)
{
    tn_image whole;
    TN_TRY(tn_png_read(&whole, f, path, false, err));
    *w = whole.w;
    *h = whole.h;
    const int rc = tn_resizer_image(r, whole.rgb, whole.w, whole.h, out->w, out->h, out->rgb, err);
    tn_image_free(&whole);
    return rc;
}

int tn_image_reader_read(tn_image_reader *r, const tn_image *out, int *w, int *h, const char *path, tn_error *err)
{
    FILE *f;
    bool png;
    TN_TRY(tn_image_open(&f, &png, path, err));
    const int rc =
        png ? png_resized(&r->resizer, out, w, h, f, path, err) : tn_jpeg_resized(&r->jpeg, &r->resizer, out, w, h, f, path, err);
    fclose(f);
    return rc;
}
