/* tn-folder write PATH TEXT: a folder of three files that hold TEXT takes the place of PATH, or of nothing.
 * tn-folder read PATH: prints what its files hold, after the repair of an interrupted exchange; fails where they differ. */
#include "files.h"
#include "folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"a", "b", "sub/c"};
enum { NAMES = sizeof names / sizeof *names };

static int write_all(const char *dir, const char *text, tn_error *err)
{
    char *sub = tn_path(dir, "sub");
    int rc = tn_mkdirs(sub, err);
    for (int i = 0; !rc && i < NAMES; i++) {
        char *path = tn_path(dir, names[i]);
        rc = tn_write_file(path, text, strlen(text), err);
        free(path);
    }
    free(sub);
    return rc;
}

static int put(const char *path, const char *text, tn_error *err)
{
    tn_folder f;
    int rc = tn_folder_begin(&f, path, false, err);
    if (!rc) rc = write_all(f.tmp, text, err);
    if (!rc) rc = tn_folder_commit(&f, err);
    tn_folder_end(&f);
    return rc;
}

static int show(const char *dir, tn_error *err)
{
    char *texts[NAMES] = {0};
    int rc = 0;
    tn_folder_repair(dir);
    for (int i = 0; !rc && i < NAMES; i++) {
        char *path = tn_path(dir, names[i]);
        rc = tn_read_file(&texts[i], NULL, path, err);
        if (!rc && strcmp(texts[i], texts[0])) rc = tn_fail(err, TN_ERR_FORMAT, "%s is of another folder", path);
        free(path);
    }
    if (!rc) puts(texts[0]);
    for (int i = 0; i < NAMES; i++) free(texts[i]);
    return rc;
}

int main(int argc, char **argv)
{
    tn_error err = {0};
    const int rc = argc == 4 ? put(argv[2], argv[3], &err) : show(argv[argc - 1], &err);
    if (rc) fprintf(stderr, "%s\n", err.message);
    return rc ? 1 : 0;
}
