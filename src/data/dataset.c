#include "dataset.h"
#include "files.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void tn_dataset_free(tn_dataset *d)
{
    for (int i = 0; i < d->n; i++) free(d->f[i].path);
    free(d->f);
    *d = (tn_dataset){0};
}

static int dataset_append(tn_dataset *d, tn_frame f, tn_error *err)
{
    tn_frame *v = f.path ? realloc(d->f, sizeof *v * (size_t)(d->n + 1)) : NULL;
    if (!v) {
        free(f.path);
        return tn_oom(err);
    }
    d->f = v;
    v[d->n++] = f;
    return 0;
}

/* Splits a line at commas in place, trimming blanks and quotes. */
static int dataset_split(char *line, char **field, int max)
{
    int n = 0;
    for (char *s = line; n < max; s++) {
        char *end = strchr(s, ',');
        if (end) *end = 0;
        while (isspace((unsigned char)*s) || *s == '"') s++;
        size_t k = strlen(s);
        while (k && (isspace((unsigned char)s[k - 1]) || s[k - 1] == '"')) s[--k] = 0;
        field[n++] = s;
        if (!end) break;
        s = end;
    }
    return n;
}

static bool number(const char *s, double *v)
{
    char *end;
    *v = strtod(s, &end);
    return end != s && !*end && isfinite(*v);
}

static int bad_row(const char *csv, int line, const char *why, tn_error *err)
{
    return tn_fail(err, TN_ERR_FORMAT, "%s:%d: %s; a row is 'file name, visibility, x, y[, status]'", csv, line, why);
}

static int read_row(tn_dataset *d, const char *dir, char **field, int n, const char *csv, int line, tn_error *err)
{
    double vis, x = -1, y = -1;
    if (n < 4) return bad_row(csv, line, "too few columns", err);
    if (!number(field[1], &vis) || vis < 0 || vis > 3 || vis != floor(vis))
        return bad_row(csv, line, "visibility is no number from 0 to 3", err);
    const bool has_x = field[2][0] != 0, has_y = field[3][0] != 0;
    if ((has_x && !number(field[2], &x)) || (has_y && !number(field[3], &y)))
        return bad_row(csv, line, "a coordinate is no number", err);
    const bool placed = has_x && has_y && x >= 0 && y >= 0;
    if (vis > 0 && !placed) return bad_row(csv, line, "the ball is visible but has no coordinates", err);
    if (!field[0][0] || strchr(field[0], '/') || strstr(field[0], ".."))
        return bad_row(csv, line, "the file name is empty or leaves the folder", err);
    char *path = tn_path(dir, field[0]);
    if (path && !tn_is_file(path)) {
        free(path);
        d->missing++;
        return 0;
    }
    return dataset_append(d, (tn_frame){path, vis > 0, placed ? x : 0, placed ? y : 0}, err);
}

int tn_labels_read(tn_dataset *d, const char *dir, const char *csv, tn_error *err)
{
    char *text;
    TN_TRY(tn_read_file(&text, NULL, csv, err));
    int rc = 0, line = 0;
    for (char *s = text, *next; !rc && s && *s; s = next) {
        char *end = strchr(s, '\n');
        next = end ? end + 1 : NULL;
        if (end) *end = 0;
        line++;
        char *field[8];
        int n = dataset_split(s, field, 8);
        double v;
        if (n == 1 && !field[0][0]) continue;
        if (line == 1 && n > 1 && !number(field[1], &v)) continue; /* header */
        rc = read_row(d, dir, field, n, csv, line, err);
    }
    free(text);
    return rc;
}

static int read_game(tn_dataset *d, const char *game, tn_error *err)
{
    tn_strs clips = {0};
    int rc = tn_list_dir(&clips, game, err);
    for (int i = 0; !rc && i < clips.n; i++) {
        char *dir = tn_path(game, clips.v[i]), *csv = dir ? tn_path(dir, "Label.csv") : NULL;
        if (!csv) rc = tn_oom(err);
        else if (tn_is_file(csv)) rc = tn_labels_read(d, dir, csv, err);
        free(dir);
        free(csv);
    }
    tn_strs_free(&clips);
    return rc;
}

int tn_dataset_read(tn_dataset *d, const char *where, const tn_strs *games, const char *what, const tn_log *log, tn_error *err)
{
    *d = (tn_dataset){0};
    char *root = tn_expand_path(where);
    int rc = root ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < games->n; i++) {
        char *game = tn_path(root, games->v[i]);
        if (!game) rc = tn_oom(err);
        else if (tn_is_dir(game)) rc = read_game(d, game, err);
        else tn_logf(log, TN_LOG_WARN, "game folder '%s' does not exist and is left out", game);
        free(game);
    }
    if (!rc && d->missing)
        tn_logf(log, TN_LOG_WARN, "%s split: %d labelled frames do not exist and are left out", what, d->missing);
    if (!rc && !d->n) {
        char *names = tn_strs_join(games, ", ");
        rc = tn_fail(err, TN_ERR_IO,
                     "no frames found for the %s split: looked in '%s' for games [%s] with <clip>/Label.csv; set "
                     "data.root and data.split.%s_games",
                     what, root, names ? names : "", what);
        free(names);
    }
    if (rc) tn_dataset_free(d);
    free(root);
    return rc;
}
