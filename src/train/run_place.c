#include "run_place.h"

#include "fail.h"
#include "files.h"
#include "folder.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <tracknet/train.h>
#include <unistd.h>

static const char *const checkpoint_names[] = {"best", "last"};

bool tn_run_same_dir(const char *a, const char *b)
{
    return a && b && (tn_is_same(a, b) || !strcmp(a, b));
}

bool tn_run_holds(const char *dir, const char *name)
{
    char *path = tn_path(dir, name);
    const bool there = tn_is_there(path);
    free(path);
    return there;
}

static bool holds_either(const char *dir)
{
    return tn_run_holds(dir, "best") || tn_run_holds(dir, "last");
}

bool tn_run_has_checkpoint(const tn_run_place *p)
{
    const char *const dirs[] = {p->out, p->ckpt_dir};
    bool has = false;
    for (size_t i = 0; i < 4 && !has; i++) {
        char *path = tn_path(dirs[i / 2], checkpoint_names[i % 2]);
        has = path && tn_is_dir(path);
        free(path);
    }
    return has;
}

/* ---- the run that a checkpoint is of ---- */

/* Where the run wrote that made the checkpoint; what is not known stays NULL. */
static void read_origin(tn_run_place *p, const char *checkpoint)
{
    static const char *const keys[] = {"training.output_dir", "training.log_dir", "training.ckpt_dir"};
    char **const at[] = {&p->out, &p->log_dir, &p->ckpt_dir};
    tn_config *c = NULL;
    tn_error ignored;
    const char *v;
    if (tn_checkpoint_config(&c, checkpoint, NULL, 0, NULL, &ignored)) return;
    for (size_t i = 0; i < 3; i++)
        if (!tn_config_get_str(c, keys[i], &v, &ignored) && v && v[0]) *at[i] = strdup(v);
    if (!p->log_dir && p->out) p->log_dir = strdup(p->out);
    if (!p->ckpt_dir && p->out) p->ckpt_dir = strdup(p->out);
    tn_config_free(c);
}

/* Whether the checkpoint is `best` or `last` in `dir`. */
static bool is_named_in(const char *checkpoint, const char *dir)
{
    char *real = realpath(checkpoint, NULL), *parent = real ? tn_parent_of(real) : NULL;
    const char *name = real ? tn_name_of(real) : "";
    const bool is = (!strcmp(name, "best") || !strcmp(name, "last")) && tn_run_same_dir(parent, dir);
    free(real);
    free(parent);
    return is;
}

/* A run that was moved has the same folders below its own. */
static bool is_moved(const char *now, const char *out, const char *before, const char *out_before)
{
    const char *a = tn_below(now, out), *b = tn_below(before, out_before);
    return a && b && !strcmp(a, b);
}

/* A link in `out` to a checkpoint in ckpt_dir. */
static bool links_to(const tn_run_place *p)
{
    bool is = false;
    for (size_t i = 0; i < 2; i++) {
        char *link = tn_path(p->out, checkpoint_names[i]), *to = link ? realpath(link, NULL) : NULL,
             *dir = to ? tn_parent_of(to) : NULL;
        is = is || tn_run_same_dir(dir, p->ckpt_dir);
        free(link);
        free(to);
        free(dir);
    }
    return is;
}

/* A checkpoint in `out` itself stays where checkpoints go elsewhere: whoever looks there would take it for the run's. */
static bool holds_folder(const char *out)
{
    struct stat st;
    bool is = false;
    for (size_t i = 0; i < 2; i++) {
        char *path = tn_path(out, checkpoint_names[i]);
        is = is || (path && !lstat(path, &st) && !S_ISLNK(st.st_mode));
        free(path);
    }
    return is;
}

static const char *taken_by_others(const tn_run_place *p, const tn_run_place *from, bool named)
{
    const bool one = tn_run_same_dir(p->out, p->ckpt_dir);
    const bool own_ckpt = named || tn_run_same_dir(from->ckpt_dir, p->ckpt_dir);
    const bool own_out = tn_run_same_dir(from->out, p->out) ||
                         (own_ckpt && (one || links_to(p) || is_moved(p->ckpt_dir, p->out, from->ckpt_dir, from->out)));
    const bool own_log =
        tn_run_same_dir(from->log_dir, p->log_dir) || (own_ckpt && tn_run_same_dir(p->log_dir, p->ckpt_dir)) ||
        (own_out && (tn_run_same_dir(p->log_dir, p->out) || is_moved(p->log_dir, p->out, from->log_dir, from->out)));
    if (holds_either(p->ckpt_dir) && !own_ckpt) return p->ckpt_dir;
    if (!one && holds_folder(p->out)) return p->out;
    if ((holds_either(p->out) || tn_run_holds(p->out, "log.csv")) && !own_out) return p->out;
    return tn_run_holds(p->log_dir, "log.csv") && !own_log ? p->log_dir : NULL;
}

const char *tn_run_taken(const tn_run_place *p, const char *resume)
{
    tn_run_place from = {0};
    if (resume) read_origin(&from, resume);
    const char *taken = taken_by_others(p, &from, resume && is_named_in(resume, p->ckpt_dir));
    free(from.out);
    free(from.log_dir);
    free(from.ckpt_dir);
    return taken;
}
