#include "replace.h"

#include "files.h"
#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* DIR/overwritten, where entries of DIR stand aside. */
static char *aside_dir(const char *dir)
{
    return tn_path(dir, "overwritten");
}

static char *aside_dir_of(const char *path)
{
    char *parent = tn_parent_of(path), *aside = parent ? aside_dir(parent) : NULL;
    free(parent);
    return aside;
}

static char *aside_of_path(const char *path)
{
    char *dir = aside_dir_of(path), *aside = dir ? tn_path(dir, tn_name_of(path)) : NULL;
    free(dir);
    return aside;
}

static char *in_aside(const char *dir, const char *name)
{
    char *aside = aside_dir(dir), *path = aside ? tn_path(aside, name) : NULL;
    free(aside);
    return path;
}

static char *list_path(const char *dir)
{
    return in_aside(dir, "list");
}

static bool has_list(const char *dir)
{
    char *list = list_path(dir);
    const bool has = list && tn_is_file(list);
    free(list);
    return has;
}

/* The folder that keeps the list where it is not `dir`, as a file beside what stands aside says; NULL: none is named. */
static char *keeper_of(const char *dir)
{
    char *file = in_aside(dir, "of"), *keeper = NULL;
    tn_error ignored;
    if (file && tn_is_file(file)) (void)tn_read_file(&keeper, NULL, file, &ignored);
    free(file);
    return keeper;
}

/* ---- the list: '+' or '-' for whether it was there, the path, NUL; below `dir` it is a name, so that the folder may move ---- */

static void list_add(tn_text *t, const char *dir, const char *path)
{
    char *parent = tn_parent_of(path);
    tn_text_add(t, tn_is_there(path) ? "+" : "-", 1);
    const char *entry = parent && !strcmp(parent, dir) ? tn_name_of(path) : path;
    tn_text_add(t, entry, strlen(entry) + 1);
    free(parent);
}

static int list_write(const char *dir, const char *into, const tn_strs *paths, tn_error *err)
{
    tn_text t = {0};
    char *file = tn_path(into, "list");
    for (int i = 0; i < paths->n; i++) list_add(&t, dir, paths->v[i]);
    int rc = file && !t.oom ? tn_write_file(file, t.s, t.len, err) : tn_oom(err);
    tn_text_free(&t);
    free(file);
    return rc;
}

/* A list may come with a stranger's folder: it speaks of names in its own folder, and of others that name it as their keeper. */
static bool may_speak_of(const char *dir, const char *path)
{
    if (path[0] != '/') return path[0] && !strchr(path, '/') && strcmp(path, ".") != 0 && strcmp(path, "..") != 0;
    char *parent = tn_parent_of(path), *keeper = parent ? keeper_of(parent) : NULL;
    const bool named = keeper && !strcmp(keeper, dir);
    free(parent);
    free(keeper);
    return named;
}

/* The paths, absolute, each behind its '+' or '-'. False: there is no list. */
static bool list_read(tn_strs *out, const char *dir)
{
    char *file = list_path(dir), *text = NULL;
    size_t n = 0;
    tn_error ignored;
    const bool is = file && tn_is_file(file) && !tn_read_file(&text, &n, file, &ignored);
    for (size_t i = 0; is && i + 1 < n; i += strlen(text + i) + 1) {
        const char *path = text + i + 1;
        if (!may_speak_of(dir, path)) continue;
        char *full = path[0] == '/' ? tn_strf("%c%s", text[i], path) : tn_strf("%c%s/%s", text[i], dir, path);
        if (full) (void)tn_strs_add(out, full);
        free(full);
    }
    free(text);
    free(file);
    return is;
}

/* "overwritten" beside `path`, with who keeps the list. */
static int name_keeper(const char *path, const char *dir, tn_error *err)
{
    char *parent = tn_parent_of(path), *aside = parent ? aside_dir(parent) : NULL, *file = parent ? in_aside(parent, "of") : NULL;
    int rc = aside && file ? 0 : tn_oom(err);
    if (!rc && strcmp(parent, dir) != 0) {
        rc = tn_mkdirs(aside, err);
        if (!rc) rc = tn_write_file(file, dir, strlen(dir), err);
    }
    free(parent);
    free(aside);
    free(file);
    return rc;
}

int tn_replace_begin(const char *dir, const tn_strs *paths, tn_error *err)
{
    tn_folder f = {.lock = -1};
    char *place = aside_dir(dir);
    int rc = place ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < paths->n; i++) rc = name_keeper(paths->v[i], dir, err);
    if (!rc) rc = tn_folder_begin(&f, place, true, err);
    if (!rc) rc = list_write(dir, f.tmp, paths, err);
    if (!rc) rc = tn_folder_commit(&f, err);
    tn_folder_end(&f);
    free(place);
    return rc;
}

int tn_replace_aside(const char *path, tn_error *err)
{
    char *aside = aside_of_path(path);
    int rc = aside ? 0 : tn_oom(err);
    if (!rc && tn_is_there(path)) {
        rc = tn_remove_tree(aside, err);
        if (!rc && rename(path, aside)) rc = tn_fail(err, TN_ERR_IO, "cannot move '%s' to '%s': %s", path, aside, strerror(errno));
    }
    free(aside);
    return rc;
}

/* From here on nothing is there to be undone. */
static void drop_list(const char *dir)
{
    tn_error ignored;
    char *aside = aside_dir(dir), *trash = aside ? tn_strf("%s.tmp.%ld", aside, (long)getpid()) : NULL;
    if (trash && !tn_remove_tree(trash, &ignored) && !rename(aside, trash)) (void)tn_remove_tree(trash, &ignored);
    free(aside);
    free(trash);
}

/* "overwritten" beside `path`, where nothing is left in it; `dir`'s own goes with the list. */
static void remove_aside_dir(const char *path, const char *dir)
{
    char *parent = tn_parent_of(path), *aside = parent ? aside_dir(parent) : NULL, *file = parent ? in_aside(parent, "of") : NULL;
    if (aside && file && strcmp(parent, dir) != 0) {
        (void)unlink(file);
        (void)rmdir(aside);
    }
    free(parent);
    free(aside);
    free(file);
}

void tn_replace_commit(const char *dir)
{
    tn_strs paths = {0};
    tn_error ignored;
    if (list_read(&paths, dir)) drop_list(dir);
    for (int i = 0; i < paths.n; i++) {
        char *aside = aside_of_path(paths.v[i] + 1);
        if (aside) (void)tn_remove_tree(aside, &ignored);
        remove_aside_dir(paths.v[i] + 1, dir);
        free(aside);
    }
    tn_strs_free(&paths);
}

/* What was there and stands aside comes back; what was there and does not has not moved yet. A folder that is no longer
 * where it was has no "overwritten" there. */
static void undo_one(const char *entry)
{
    const char *path = entry + 1;
    tn_error ignored;
    char *aside = aside_of_path(path), *dir = aside_dir_of(path);
    const bool moved = tn_is_there(aside);
    if (dir && tn_is_dir(dir) && (moved || entry[0] == '-') && !tn_remove_tree(path, &ignored) && moved) (void)rename(aside, path);
    free(aside);
    free(dir);
}

static void undo_list(const char *dir)
{
    tn_strs paths = {0};
    const bool is = list_read(&paths, dir);
    for (int i = 0; i < paths.n; i++) undo_one(paths.v[i]);
    for (int i = 0; i < paths.n; i++) remove_aside_dir(paths.v[i] + 1, dir);
    if (is) drop_list(dir);
    tn_strs_free(&paths);
}

/* Who wrote the list holds the lock for as long as it lives. */
static void undo_of_the_dead(const char *dir)
{
    const int fd = has_list(dir) ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB)) undo_list(dir);
    if (fd >= 0) close(fd);
}

void tn_replace_undo(const char *dir)
{
    tn_error ignored;
    undo_list(dir);
    char *keeper = keeper_of(dir), *aside = aside_dir(dir);
    if (keeper) undo_of_the_dead(keeper);
    if (keeper && aside && !has_list(keeper)) (void)tn_remove_tree(aside, &ignored); /* killed after the new ones were to stay */
    free(keeper);
    free(aside);
}

/* The folder that `path` lies in, or that a link at `path` points into, absolute; NULL where there is none. */
static char *place_of(const char *path)
{
    char target[4096];
    const ssize_t n = readlink(path, target, sizeof target - 1);
    if (n > 0) target[n] = 0;
    char *parent = tn_parent_of(path), *to = n > 0 && target[0] != '/' && parent ? tn_path(parent, target) : NULL;
    char *place = n > 0 ? tn_parent_of(to ? to : target) : NULL, *real = NULL;
    if (place || parent) real = realpath(place ? place : parent, NULL);
    free(parent);
    free(to);
    free(place);
    return real;
}

void tn_replace_repair(const char *path)
{
    char *plain = tn_plain_path(path);
    char *dir = plain && plain[0] ? place_of(plain) : NULL;
    char *keeper = dir ? keeper_of(dir) : NULL;
    if (dir) undo_of_the_dead(dir);
    if (keeper) undo_of_the_dead(keeper);
    free(dir);
    free(keeper);
    free(plain);
    tn_folder_repair(path);
}
