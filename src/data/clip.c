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
static int clip_append(tn_frame **list, int *n, tn_frame f, tn_error *err)
{
    tn_frame *v = *list;
    if (f.path && !(*n & (*n - 1))) v = realloc(*list, sizeof *v * (size_t)(*n ? 2 * *n : 1));
    if (v) *list = v;
    if (!f.path || !v) {
        free(f.path);
        return tn_oom(err);
    }
    v[(*n)++] = f;
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
    const tn_frame f = {path, r->visibility > 0, r->visibility, r->placed ? r->x : 0, r->placed ? r->y : 0, w, h};
    TN_TRY(clip_append(&t->d->f, &t->d->n, f, err));
    t->clip->n++;
    return 0;
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
    if (!file || file->frame >= 0) {
        snprintf(why, sizeof why,
                 file      ? "the frame '%s' has a row above"
                 : several ? "several frames have the number '%s'; name the file"
                           : "there is no frame '%s'",
                 r.name);
        return set_aside(t, file ? TN_LABEL_DUPLICATE : TN_LABEL_MISSING, record->line, why, err);
    }
    char *path = tn_path(t->dir, file->name);
    if (!path) return tn_oom(err);
    const int next = t->d->n, rc = clip_frame(t, &r, path, record->line, err);
    if (t->d->n > next) file->frame = next;
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

static int in_natural_order(const void *a, const void *b)
{
    return tn_natural((*(tn_frame_file *const *)a)->name, (*(tn_frame_file *const *)b)->name);
}

/* The clip's frames one after another, whatever order their rows are in: pictures without a label that counts stand between. */
static int clip_order(const clip_task *t, tn_error *err)
{
    const tn_frame_files *f = &t->files;
    tn_dataset *d = t->d;
    tn_dataset_clip *c = t->clip;
    tn_frame_file **v = malloc(sizeof *v * (size_t)(f->n + 1));
    c->in_time = malloc(sizeof *c->in_time * (size_t)(f->n + 1));
    int n = 0, rc = v && c->in_time ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < f->n; i++)
        if (f->v[i].frame >= 0 || tn_image_named(f->v[i].name)) v[n++] = &f->v[i];
    if (!rc) qsort(v, (size_t)n, sizeof(tn_frame_file *), in_natural_order);
    for (int i = 0; !rc && i < n; i++) {
        if (v[i]->frame < 0) {
            const tn_frame other = {.path = tn_path(t->dir, v[i]->name)};
            rc = clip_append(&d->other, &d->n_other, other, err);
        }
        c->in_time[c->n_in_time++] = v[i]->frame < 0 ? -d->n_other : v[i]->frame;
    }
    free(v);
    return rc;
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
        if (!rc) rc = clip_order(&t, err);
        tn_frame_files_free(&t.files);
    }
    free(text);
    return rc;
}
