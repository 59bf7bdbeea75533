#include "folder.h"

#include "files.h"
#include "text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- names ---- */

char *tn_plain_path(const char *path)
{
    tn_text t = {0};
    if (path[0] == '/') tn_text_add(&t, "/", 1);
    else tn_text_add(&t, "", 0);
    for (const char *s = path; *s;) {
        s += strspn(s, "/");
        const size_t n = strcspn(s, "/");
        if (n && !(n == 1 && s[0] == '.')) {
            if (t.len && t.s[t.len - 1] != '/') tn_text_add(&t, "/", 1);
            tn_text_add(&t, s, n);
        }
        s += n;
    }
    if (!t.len && path[0]) tn_text_add(&t, ".", 1);
    return t.s;
}

const char *tn_name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *tn_parent_of(const char *path)
{
    const size_t n = (size_t)(tn_name_of(path) - path);
    if (!n) return strdup(".");
    return strndup(path, n > 1 ? n - 1 : 1);
}

char *tn_deepest_there(const char *path)
{
    char *dir = strdup(path);
    while (dir && !tn_is_there(dir) && strcmp(dir, ".") != 0 && strcmp(dir, "/") != 0) {
        char *above = tn_parent_of(dir);
        free(dir);
        dir = above;
    }
    return dir;
}

const char *tn_below(const char *path, const char *dir)
{
    const size_t n = dir ? strlen(dir) : 0;
    return n && path && tn_starts(path, dir) && path[n] == '/' ? path + n : NULL;
}

/* ---- leftovers ---- */

/* The process in NAME.tmp.PID, or NAME.tmp.old.tmp.PID; 0: another kind of name. */
static long maker_of(const char *entry, const char *name)
{
    const size_t n = name ? strlen(name) : 0;
    if (name && strncmp(entry, name, n) != 0) return 0;
    const char *dot = strrchr(entry, '.');
    if (!dot || dot - entry < 4 || strncmp(dot - 4, ".tmp", 4) != 0) return 0;
    const size_t stem = (size_t)(dot - 4 - entry);
    if (name && stem != n && !(stem == n + 8 && !strncmp(entry + n, ".tmp.old", 8))) return 0;
    if (!isdigit((unsigned char)dot[1]) || strspn(dot + 1, "0123456789") != strlen(dot + 1)) return 0;
    return strtol(dot + 1, NULL, 10);
}

/* A process of another container is not seen by kill(), but its lock on a folder is. */
static bool is_being_written(const char *path, long pid)
{
    if (pid <= 0 || !kill((pid_t)pid, 0) || errno != ESRCH) return true;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const bool locked = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
    if (fd >= 0) close(fd);
    return locked;
}

void tn_sweep(const char *dir, const char *name)
{
    tn_strs names = {0};
    tn_error ignored;
    if (!tn_is_dir(dir) || tn_list_dir(&names, dir, &ignored)) names.n = 0;
    for (int i = 0; i < names.n; i++) {
        const long pid = maker_of(names.v[i], name);
        char *path = pid ? tn_path(dir, names.v[i]) : NULL;
        if (path && !is_being_written(path, pid)) (void)tn_remove_tree(path, &ignored);
        free(path);
    }
    tn_strs_free(&names);
}

/* Where the old folder stands while the new one takes its place, on file systems that cannot exchange two. */
static char *aside_of(const char *path)
{
    return tn_strf("%s.tmp.old", path);
}

static void sync_dir(const char *dir)
{
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd); /* not every file system can, and those that cannot need not */
    close(fd);
}

/* The folder and, where they are new too, those above: a folder is there for good once its parent was written. */
static void sync_parents(const char *path, size_t there)
{
    char *dir = tn_parent_of(path);
    for (int level = 0; dir && (level < 2 || strlen(dir) > there); level++) {
        sync_dir(dir);
        char *above = strcmp(dir, "/") && strcmp(dir, ".") ? tn_parent_of(dir) : NULL;
        free(dir);
        dir = above;
    }
    free(dir);
}

void tn_folder_repair(const char *path)
{
    char *plain = tn_plain_path(path), *aside = plain ? aside_of(plain) : NULL,
         *before = plain ? tn_strf("%s.old", plain) : NULL; /* what earlier versions called it */
    const char *kept[] = {aside, before};
    for (int i = 0; i < 2 && plain && !tn_is_there(plain); i++)
        if (kept[i] && tn_is_dir(kept[i]) && !rename(kept[i], plain)) sync_parents(plain, strlen(plain));
    free(plain);
    free(aside);
    free(before);
}

/* Out of its place first, so that no half of it is ever taken for the whole. */
static void discard(const char *path)
{
    tn_error ignored;
    char *trash = tn_strf("%s.tmp.%ld", path, (long)getpid());
    if (trash && tn_is_there(path) && !tn_remove_tree(trash, &ignored) && !rename(path, trash))
        (void)tn_remove_tree(trash, &ignored);
    free(trash);
}

/* ---- writing ---- */

/* The part of a plain path's parents that is there. */
static size_t length_there(const char *path)
{
    char *parent = tn_parent_of(path), *dir = parent ? tn_deepest_there(parent) : NULL;
    const size_t n = dir && strcmp(dir, ".") != 0 ? strlen(dir) : 0;
    free(parent);
    free(dir);
    return n;
}

int tn_folder_begin(tn_folder *f, const char *path, bool fresh, tn_error *err)
{
    *f = (tn_folder){.fresh = fresh, .lock = -1};
    if (!path[0]) return tn_fail(err, TN_ERR_ARGUMENT, "an empty name is no folder to write to");
    f->path = tn_plain_path(path);
    char *tmp = f->path ? tn_strf("%s.tmp.%ld", f->path, (long)getpid()) : NULL, *dir = f->path ? tn_parent_of(f->path) : NULL;
    int rc = tmp && dir ? 0 : tn_oom(err);
    if (!rc && fresh && tn_is_there(f->path))
        rc = tn_fail(err, TN_ERR_IO, "'%s' is there already; choose another --out or remove it", f->path);
    if (!rc && !fresh) tn_folder_repair(f->path);
    if (!rc) f->there = length_there(f->path);
    if (!rc) tn_sweep(dir, tn_name_of(f->path));
    if (!rc) rc = tn_remove_tree(tmp, err);
    if (!rc) {
        f->tmp = tmp, tmp = NULL; /* from here on there is something to remove */
        rc = tn_mkdirs(f->tmp, err);
    }
    if (!rc) f->lock = open(f->tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->lock >= 0) (void)flock(f->lock, LOCK_EX | LOCK_NB);
    free(tmp);
    free(dir);
    return rc;
}

static int sync_file(const char *path, tn_error *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const bool bad = fd < 0 || fsync(fd);
    const int e = errno;
    if (fd >= 0) close(fd);
    return bad ? tn_fail(err, TN_ERR_IO, "cannot write '%s': %s", path, strerror(e)) : 0;
}

static int sync_tree(const char *dir, tn_error *err)
{
    tn_strs names = {0};
    int rc = tn_list_dir(&names, dir, err);
    for (int i = 0; !rc && i < names.n; i++) {
        char *path = tn_path(dir, names.v[i]);
        rc = !path ? tn_oom(err) : tn_is_dir(path) ? sync_tree(path, err) : sync_file(path, err);
        free(path);
    }
    tn_strs_free(&names);
    sync_dir(dir);
    return rc;
}

/* One try; 0, or errno. The old folder ends at tmp, or aside. */
static int take_place(const tn_folder *f, const char *aside)
{
    if (!rename(f->tmp, f->path)) return 0;
    const bool occupied = errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR;
    if (!occupied || f->fresh || !tn_is_dir(f->path)) return errno;
    if (!renameat2(AT_FDCWD, f->tmp, AT_FDCWD, f->path, RENAME_EXCHANGE)) return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) return errno;
    discard(aside);
    if (rename(f->path, aside)) return errno;
    sync_parents(f->path, strlen(f->path));
    if (!rename(f->tmp, f->path)) return 0;
    const int e = errno;
    (void)rename(aside, f->path);
    return e;
}

int tn_folder_commit(tn_folder *f, tn_error *err)
{
    TN_TRY(sync_tree(f->tmp, err));
    char *aside = aside_of(f->path);
    if (!aside) return tn_oom(err);
    int e = EEXIST;
    for (int tries = 0; tries < 4 && (e == EEXIST || e == ENOTEMPTY); tries++) /* someone may repair it in between */
        e = take_place(f, aside);
    if (!e) {
        sync_parents(f->path, f->there);
        tn_error ignored;
        (void)tn_remove_tree(f->tmp, &ignored);
        if (!f->fresh) discard(aside);
        free(f->tmp);
        f->tmp = NULL;
    }
    free(aside);
    if (e == EEXIST || e == ENOTEMPTY || e == ENOTDIR)
        return tn_fail(err, TN_ERR_IO, "'%s' is there already; what was to be written there is dropped", f->path);
    return e ? tn_fail(err, TN_ERR_IO, "cannot rename '%s' to '%s': %s", f->tmp, f->path, strerror(e)) : 0;
}

/* The folders above, as far as this one made them and they are empty. */
static void remove_parents(const tn_folder *f)
{
    char *dir = tn_parent_of(f->path);
    while (dir && strlen(dir) > f->there && strcmp(dir, ".") != 0 && !rmdir(dir)) {
        char *above = tn_parent_of(dir);
        free(dir);
        dir = above;
    }
    free(dir);
}

void tn_folder_end(tn_folder *f)
{
    tn_error ignored;
    if (f->tmp && f->path) {
        (void)tn_remove_tree(f->tmp, &ignored);
        remove_parents(f);
    }
    if (f->lock >= 0) close(f->lock);
    free(f->path);
    free(f->tmp);
    *f = (tn_folder){.lock = -1};
}
