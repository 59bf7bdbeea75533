#include "run_folder.h"

#include "files.h"
#include "folder.h"
#include "log.h"
#include "replace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What a run writes beside its checkpoints: into log_dir, but previews into the run's folder. */
static const char *const logs[] = {"log.csv", "steps.csv", "tb", "previews"};
static const char *const checkpoints[] = {"best", "last"};
static const char *const options[] = {"--output-dir", "training.log_dir", "training.ckpt_dir"}; /* by folder */

static bool is_given(const char *dir)
{
    return dir && dir[0];
}

/* ---- the folders ---- */

/* runs/<model>-<time>; with `look` only its name. */
static int make_named(char **out, const char *model, bool look, tn_error *err)
{
    char when[32];
    struct tm local;
    const time_t now = time(NULL);
    strftime(when, sizeof when, "%Y%m%d-%H%M%S", localtime_r(&now, &local));
    if (look) return (*out = tn_strf("runs/%s-%s", model, when)) ? 0 : tn_oom(err);
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

/* Whether the folder could be made, as far as that is seen without doing it. */
static int check_folder(const char *path, const char *option, tn_error *err)
{
    char *dir = tn_deepest_there(path);
    if (!dir) return tn_oom(err);
    int rc = 0;
    if (!tn_is_dir(dir))
        rc = tn_fail(err, TN_ERR_IO, "output folder '%s' cannot be written ('%s' is not a folder); choose another %s", path, dir,
                     option);
    else if (access(dir, W_OK | X_OK))
        rc = tn_fail(err, TN_ERR_IO, "output folder '%s' cannot be written (%s); choose another %s", path, strerror(errno), option);
    free(dir);
    return rc;
}

/* A folder that is to be there, by its absolute name: a checkpoint's configuration is read from anywhere. */
static int take_folder(char **out, const char *given, const char *option, bool look, tn_error *err)
{
    char *full = tn_expand_path(given), *path = full ? tn_plain_path(full) : NULL;
    int rc = !path ? tn_oom(err) : look ? check_folder(path, option, err) : tn_check_writable_dir(path, option, err);
    if (!rc && !(*out = realpath(path, NULL))) {
        if (!look) rc = tn_fail(err, TN_ERR_IO, "cannot find folder '%s': %s", path, strerror(errno));
        else if (!(*out = strdup(path))) rc = tn_oom(err);
    }
    free(full);
    free(path);
    return rc;
}

static bool is_new(const char *given)
{
    char *path = tn_expand_path(given);
    const bool is = path && !tn_is_dir(path);
    free(path);
    return is;
}

/* With `look` they are only found, or named as they would be. */
static int take_folders(tn_run_folder *r, const tn_settings *s, bool look, tn_error *err)
{
    const char *out = s->training.output_dir, *log_dir = s->training.log_dir, *ckpt_dir = s->training.ckpt_dir;
    char *own = NULL;
    if (!is_given(out)) TN_TRY(make_named(&own, s->model.name, look, err));
    r->made[0] = own || is_new(out);
    int rc = take_folder(&r->at.out, own ? own : out, options[0], look, err);
    free(own);
    r->made[1] = is_given(log_dir) && is_new(log_dir);
    if (!rc)
        rc = take_folder(&r->at.log_dir, is_given(log_dir) ? log_dir : r->at.out, options[is_given(log_dir) ? 1 : 0], look, err);
    r->made[2] = is_given(ckpt_dir) && is_new(ckpt_dir);
    if (!rc)
        rc =
            take_folder(&r->at.ckpt_dir, is_given(ckpt_dir) ? ckpt_dir : r->at.out, options[is_given(ckpt_dir) ? 2 : 0], look, err);
    return rc;
}

static const char *folder_of(const tn_run_folder *r, int i)
{
    return i == 0 ? r->at.out : i == 1 ? r->at.log_dir : r->at.ckpt_dir;
}

static void free_folders(tn_run_folder *r)
{
    for (int i = 0; i < r->n_locks; i++) close(r->locks[i]);
    free(r->at.out);
    free(r->at.log_dir);
    free(r->at.ckpt_dir);
    *r = (tn_run_folder){0};
}

/* Two runs in one folder would mix their logs or their checkpoints. A file system that knows no locks has none. */
static int take_locks(tn_run_folder *r, tn_error *err)
{
    for (int i = 0; i < 3; i++) {
        const char *dir = folder_of(r, i);
        if ((i > 0 && tn_run_same_dir(dir, r->at.out)) || (i > 1 && tn_run_same_dir(dir, r->at.log_dir))) continue;
        const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) continue;
        r->locks[r->n_locks++] = fd;
        if (flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
            return tn_fail(err, TN_ERR_IO, "another run is writing to '%s' now; choose another %s", dir, options[i]);
    }
    return 0;
}

/* ---- the run that was there before ---- */

static int add_old(tn_strs *l, const char *dir, const char *name, tn_error *err)
{
    char *path = tn_path(dir, name);
    const bool ok = path && (tn_strs_has(l, path) || tn_strs_add(l, path));
    free(path);
    return ok ? 0 : tn_oom(err);
}

/* What of an old run lies in the folders: its logs, its checkpoints. */
static int list_old(tn_strs *l, const tn_run_place *p, bool of_logs, bool of_checkpoints, tn_error *err)
{
    for (size_t i = 0; of_logs && i < TN_COUNT(logs); i++) {
        TN_TRY(add_old(l, p->out, logs[i], err));
        if (strcmp(logs[i], "previews") != 0) TN_TRY(add_old(l, p->log_dir, logs[i], err));
    }
    for (size_t i = 0; of_checkpoints && i < TN_COUNT(checkpoints); i++) {
        TN_TRY(add_old(l, p->ckpt_dir, checkpoints[i], err));
        TN_TRY(add_old(l, p->out, checkpoints[i], err));
    }
    return 0;
}

static int set_aside(const tn_run_place *p, bool of_logs, bool of_checkpoints, tn_error *err)
{
    tn_strs old = {0};
    int rc = list_old(&old, p, of_logs, of_checkpoints, err);
    for (int i = 0; !rc && i < old.n; i++) rc = tn_replace_aside(old.v[i], err);
    tn_strs_free(&old);
    return rc;
}

/* A backbone in one of the old checkpoints would be gone when the new ones ask for it. */
static int starts_elsewhere(const tn_run_place *p, const tn_settings *s, tn_error *err)
{
    char *base = tn_real_dir(s->model.pretrained);
    tn_strs old = {0};
    int rc = base ? list_old(&old, p, false, true, err) : tn_oom(err);
    for (int i = 0; !rc && i < old.n; i++)
        if (!strcmp(base, old.v[i]) || tn_below(base, old.v[i]))
            rc = tn_fail(err, TN_ERR_IO,
                         "model.pretrained_model_name '%s' lies in the run that --overwrite replaces; choose another --output-dir",
                         base);
    tn_strs_free(&old);
    free(base);
    return rc;
}

static int replace(tn_run_folder *r, tn_error *err)
{
    tn_strs old = {0};
    int rc = list_old(&old, &r->at, true, true, err);
    if (!rc) rc = tn_replace_begin(r->at.ckpt_dir, &old, err);
    tn_strs_free(&old);
    TN_TRY(rc);
    r->replacing = true;
    return set_aside(&r->at, true, false, err);
}

static int refuse(const tn_run_folder *r, const char *where, const char *resume, tn_error *err)
{
    const char *option = options[tn_run_same_dir(where, r->at.out) ? 0 : tn_run_same_dir(where, r->at.log_dir) ? 1 : 2];
    if (resume)
        return tn_fail(err, TN_ERR_IO,
                       "'%s' holds a run already, of which '%s' is no checkpoint; replace it (--overwrite) or choose another %s",
                       where, resume, option);
    if (tn_run_same_dir(where, r->at.log_dir) && !tn_run_same_dir(where, r->at.out) && !tn_run_same_dir(where, r->at.ckpt_dir))
        return tn_fail(err, TN_ERR_IO, "'%s' holds a run already, or its logs; replace them (--overwrite) or choose another %s",
                       where, option);
    if (!tn_run_has_checkpoint(&r->at))
        return tn_fail(err, TN_ERR_IO,
                       "'%s' holds what is left of a run, without a checkpoint to go on with; replace it (--overwrite) or choose "
                       "another %s",
                       where, option);
    return tn_fail(err, TN_ERR_IO,
                   "'%s' holds a run already; go on with it (--resume), replace it (--overwrite) or choose another %s", where,
                   option);
}

static const char *log_folder(const tn_run_folder *r, size_t i)
{
    return strcmp(logs[i], "previews") ? r->at.log_dir : r->at.out;
}

/* What dead runs left undone. */
static void repair(const tn_run_folder *r)
{
    for (int i = 0; i < 3; i++) {
        tn_replace_undo(folder_of(r, i));
        tn_sweep(folder_of(r, i), "overwritten");
        for (size_t k = 0; k < TN_COUNT(checkpoints); k++) {
            char *path = tn_path(folder_of(r, i), checkpoints[k]);
            if (path) tn_folder_repair(path);
            tn_sweep(folder_of(r, i), checkpoints[k]);
            free(path);
        }
    }
}

/* A link that points nowhere, such as one that was left behind by what it pointed to, would stand in a checkpoint's place. */
static void drop_dead_links(const char *ckpt_dir)
{
    struct stat st;
    for (size_t i = 0; i < TN_COUNT(checkpoints); i++) {
        char *path = tn_path(ckpt_dir, checkpoints[i]);
        if (path && !lstat(path, &st) && S_ISLNK(st.st_mode) && stat(path, &st)) (void)unlink(path);
        free(path);
    }
}

static int claim(tn_run_folder *r, const tn_settings *s, const tn_run_options *o, tn_error *err)
{
    TN_TRY(take_locks(r, err));
    repair(r);
    const char *where = tn_run_taken(&r->at, o->resume);
    if (where && !o->overwrite) return refuse(r, where, o->resume, err);
    if (where) {
        TN_TRY(starts_elsewhere(&r->at, s, err));
        TN_TRY(replace(r, err));
    } else {
        drop_dead_links(r->at.ckpt_dir);
    }
    for (size_t i = 0; i < TN_COUNT(logs); i++) r->there |= (unsigned)tn_run_holds(log_folder(r, i), logs[i]) << i;
    r->claimed = true;
    return 0;
}

int tn_run_folder_open(tn_run_folder *r, const tn_settings *s, const tn_run_options *o, tn_error *err)
{
    *r = (tn_run_folder){0};
    TN_TRY(take_folders(r, s, false, err));
    TN_TRY(claim(r, s, o, err));
    if (!is_given(s->training.output_dir)) tn_logf(o->log, TN_LOG_INFO, "this run goes to %s", r->at.out);
    return 0;
}

int tn_run_folder_check(const tn_settings *s, const tn_run_options *o, tn_error *err)
{
    tn_run_folder r = {0};
    int rc = take_folders(&r, s, true, err);
    if (!rc) rc = take_locks(&r, err);
    const char *where = rc ? NULL : tn_run_taken(&r.at, o->resume);
    if (where) rc = o->overwrite ? starts_elsewhere(&r.at, s, err) : refuse(&r, where, o->resume, err);
    free_folders(&r);
    return rc;
}

int tn_run_folder_config(tn_config **own, const tn_run_folder *r, const tn_config *c, tn_error *err)
{
    const tn_settings *s = tn_config_settings(c);
    TN_TRY(tn_config_copy(own, c, err));
    TN_TRY(tn_config_set_str(*own, "training.output_dir", r->at.out, err));
    if (is_given(s->training.log_dir)) TN_TRY(tn_config_set_str(*own, "training.log_dir", r->at.log_dir, err));
    if (is_given(s->training.ckpt_dir)) TN_TRY(tn_config_set_str(*own, "training.ckpt_dir", r->at.ckpt_dir, err));
    return 0;
}

/* ---- its first checkpoint, and its end ---- */

int tn_run_folder_make_way(const tn_run_folder *r, tn_error *err)
{
    return r->replacing ? set_aside(&r->at, false, true, err) : 0;
}

/* In one step, over another link. */
static void link_one(const char *from, const char *to)
{
    char *tmp = tn_strf("%s.tmp.%ld", from, (long)getpid());
    if (tmp && !symlink(to, tmp) && rename(tmp, from)) (void)unlink(tmp);
    free(tmp);
}

/* Who looks for the checkpoints in the run's folder finds them there, wherever it is moved with them. */
static void link_checkpoints(const tn_run_place *p)
{
    const char *below = tn_below(p->ckpt_dir, p->out);
    for (size_t i = 0; i < TN_COUNT(checkpoints) && !tn_run_same_dir(p->out, p->ckpt_dir); i++) {
        char *from = tn_path(p->out, checkpoints[i]), *at = tn_path(p->ckpt_dir, checkpoints[i]);
        char *to = tn_path(below ? below + 1 : p->ckpt_dir, checkpoints[i]), now[4096];
        const ssize_t n = from ? readlink(from, now, sizeof now) : -1;
        const bool same = to && n == (ssize_t)strlen(to) && !strncmp(now, to, (size_t)n);
        if (from && at && to && !same && tn_is_dir(at)) link_one(from, to);
        free(from);
        free(at);
        free(to);
    }
}

void tn_run_folder_settle(tn_run_folder *r)
{
    link_checkpoints(&r->at);
    if (r->replacing) tn_replace_commit(r->at.ckpt_dir);
    r->replacing = false;
    r->settled = true;
}

/* A log without a checkpoint is no run. */
static void remove_logs(const tn_run_folder *r)
{
    tn_error ignored;
    for (size_t i = 0; i < TN_COUNT(logs); i++) {
        char *path = r->there >> i & 1 ? NULL : tn_path(log_folder(r, i), logs[i]);
        if (path) (void)tn_remove_tree(path, &ignored);
        free(path);
    }
}

void tn_run_folder_close(tn_run_folder *r)
{
    if (r->replacing) tn_replace_undo(r->at.ckpt_dir);
    else if (r->claimed && !r->settled && !tn_run_has_checkpoint(&r->at)) remove_logs(r);
    for (int i = 2; i >= 0; i--)
        if (r->made[i] && folder_of(r, i)) (void)rmdir(folder_of(r, i)); /* where nothing came of it */
    free_folders(r);
}
