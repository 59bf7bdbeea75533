#include "table.h"
#include "files.h"
#include "folder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int tn_may_write(const char *path, tn_error *err)
{
    if (!path) return 0;
    if (tn_is_dir(path) || tn_ends(path, "/")) return tn_fail(err, TN_ERR_IO, "'%s' is a folder: name a file", path);
    char *dir = tn_parent_of(path);
    while (dir && access(dir, F_OK) && errno == ENOENT && strcmp(dir, ".") != 0 && strcmp(dir, "/") != 0) {
        char *above = tn_parent_of(dir);
        free(dir);
        dir = above;
    }
    int rc = dir ? 0 : tn_oom(err);
    if (dir && !tn_is_dir(dir)) rc = tn_fail(err, TN_ERR_IO, "cannot write '%s': '%s' is no folder", path, dir);
    else if (dir && access(dir, W_OK | X_OK))
        rc = tn_fail(err, TN_ERR_IO, "cannot write '%s': nothing can be written in '%s': %s", path, dir, strerror(errno));
    free(dir);
    return rc;
}

int tn_check_table(const char *path, tn_error *err)
{
    if (!path) return 0;
    TN_TRY(tn_may_write(path, err));
    char *dir = tn_parent_of(path);
    int rc = dir ? tn_check_writable_dir(dir, err) : tn_oom(err);
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
    struct stat s, t;
    if (!a || !b) return false;
    const bool there = !stat(a, &s);
    if (there != !stat(b, &t)) return false;
    if (there) return s.st_dev == t.st_dev && s.st_ino == t.st_ino;
    char *x = resolved(a), *y = resolved(b);
    const bool same = x && y && !strcmp(x, y);
    free(x);
    free(y);
    return same;
}
