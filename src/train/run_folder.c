#include "run_folder.h"

#include "files.h"
#include "folder.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What a run writes beside its checkpoints. */
static const char *const logs[] = {"log.csv", "steps.csv", "tb", "previews"};

static bool holds(const char *dir, const char *name)
{
    struct stat st;
    char *path = tn_path(dir, name);
    if (path) tn_folder_repair(path);
    const bool there = path && !lstat(path, &st);
    free(path);
    return there;
}

/* ---- a folder of its own ---- */

static int make_named(char **out, const char *model, tn_error *err)
{
    char when[32];
    struct tm local;
    const time_t now = time(NULL);
    strftime(when, sizeof when, "%Y%m%d-%H%M%S", localtime_r(&now, &local));
    TN_TRY(tn_mkdirs("runs", err));
    for (int i = 1; i < 1000; i++) {
        char *path = i > 1 ? tn_strf("runs/%s-%s-%d", model, when, i) : tn_strf("runs/%s-%s", model, when);
        if (!path) return tn_oom(err);
        if (!mkdir(path, 0777)) return *out = path, 0;
        const int e = errno;
        if (e != EEXIST) {
            int rc = tn_fail(err, TN_ERR_IO, "cannot create folder '%s': %s; name another with --output-dir", path, strerror(e));
            free(path);
            return rc;
        }
        free(path);
    }
    return tn_fail(err, TN_ERR_IO, "a thousand runs begin in 'runs' at once; name a folder with --output-dir");
}

/* A folder that is to be there, by its absolute name: a checkpoint's configuration is read from anywhere. */
static int make_given(char **out, const char *given, tn_error *err)
{
    char *path = tn_expand_path(given);
    int rc = path ? tn_check_writable_dir(path, err) : tn_oom(err);
    if (!rc && !(*out = realpath(path, NULL))) rc = tn_fail(err, TN_ERR_IO, "cannot find folder '%s': %s", path, strerror(errno));
    free(path);
    return rc;
}

static bool is_given(const char *dir)
{
    return dir && dir[0];
}

static int make_folders(tn_run_folder *r, const tn_settings *s, tn_error *err)
{
    const char *out = s->training.output_dir, *log_dir = s->training.log_dir, *ckpt_dir = s->training.ckpt_dir;
    char *path = NULL;
    int rc = is_given(out) ? 0 : make_named(&path, s->model.name, err);
    if (!rc && !path && !(path = tn_expand_path(out))) rc = tn_oom(err);
    r->made = !rc && (!is_given(out) || !tn_is_dir(path));
    if (!rc) rc = make_given(&r->out, path, err);
    free(path);
    if (!rc) rc = make_given(&r->log_dir, is_given(log_dir) ? log_dir : r->out, err);
    if (!rc) rc = make_given(&r->ckpt_dir, is_given(ckpt_dir) ? ckpt_dir : r->out, err);
    return rc;
}

/* ---- the run that was there before ---- */

static void move_all(const char *from, const char *to)
{
    for (size_t i = 0; i < TN_COUNT(logs); i++) {
        char *a = tn_path(from, logs[i]), *b = tn_path(to, logs[i]);
        tn_error ignored;
        if (a && b && !access(a, F_OK) && !tn_remove_tree(b, &ignored)) (void)rename(a, b);
        free(a);
        free(b);
    }
}

/* Back to their places, over what the new run wrote there. */
static void restore(const tn_run_folder *r, const char *aside)
{
    struct stat st;
    if (lstat(aside, &st)) return;
    move_all(aside, r->log_dir);
    (void)rmdir(aside);
}

static int set_aside(tn_run_folder *r, const char *aside, tn_error *err)
{
    TN_TRY(tn_mkdirs(aside, err));
    if (!(r->aside = strdup(aside))) return tn_oom(err);
    move_all(r->log_dir, aside);
    return 0;
}

/* Whether the checkpoint to go on from is one of this folder's own. */
static bool goes_on(const tn_run_folder *r, const char *resume)
{
    char *real = realpath(resume, NULL), *dir = real ? tn_parent_of(real) : NULL;
    const bool same = dir && !strcmp(dir, r->ckpt_dir);
    free(real);
    free(dir);
    return same;
}

static int take_lock(tn_run_folder *r, tn_error *err)
{
    r->lock = open(r->ckpt_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->lock < 0 || !flock(r->lock, LOCK_EX | LOCK_NB) || errno != EWOULDBLOCK) return 0;
    return tn_fail(err, TN_ERR_IO, "another run is writing to '%s' now; choose another --output-dir", r->ckpt_dir);
}

static int claim(tn_run_folder *r, const tn_run_options *o, const char *aside, tn_error *err)
{
    TN_TRY(take_lock(r, err));
    restore(r, aside); /* a run with --overwrite was killed before its first checkpoint */
    tn_sweep(r->ckpt_dir, "last");
    tn_sweep(r->ckpt_dir, "best");
    const bool best = holds(r->ckpt_dir, "best"), last = holds(r->ckpt_dir, "last");
    const char *where = best || last ? r->ckpt_dir : holds(r->log_dir, "log.csv") ? r->log_dir : NULL;
    if (!where || (o->resume && goes_on(r, o->resume))) return 0;
    if (o->overwrite) return set_aside(r, aside, err);
    return tn_fail(err, TN_ERR_IO,
                   "'%s' holds a run already; go on with it (--resume), replace it (--overwrite) or choose another --output-dir",
                   where);
}

int tn_run_folder_open(tn_run_folder *r, const tn_settings *s, const tn_run_options *o, tn_error *err)
{
    *r = (tn_run_folder){.lock = -1};
    TN_TRY(make_folders(r, s, err));
    char *aside = tn_path(r->log_dir, "overwritten");
    int rc = aside ? claim(r, o, aside, err) : tn_oom(err);
    free(aside);
    if (!rc && !is_given(s->training.output_dir)) tn_logf(o->log, TN_LOG_INFO, "this run goes to %s", r->out);
    return rc;
}

int tn_run_folder_config(tn_config **own, const tn_run_folder *r, const tn_config *c, tn_error *err)
{
    const tn_settings *s = tn_config_settings(c);
    TN_TRY(tn_config_copy(own, c, err));
    TN_TRY(tn_config_set_str(*own, "training.output_dir", r->out, err));
    if (is_given(s->training.log_dir)) TN_TRY(tn_config_set_str(*own, "training.log_dir", r->log_dir, err));
    if (is_given(s->training.ckpt_dir)) TN_TRY(tn_config_set_str(*own, "training.ckpt_dir", r->ckpt_dir, err));
    return 0;
}

/* Who looks for the checkpoints in the run's folder finds them there. */
static void link_checkpoints(const tn_run_folder *r)
{
    static const char *const names[] = {"best", "last"};
    for (size_t i = 0; i < TN_COUNT(names) && strcmp(r->out, r->ckpt_dir) != 0; i++) {
        char *from = tn_path(r->out, names[i]), *to = tn_path(r->ckpt_dir, names[i]);
        if (from && to) (void)symlink(to, from);
        free(from);
        free(to);
    }
}

void tn_run_folder_settle(tn_run_folder *r)
{
    tn_error ignored;
    link_checkpoints(r);
    if (r->aside) (void)tn_remove_tree(r->aside, &ignored);
    free(r->aside);
    r->aside = NULL;
}

void tn_run_folder_close(tn_run_folder *r)
{
    if (r->aside) restore(r, r->aside);
    if (r->made) (void)rmdir(r->out); /* where nothing came of it */
    if (r->lock >= 0) close(r->lock);
    free(r->out);
    free(r->log_dir);
    free(r->ckpt_dir);
    free(r->aside);
    *r = (tn_run_folder){.lock = -1};
}
