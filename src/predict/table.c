#include "table.h"
#include "files.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int tn_check_table(const char *path, tn_error *err)
{
    if (!path) return 0;
    if (tn_is_dir(path)) return tn_fail(err, TN_ERR_IO, "'%s' is a folder: name a file", path);
    const char *slash = strrchr(path, '/');
    char *dir = slash ? tn_strf("%.*s", slash == path ? 1 : (int)(slash - path), path) : tn_strf(".");
    int rc = dir ? tn_check_writable_dir(dir, "--csv", err) : tn_oom(err);
    free(dir);
    return rc;
}

bool tn_same_file(const char *a, const char *b)
{
    struct stat s, t;
    return a && b && !stat(a, &s) && !stat(b, &t) && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}
