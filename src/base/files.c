#include "files.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *tn_path(const char *a, const char *b)
{
    return tn_strf("%s%s%s", a, a[0] && tn_ends(a, "/") ? "" : "/", b);
}

bool tn_is_file(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISREG(st.st_mode);
}

bool tn_is_dir(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

int tn_mkdirs(const char *path, tn_error *err)
{
    char *p = strdup(path);
    if (!p) return tn_oom(err);
    int rc = 0;
    for (char *s = p + 1; !rc; s++) {
        if (*s && *s != '/') continue;
        char c = *s;
        *s = 0;
        if (mkdir(p, 0777) && errno != EEXIST) rc = tn_fail(err, TN_ERR_IO, "cannot create folder '%s': %s", p, strerror(errno));
        *s = c;
        if (!c) break;
    }
    free(p);
    if (!rc && !tn_is_dir(path)) rc = tn_fail(err, TN_ERR_IO, "'%s' exists and is not a folder", path);
    return rc;
}

int tn_read_file(char **data, size_t *len, const char *path, tn_error *err)
{
    *data = NULL;
    FILE *f = fopen(path, "rb");
    if (!f) return tn_fail(err, TN_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    tn_text t = {0};
    char buf[65536];
    size_t n;
    tn_text_add(&t, "", 0);
    while ((n = fread(buf, 1, sizeof buf, f)) > 0) tn_text_add(&t, buf, n);
    bool bad = ferror(f);
    int e = errno;
    fclose(f);
    if (t.oom) return tn_oom(err);
    if (bad) {
        tn_text_free(&t);
        return tn_fail(err, TN_ERR_IO, "cannot read '%s': %s", path, strerror(e));
    }
    *data = t.s;
    if (len) *len = t.len;
    return 0;
}

int tn_write_file(const char *path, const void *data, size_t len, tn_error *err)
{
    char *tmp = tn_strf("%s.tmp.%ld", path, (long)gettid()); /* two threads may write one cache file at once */
    if (!tmp) return tn_oom(err);
    int rc = 0;
    FILE *f = fopen(tmp, "wb");
    if (!f) {
        rc = tn_fail(err, TN_ERR_IO, "cannot write '%s': %s", path, strerror(errno));
    } else {
        bool ok = fwrite(data, 1, len, f) == len && !fflush(f) && !fsync(fileno(f));
        int e = errno;
        if (fclose(f)) ok = false, e = errno;
        if (ok && rename(tmp, path)) ok = false, e = errno;
        if (!ok) {
            rc = tn_fail(err, TN_ERR_IO, "cannot write '%s': %s", path, strerror(e));
            unlink(tmp);
        }
    }
    free(tmp);
    return rc;
}

int tn_list_dir(tn_strs *names, const char *path, tn_error *err)
{
    DIR *d = opendir(path);
    if (!d) return tn_fail(err, TN_ERR_IO, "cannot open folder '%s': %s", path, strerror(errno));
    bool ok = true;
    for (struct dirent *e; ok && (e = readdir(d));)
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) ok = tn_strs_add(names, e->d_name);
    closedir(d);
    tn_strs_sort(names);
    return ok ? 0 : tn_oom(err);
}

bool tn_is_there(const char *path)
{
    struct stat st;
    return path && !lstat(path, &st);
}

bool tn_is_same(const char *a, const char *b)
{
    struct stat x, y;
    return a && b && !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int tn_remove_tree(const char *path, tn_error *err)
{
    struct stat st;
    if (lstat(path, &st)) return 0;
    if (S_ISDIR(st.st_mode)) {
        tn_strs names = {0};
        int rc = tn_list_dir(&names, path, err);
        for (int i = 0; !rc && i < names.n; i++) {
            char *p = tn_path(path, names.v[i]);
            rc = p ? tn_remove_tree(p, err) : tn_oom(err);
            free(p);
        }
        tn_strs_free(&names);
        if (rc) return rc;
    }
    if (remove(path) && errno != ENOENT) return tn_fail(err, TN_ERR_IO, "cannot remove '%s': %s", path, strerror(errno));
    return 0;
}

static int not_writable(const char *dir, const char *why, const char *option, tn_error *err)
{
    return tn_fail(err, TN_ERR_IO, "output folder '%s' cannot be written (%s); choose another %s", dir, why, option);
}

int tn_check_writable_dir(const char *dir, const char *option, tn_error *err)
{
    tn_error inner;
    if (tn_mkdirs(dir, &inner)) return not_writable(dir, inner.message, option, err);
    char *p = tn_strf("%s/.write-test.%ld", dir, (long)gettid());
    if (!p) return tn_oom(err);
    int fd = open(p, O_CREAT | O_WRONLY | O_EXCL, 0666);
    int e = errno;
    if (fd >= 0) {
        close(fd);
        unlink(p);
    }
    free(p);
    return fd < 0 ? not_writable(dir, strerror(e), option, err) : 0;
}

/* The home folder of a user (NULL: whose process this is) as the system knows it, in a fresh string, or NULL. */
static char *home_of(const char *name)
{
    struct passwd entry, *found = NULL;
    char buf[8192];
    if (name) getpwnam_r(name, &entry, buf, sizeof buf, &found);
    else getpwuid_r(getuid(), &entry, buf, sizeof buf, &found);
    return found && found->pw_dir ? strdup(found->pw_dir) : NULL;
}

char *tn_expand_home(const char *path)
{
    const size_t n = path[0] == '~' ? strcspn(path, "/") : 0;
    const char *set = getenv("HOME");
    if (!n) return strdup(path);
    char *name = n > 1 ? strndup(path + 1, n - 1) : NULL;
    char *home = n == 1 && set && set[0] ? strdup(set) : home_of(name);
    char *full = home ? tn_strf("%s%s", home, path + n) : strdup(path);
    free(name);
    free(home);
    return full;
}

char *tn_expand_path(const char *path)
{
    tn_text t = {0};
    tn_text_add(&t, "", 0);
    char *whole = tn_expand_home(path);
    const char *s = whole ? whole : path;
    while (*s) {
        if (*s != '$') {
            tn_text_add(&t, s++, 1);
            continue;
        }
        const char *b = s[1] == '{' ? s + 2 : s + 1, *e = b;
        while (isalnum((unsigned char)*e) || *e == '_') e++;
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)(e - b), b);
        const char *v = getenv(name);
        if (e == b || !v) {
            tn_text_add(&t, s++, 1);
            continue;
        }
        tn_text_addf(&t, "%s", v);
        s = s[1] == '{' && *e == '}' ? e + 1 : e;
    }
    free(whole);
    return t.s;
}

char *tn_real_dir(const char *path)
{
    char *full = tn_expand_path(path), *real = full && tn_is_dir(full) ? realpath(full, NULL) : NULL;
    free(full);
    return real ? real : strdup(path);
}

static char *usual_cache(void)
{
    const char *x = getenv("XDG_CACHE_HOME"), *h = getenv("HOME");
    if (x && x[0]) return tn_path(x, "tracknet");
    return tn_strf("%s/.cache/tracknet", h ? h : "/tmp");
}

char *tn_cache_folder(const char *option)
{
    return option && option[0] && strcmp(option, "on") ? strdup(option) : usual_cache();
}
