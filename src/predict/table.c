#include "table.h"
#include "files.h"
#include "folder.h"
#include "image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int table_unwritable(const char *path, int e, tn_error *err)
{
    return tn_fail(err, TN_ERR_IO, "cannot write '%s': %s", path, strerror(e));
}

int tn_may_write(const char *path, tn_error *err)
{
    if (!path) return 0;
    if (tn_is_dir(path) || tn_ends(path, "/")) return tn_fail(err, TN_ERR_IO, "'%s' is a folder: name a file", path);
    char *parent = tn_parent_of(path), *dir = parent ? tn_deepest_there(parent) : NULL;
    free(parent);
    int rc = dir ? 0 : tn_oom(err);
    if (dir && !tn_is_dir(dir)) rc = tn_fail(err, TN_ERR_IO, "cannot write '%s': '%s' is no folder", path, dir);
    else if (dir && access(dir, W_OK | X_OK))
        rc = tn_fail(err, TN_ERR_IO, "cannot write '%s': nothing can be written in '%s': %s", path, dir, strerror(errno));
    free(dir);
    return rc;
}

int tn_table_may(const char *path, tn_error *err)
{
    struct stat st;
    if (!path) return 0;
    if (tn_image_named(path)) return tn_fail(err, TN_ERR_ARGUMENT, "'%s' is a picture's name: name another file", path);
    if (stat(path, &st) || S_ISDIR(st.st_mode)) return tn_may_write(path, err);
    return access(path, W_OK) ? table_unwritable(path, errno, err) : 0;
}

int tn_check_table(const char *path, tn_error *err)
{
    TN_TRY(tn_table_may(path, err));
    char *dir = path ? tn_parent_of(path) : NULL;
    int rc = dir ? tn_mkdirs(dir, err) : path ? tn_oom(err) : 0;
    free(dir);
    return rc;
}

/* A path without links, ".", ".." and doubled slashes, where it may not be there to its end; NULL: no memory. */
static char *resolved(const char *path)
{
    char *whole = realpath(path, NULL);
    if (whole) return whole;
    char *dir = tn_parent_of(path);
    const char *name = tn_name_of(path);
    const bool top = !dir || !strcmp(dir, ".") || !strcmp(dir, "/") || !strcmp(dir, path);
    char *above = !dir ? NULL : top ? realpath(dir, NULL) : resolved(dir);
    if (above && !strcmp(name, "..")) whole = tn_parent_of(above);
    else if (above) whole = !name[0] || !strcmp(name, ".") ? strdup(above) : tn_path(above, name);
    free(dir);
    free(above);
    return whole;
}

bool tn_same_file(const char *a, const char *b)
{
    if (!a || !b) return false;
    if (!access(a, F_OK) || !access(b, F_OK)) return tn_is_same(a, b);
    char *x = resolved(a), *y = resolved(b);
    const bool same = x && y && !strcmp(x, y);
    free(x);
    free(y);
    return same;
}

int tn_table_open(tn_table *t, const char *path, const char *header, tn_error *err)
{
    *t = (tn_table){.path = path};
    if (!path) return 0;
    t->f = fopen(path, "wb");
    if (!t->f || fputs(header, t->f) < 0 || fflush(t->f)) return table_unwritable(path, errno, err);
    return 0;
}

int tn_table_row(const tn_table *t, tn_text *row, tn_error *err)
{
    int rc = row->oom ? tn_oom(err) : 0;
    if (!rc && t->f && (fwrite(row->s, 1, row->len, t->f) != row->len || fflush(t->f))) rc = table_unwritable(t->path, errno, err);
    tn_text_free(row);
    return rc;
}

int tn_table_close(tn_table *t, tn_error *err)
{
    FILE *f = t->f;
    t->f = NULL;
    return f && fclose(f) ? table_unwritable(t->path, errno, err) : 0;
}
