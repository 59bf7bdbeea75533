#include "sheet.h"
#include "lettering.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 4, TILE = 320, GAP = 6, SCALE = 2, CAPTION = 2 * TN_LETTER_H * SCALE + 4, LINE = TILE / (TN_LETTER_W * SCALE) };

/* A frame's place in the sheet. */
typedef struct {
    int x, y, w, h;
} tile;

static void paste(tn_image *sheet, const tn_image *im, int x, int y)
{
    for (int j = 0; j < im->h; j++)
        memcpy(sheet->rgb + ((size_t)(y + j) * (size_t)sheet->w + (size_t)x) * 3, im->rgb + (size_t)j * (size_t)im->w * 3,
               (size_t)im->w * 3);
}

/* The frame as large as it fits, in the middle, with a ring where its label puts the ball. */
static int draw_frame(tn_image *sheet, const tile *t, const tn_frame *f, tn_error *err)
{
    static const uint8_t ring[] = {255, 40, 220};
    tn_image full, im;
    TN_TRY(tn_frame_load(&full, f, err));
    const double k = TN_MIN((double)t->w / full.w, (double)t->h / full.h);
    const int w = TN_MAX(1, (int)(full.w * k + 0.5)), h = TN_MAX(1, (int)(full.h * k + 0.5));
    int rc = tn_image_resize(&im, &full, TN_MIN(w, t->w), TN_MIN(h, t->h), err);
    if (!rc) {
        if (f->visible) tn_draw_ring(&im, (f->x + 0.5) * im.w / full.w, (f->y + 0.5) * im.h / full.h, 10, ring);
        paste(sheet, &im, t->x + (t->w - im.w) / 2, t->y + (t->h - im.h) / 2);
        tn_image_free(&im);
    }
    tn_image_free(&full);
    return rc;
}

static const char *clip_name(const tn_dataset *d, int frame)
{
    for (int i = 0; i < d->n_clips; i++)
        if (frame >= d->clips[i].first && frame < d->clips[i].first + d->clips[i].n) return d->clips[i].name;
    return "";
}

/* The end of a name that is too long tells more than its begin. */
static void draw_line(tn_image *sheet, int x, int y, const char *s, const uint8_t colour[3])
{
    char line[LINE + 1];
    const size_t n = strlen(s);
    if (n > LINE) snprintf(line, sizeof line, "...%s", s + n - (LINE - 3));
    tn_draw_text(sheet, x, y, SCALE, n > LINE ? line : s, colour);
}

static int draw_tile(tn_image *sheet, const tile *t, const tn_dataset *d, int frame, tn_error *err)
{
    static const uint8_t white[] = {240, 240, 240}, pink[] = {255, 130, 230};
    const tn_frame *f = &d->f[frame];
    char label[64];
    tn_error bad;
    const int rc = draw_frame(sheet, t, f, &bad);
    if (rc == TN_ERR_MEMORY) return tn_oom(err);
    if (rc) snprintf(label, sizeof label, "cannot be read");
    else if (f->visible) snprintf(label, sizeof label, "visibility %d (%.0f,%.0f)", f->visibility, f->x, f->y);
    else snprintf(label, sizeof label, "visibility 0");
    char *name = tn_strf("%s/%s", clip_name(d, frame), strrchr(f->path, '/') + 1);
    if (!name) return tn_oom(err);
    draw_line(sheet, t->x, t->y + t->h + 4, name, white);
    draw_line(sheet, t->x, t->y + t->h + 4 + TN_LETTER_H * SCALE, label, f->visible ? pink : white);
    free(name);
    return 0;
}

/* Tiles have the proportions of the first frame, within reason. */
static int tile_height(const tn_dataset *d)
{
    tn_error e;
    int w, h;
    if (tn_image_size(&w, &h, d->f[0].path, &e)) return TILE * 9 / 16;
    return TN_MAX(TILE / 4, (int)TN_MIN((double)TILE * h / w, 2.0 * TILE));
}

int tn_sheet_write(const char *path, const tn_dataset *d, int n, const tn_watch *watch, tn_error *err)
{
    n = TN_MIN(n, d->n);
    const int columns = TN_MIN(n, COLUMNS), h = tile_height(d), step_x = TILE + GAP, step_y = h + CAPTION + GAP;
    tn_image sheet;
    TN_TRY(tn_image_new(&sheet, columns * step_x + GAP, TN_CEIL_DIV(n, columns) * step_y + GAP, err));
    memset(sheet.rgb, 40, (size_t)sheet.w * (size_t)sheet.h * 3);
    int rc = 0;
    for (int i = 0; !rc && i < n; i++) {
        const tile t = {GAP + i % columns * step_x, GAP + i / columns * step_y, TILE, h};
        rc = draw_tile(&sheet, &t, d, (int)((long long)i * d->n / n), err);
        if (!rc) rc = tn_watch_tell(watch, TN_PHASE_DRAWING, NULL, i + 1, n, err);
    }
    if (!rc) rc = tn_image_save_png(&sheet, path, err);
    tn_image_free(&sheet);
    return rc;
}
