/* One label file: its rows become frames, or are set aside with a reason. */
#include "dataset.h"
#include "files.h"
#include "frames.h"
#include "labels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *tn_label_kind_name(tn_label_kind kind)
{
    static const char *const names[TN_LABEL_KINDS] = {"malformed",         "visible without coordinates",
                                                      "outside the frame", "listed twice",
                                                      "without a frame",   "with an unreadable frame"};
    return names[kind];
}

/* What reading one label file needs. */
typedef struct {
    tn_dataset *d;
    tn_dataset_clip *clip;
    const char *dir;
    tn_frame_files files;
} clip_task;

static int set_aside(const clip_task *t, tn_label_kind kind, int line, const char *why, tn_error *err)
{
    tn_set_aside *a = &t->clip->aside[kind];
    if (a->rows++) return 0;
    a->line = line;
    snprintf(a->why, sizeof a->why, "%s", why);
    a->file = strdup(t->clip->file);
    return a->file ? 0 : tn_oom(err);
}

/* Room doubles: a data set has as many frames as fit on a disk. */
static int clip_append(const clip_task *t, tn_frame f, tn_error *err)
{
    tn_dataset *d = t->d;
    tn_frame *v = d->f;
    if (f.path && !(d->n & (d->n - 1))) v = realloc(d->f, sizeof *v * (size_t)(d->n ? 2 * d->n : 1));
    if (v) d->f = v;
    if (!f.path || !v) {
        free(f.path);
        return tn_oom(err);
    }
    v[d->n++] = f;
    t->clip->n++;
    return 0;
}

/* The row's frame is there: does the label fit it? */
static int clip_frame(const clip_task *t, const tn_label_row *r, char *path, int line, tn_error *err)
{
    tn_error bad;
    int w, h;
    char why[128];
    if (tn_image_whole(&w, &h, path, &bad)) {
        const char *name = strstr(bad.message, strrchr(path, '/') + 1); /* the folder is told with the line */
        free(path);
        return set_aside(t, TN_LABEL_UNREADABLE, line, name ? name : bad.message, err);
    }
    if (r->visibility && !(r->x >= 0 && r->y >= 0 && r->x < w && r->y < h)) {
        snprintf(why, sizeof why, "the ball at (%.10g, %.10g) is outside the frame of %d x %d pixels", r->x, r->y, w, h);
        free(path);
        return set_aside(t, TN_LABEL_OUTSIDE, line, why, err);
    }
    const tn_frame f = {path, r->visibility > 0, r->visibility, r->placed ? r->x : 0, r->placed ? r->y : 0};
    return clip_append(t, f, err);
}

static int clip_row(const clip_task *t, const tn_label_columns *columns, const tn_csv *record, tn_error *err)
{
    tn_label_row r;
    tn_label_kind kind;
    char why[128];
    const char *bad = tn_label_parse(&r, columns, record, &kind);
    if (bad) return set_aside(t, kind, record->line, bad, err);
    bool several;
    tn_frame_file *file = tn_frame_files_find(&t->files, r.name, &several);
    if (!file || file->labelled) {
        snprintf(why, sizeof why,
                 file      ? "the frame '%s' has a row above"
                 : several ? "several frames have the number '%s'; name the file"
                           : "there is no frame '%s'",
                 r.name);
        return set_aside(t, file ? TN_LABEL_DUPLICATE : TN_LABEL_MISSING, record->line, why, err);
    }
    char *path = tn_path(t->dir, file->name);
    if (!path) return tn_oom(err);
    const int before = t->clip->n, rc = clip_frame(t, &r, path, record->line, err);
    file->labelled = t->clip->n > before;
    return rc;
}

static int clip_rows(const clip_task *t, char *text, size_t len, tn_error *err)
{
    tn_csv csv;
    tn_label_columns columns;
    tn_csv_begin(&csv, text, len);
    if (!tn_csv_next(&csv)) return 0;
    const int header = csv.line;
    bool row = !tn_label_header(&columns, &csv);
    do {
        if (row && tn_label_header_again(&columns, &csv)) continue; /* something stood before it, or files were joined */
        if (row && columns.bad) csv.line = header;                  /* that is where it is wrong */
        if (row) TN_TRY(clip_row(t, &columns, &csv, err));
        row = true;
    } while (tn_csv_next(&csv));
    return 0;
}

/* Begins a clip at the data set's end. */
static int clip_new(tn_dataset *d, const char *name, const char *csv, tn_error *err)
{
    tn_dataset_clip *v = realloc(d->clips, sizeof *v * (size_t)(d->n_clips + 1));
    if (!v) return tn_oom(err);
    d->clips = v;
    tn_dataset_clip *c = &v[d->n_clips++];
    *c = (tn_dataset_clip){.name = strdup(name), .file = strdup(csv), .first = d->n};
    return c->name && c->file ? 0 : tn_oom(err);
}

int tn_labels_read(tn_dataset *d, const char *name, const char *dir, const char *csv, tn_error *err)
{
    char *text = NULL;
    size_t len;
    TN_TRY(clip_new(d, name, csv, err));
    clip_task t = {.d = d, .clip = &d->clips[d->n_clips - 1], .dir = dir};
    int rc = tn_read_file(&text, &len, csv, err);
    if (!rc && len > 1 && (!memcmp(text, "\xff\xfe", 2) || !memcmp(text, "\xfe\xff", 2)))
        rc = tn_fail(err, TN_ERR_FORMAT, "%s: it is written in UTF-16; save it as UTF-8 (iconv -f UTF-16 -t UTF-8)", csv);
    if (!rc) rc = tn_frame_files_read(&t.files, dir, err);
    if (!rc) {
        t.clip->pictures = t.files.pictures;
        rc = clip_rows(&t, text, len, err);
        tn_frame_files_free(&t.files);
    }
    free(text);
    return rc;
}
