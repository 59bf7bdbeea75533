#include "table.h"
#include "files.h"
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

/* The folder that it goes to, which is made. */
static int table_folder(const char *path, tn_error *err)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? tn_strf("%.*s", slash == path ? 1 : (int)(slash - path), path) : tn_strf(".");
    int rc = dir ? tn_mkdirs(dir, err) : tn_oom(err);
    if (!rc && access(dir, W_OK | X_OK)) rc = table_unwritable(path, errno, err);
    free(dir);
    return rc;
}

int tn_check_table(const char *path, tn_error *err)
{
    struct stat st;
    if (!path) return 0;
    if (tn_is_dir(path)) return tn_fail(err, TN_ERR_IO, "'%s' is a folder: name a file", path);
    if (tn_image_named(path)) return tn_fail(err, TN_ERR_ARGUMENT, "'%s' is a picture's name: name another file", path);
    if (stat(path, &st)) return table_folder(path, err);
    return access(path, W_OK) ? table_unwritable(path, errno, err) : 0;
}

bool tn_same_file(const char *a, const char *b)
{
    struct stat s, t;
    return a && b && !stat(a, &s) && !stat(b, &t) && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
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
