#include "dataset.h"
#include "files.h"

#include <stdlib.h>
#include <string.h>

/* What to do about a frame, behind what is wrong with it. */
static int of_frame(int rc, const tn_error *why, tn_error *err)
{
    if (rc == TN_ERR_FORMAT) return tn_fail(err, rc, "%s; copy the frame again or remove its row in Label.csv", why->message);
    if (rc) *err = *why;
    return rc;
}

int tn_frame_load(tn_image *out, const tn_frame *f, tn_error *err)
{
    tn_error why = {0};
    return of_frame(tn_image_load(out, f->path, &why), &why, err);
}

int tn_frame_read(tn_image_reader *r, const tn_image *out, int *w, int *h, const tn_frame *f, tn_error *err)
{
    tn_error why = {0};
    return of_frame(tn_image_reader_read(r, out, w, h, f->path, &why), &why, err);
}

void tn_dataset_free(tn_dataset *d)
{
    for (int i = 0; i < d->n; i++) free(d->f[i].path);
    for (int i = 0; i < d->n_other; i++) free(d->other[i].path);
    for (int i = 0; i < d->n_clips; i++) {
        for (int k = 0; k < TN_LABEL_KINDS; k++) free(d->clips[i].aside[k].file);
        free(d->clips[i].name);
        free(d->clips[i].file);
        free(d->clips[i].in_time);
    }
    free(d->f);
    free(d->other);
    free(d->clips);
    free(d->w.frame);
    free(d->w.label);
    *d = (tn_dataset){0};
}

/* ---- which files belong together ---- */

/* The labels of the clip in `dir`: inside it, or in its game under its name, as TrackNetV2 and V3 have them. NULL: none. */
static char *labels_of(const char *game, const char *dir, const char *clip)
{
    static const struct {
        const char *folder, *tail; /* NULL: the clip's own */
    } places[] = {{NULL, "Label.csv"}, {NULL, "label.csv"},   {NULL, "Labels.csv"},
                  {"", "_ball.csv"},   {"csv/", "_ball.csv"}, {"ball_trajectory/", "_ball.csv"}};
    for (size_t i = 0; i < TN_COUNT(places); i++) {
        const char *folder = places[i].folder, *tail = places[i].tail;
        char *p = folder ? tn_strf("%s/%s%s%s", game, folder, clip, tail) : tn_path(dir, tail);
        if (p && tn_is_file(p)) return p;
        free(p);
    }
    return NULL;
}

/* `name` is what messages call the folder. */
static int read_clip(tn_dataset *d, const char *game, const char *name, const char *dir, const char *clip, tn_error *err)
{
    char *csv = tn_is_dir(dir) ? labels_of(game, dir, clip) : NULL, *full = csv ? tn_strf("%s/%s", name, clip) : NULL;
    int rc = 0;
    if (csv) rc = full ? tn_labels_read(d, full, dir, csv, err) : tn_oom(err);
    free(full);
    free(csv);
    return rc;
}

/* The clips in `folder`, which is the game's or its frame/. */
static int read_clips(tn_dataset *d, const char *game, const char *name, const char *folder, tn_error *err)
{
    tn_strs clips = {0};
    int rc = tn_list_dir(&clips, folder, err);
    for (int i = 0; !rc && i < clips.n; i++) {
        if (clips.v[i][0] == '.') continue; /* hidden */
        char *dir = tn_path(folder, clips.v[i]);
        rc = dir ? read_clip(d, game, name, dir, clips.v[i], err) : tn_oom(err);
        free(dir);
    }
    tn_strs_free(&clips);
    return rc;
}

static int read_game(tn_dataset *d, const char *game, const char *name, tn_error *err)
{
    char *frames = tn_path(game, "frame");
    int rc = frames ? read_clips(d, game, name, game, err) : tn_oom(err);
    if (!rc && tn_is_dir(frames)) rc = read_clips(d, game, name, frames, err);
    free(frames);
    return rc;
}

int tn_dataset_scan(tn_dataset *d, const char *where, const tn_strs *games, const tn_log *log, tn_error *err)
{
    *d = (tn_dataset){0};
    char *root = tn_expand_path(where);
    int rc = root ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < games->n; i++) {
        char *game = tn_path(root, games->v[i]);
        if (!game) rc = tn_oom(err);
        else if (tn_is_dir(game)) rc = read_game(d, game, games->v[i], err);
        else tn_logf(log, TN_LOG_WARN, "game folder '%s' does not exist and is left out", game);
        free(game);
    }
    if (rc) tn_dataset_free(d);
    free(root);
    return rc;
}

/* ---- what was set aside ---- */

/* Over all clips: rows, the first row's place by kind, and which kind came first of all (-1: nothing is set aside). */
static int sum_aside(const tn_dataset *d, tn_set_aside sum[TN_LABEL_KINDS], int *rows)
{
    int first = -1;
    memset(sum, 0, sizeof *sum * TN_LABEL_KINDS);
    *rows = 0;
    for (int i = 0; i < d->n_clips; i++) {
        int here = -1;
        for (int k = 0; k < TN_LABEL_KINDS; k++) {
            const tn_set_aside *a = &d->clips[i].aside[k];
            const int before = sum[k].rows;
            if (!a->rows) continue;
            if (!before) sum[k] = *a;
            sum[k].rows = before + a->rows;
            *rows += a->rows;
            if (here < 0 || a->line < d->clips[i].aside[here].line) here = k;
        }
        if (first < 0) first = here;
    }
    return first;
}

static void warn_aside(const tn_set_aside sum[TN_LABEL_KINDS], int rows, const char *what, const tn_log *log)
{
    tn_text t = {0};
    for (int k = 0; k < TN_LABEL_KINDS; k++)
        if (sum[k].rows)
            tn_text_addf(&t, "%s%d %s (first %s:%d: %s)", t.len ? "; " : "", sum[k].rows, tn_label_kind_name((tn_label_kind)k),
                         sum[k].file, sum[k].line, sum[k].why);
    if (!t.oom)
        tn_logf(log, TN_LOG_WARN, "%s split: %d label %s count as not labelled: %s", what, rows, rows == 1 ? "row" : "rows", t.s);
    tn_text_free(&t);
}

static int no_frames(const tn_dataset *d, const char *root, const tn_strs *games, const char *what, tn_error *err)
{
    if (d->n_clips)
        return tn_fail(err, TN_ERR_FORMAT, "no frames found for the %s split: %s holds no row of labels", what, d->clips[0].file);
    char *names = tn_strs_join(games, ", ");
    int rc = tn_fail(err, TN_ERR_IO,
                     "no frames found for the %s split: looked in '%s' for games [%s] with <clip>/Label.csv; set data.root and "
                     "data.split.train_games or val_games",
                     what, root, names ? names : "");
    free(names);
    return rc;
}

int tn_dataset_judge(const tn_dataset *d, const char *root, const tn_strs *games, const char *what, bool strict, const tn_log *log,
                     tn_error *err)
{
    tn_set_aside sum[TN_LABEL_KINDS];
    int rows;
    const int first = sum_aside(d, sum, &rows);
    if (first < 0) return d->n ? 0 : no_frames(d, root, games, what, err);
    const tn_set_aside *a = &sum[first];
    if (strict)
        return tn_fail(err, TN_ERR_FORMAT, "%s:%d: %s; correct the row, or set training.strict_labels to false to leave it out",
                       a->file, a->line, a->why);
    if (!d->n)
        return tn_fail(err, TN_ERR_FORMAT, "no label of the %s split can be used, of %d rows; the first: %s:%d: %s", what, rows,
                       a->file, a->line, a->why);
    warn_aside(sum, rows, what, log);
    return 0;
}

int tn_dataset_read(tn_dataset *d, const char *root, const tn_strs *games, const char *what, bool strict, const tn_log *log,
                    tn_error *err)
{
    TN_TRY(tn_dataset_scan(d, root, games, log, err));
    const int rc = tn_dataset_judge(d, root, games, what, strict, log, err);
    if (rc) tn_dataset_free(d);
    return rc;
}

int tn_dataset_check_ball(const tn_dataset *d, const char *what, tn_error *err)
{
    tn_set_aside sum[TN_LABEL_KINDS];
    int rows;
    for (int i = 0; i < d->n; i++)
        if (d->f[i].visible) return 0;
    (void)sum_aside(d, sum, &rows);
    return tn_fail(err, TN_ERR_FORMAT,
                   "there is nothing to learn from: none of the %s split's %d labelled frames shows a ball, and %d label rows were "
                   "set aside; correct the labels ('tracknet labels' draws them) or name other games in data.split.%s_games",
                   what, d->n, rows, what);
}
