/* Where a run goes on whose checkpoint is named: in the folders it is of, wherever they were moved. */
#include "cli.h"
#include "files.h"
#include "folder.h"
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The checkpoint, and what its own configuration says of its run. */
typedef struct {
    tn_config *own;
    char *dir;                            /* the folder it lies in, absolute */
    char *named;                          /* the folder of the link by which it was named; NULL: it was none */
    bool by_name;                         /* it is called best or last */
    const char *out, *log_dir, *ckpt_dir; /* NULL: not said */
} resume_from;

static const char *resume_text(const tn_config *c, const char *key)
{
    tn_error ignored;
    const char *v = NULL;
    return !tn_config_get_str(c, key, &v, &ignored) && v && v[0] ? v : NULL;
}

static void resume_free(resume_from *f)
{
    tn_config_free(f->own);
    free(f->dir);
    free(f->named);
}

/* False where there is no such folder, which is told of later. */
static bool resume_look(resume_from *f, const char *checkpoint)
{
    struct stat st;
    tn_error ignored;
    char *plain = tn_plain_path(checkpoint);
    char *real = plain ? realpath(plain, NULL) : NULL, *parent = plain ? tn_parent_of(plain) : NULL;
    *f = (resume_from){.dir = real ? tn_parent_of(real) : NULL};
    f->by_name = real && (!strcmp(tn_name_of(real), "best") || !strcmp(tn_name_of(real), "last"));
    if (parent && !lstat(plain, &st) && S_ISLNK(st.st_mode)) f->named = realpath(parent, NULL);
    free(plain);
    free(real);
    free(parent);
    if (!f->dir || tn_checkpoint_config(&f->own, checkpoint, NULL, 0, NULL, &ignored)) return false;
    f->out = resume_text(f->own, "training.output_dir");
    f->log_dir = resume_text(f->own, "training.log_dir");
    f->ckpt_dir = resume_text(f->own, "training.ckpt_dir");
    return true;
}

static bool resume_is_there(const char *dir)
{
    return dir && tn_is_dir(dir);
}

/* A folder of the run's: below its own it is where that is now; elsewhere it is what it was, or (`leave`) another run's. */
static int resume_set(tn_config *cfg, const char *key, const char *was, const resume_from *f, const char *out, bool leave,
                      tn_error *err)
{
    if (!was) return 0;
    const char *rest = out ? tn_below(was, f->out) : NULL;
    char *now = rest ? tn_strf("%s%s", out, rest) : leave ? tn_strf("%s=null", key) : strdup(was);
    const int rc = !now ? tn_oom(err) : rest || !leave ? tn_config_set_str(cfg, key, now, err) : tn_config_set(cfg, now, err);
    free(now);
    return rc;
}

/* The run goes on in `out`; NULL: in a folder of its own. */
static int resume_settle(tn_config *cfg, const tn_cli *c, const resume_from *f, const char *out, bool leave, tn_error *err)
{
    int rc = 0;
    if (!c->output_dir && !tn_cli_word(c, "training.output_dir"))
        rc = out ? tn_config_set_str(cfg, "training.output_dir", out, err) : tn_config_set(cfg, "training.output_dir=null", err);
    if (!rc && !tn_cli_word(c, "training.log_dir")) rc = resume_set(cfg, "training.log_dir", f->log_dir, f, out, leave, err);
    if (!rc && !tn_cli_word(c, "training.ckpt_dir")) rc = resume_set(cfg, "training.ckpt_dir", f->ckpt_dir, f, out, leave, err);
    return rc;
}

/* Where another folder is named, the checkpoint's run keeps its own to itself; unless it is that run, moved. */
static int resume_elsewhere(tn_config *cfg, const tn_cli *c, const resume_from *f, tn_error *err)
{
    const char *given = resume_text(cfg, "training.output_dir");
    char *out = given ? tn_real_dir(given) : NULL;
    const bool own = tn_is_same(out, f->out) || (!resume_is_there(f->out) && tn_is_same(f->dir, f->ckpt_dir));
    int rc = own && tn_is_same(out, f->out) ? 0 : resume_settle(cfg, c, f, out, !own, err);
    free(out);
    return rc;
}

static int resume_lost(const resume_from *f, tn_error *err)
{
    const char *out = f->out ? f->out : "";
    if (tn_is_same(f->dir, f->ckpt_dir))
        return tn_fail(err, TN_ERR_IO,
                       "the folder of this run, '%.300s', is no longer there; say where it is with --output-dir (its checkpoints "
                       "stay in '%.300s')",
                       out, f->dir);
    return tn_fail(err, TN_ERR_IO,
                   "this checkpoint was moved: its run kept checkpoints in '%.200s' and the rest in '%.200s'; say where it goes on "
                   "with --output-dir DIR training.ckpt_dir='%.200s'",
                   f->ckpt_dir, out, f->dir);
}

/* A run that keeps its checkpoints elsewhere than the rest. */
static int resume_apart(tn_config *cfg, const tn_cli *c, const resume_from *f, tn_error *err)
{
    const char *below = tn_below(f->ckpt_dir, f->out);
    if (tn_is_same(f->dir, f->ckpt_dir)) {
        const char *out = resume_is_there(f->out) ? f->out : f->named;
        return out ? resume_settle(cfg, c, f, out, false, err) : resume_lost(f, err);
    }
    if (f->by_name && below && tn_ends(f->dir, below)) {
        char *out = strndup(f->dir, strlen(f->dir) - strlen(below));
        const int rc = resume_settle(cfg, c, f, out, resume_is_there(f->out), err);
        free(out);
        return rc;
    }
    if (f->by_name && !resume_is_there(f->ckpt_dir)) return resume_lost(f, err);
    return resume_settle(cfg, c, f, NULL, true, err);
}

int tn_cli_resume_in_place(tn_config *cfg, const tn_cli *c, tn_error *err)
{
    resume_from f;
    if (!c->run.resume) return 0;
    int rc = 0;
    const bool given = c->output_dir || tn_cli_word(c, "training.output_dir");
    if (!resume_look(&f, c->run.resume)) rc = 0;
    else if (given) rc = resume_elsewhere(cfg, c, &f, err);
    else if (f.ckpt_dir) rc = resume_apart(cfg, c, &f, err);
    else if (f.by_name || tn_is_same(f.dir, f.out))
        rc = resume_settle(cfg, c, &f, f.dir, resume_is_there(f.out) && !tn_is_same(f.dir, f.out), err);
    else rc = resume_settle(cfg, c, &f, NULL, true, err);
    const char *out = rc || given || !f.own ? NULL : resume_text(cfg, "training.output_dir");
    if (out && !tn_is_same(out, f.dir)) tn_logf(c->run.log, TN_LOG_INFO, "the checkpoint's run goes on in %s", out);
    resume_free(&f);
    return rc;
}
