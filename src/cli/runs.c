/* Which run and which checkpoint is meant where none is named, or only the run's folder. */
#include "cli.h"
#include "files.h"
#include "log.h"
#include "replace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* DIR where it is a checkpoint, with when it was written; an interrupted exchange is repaired. */
static bool runs_is_checkpoint(const char *dir, struct timespec *when)
{
    struct stat st;
    tn_replace_repair(dir);
    char *path = tn_path(dir, "decoder.safetensors");
    const bool is = path && !stat(path, &st) && S_ISREG(st.st_mode);
    if (is && when) *when = st.st_mtim;
    free(path);
    return is;
}

static bool runs_later(struct timespec a, struct timespec b)
{
    return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

/* What is looked for, and the newest so far. */
typedef struct {
    const char *name;  /* best, last */
    const char *model; /* how the configuration spells its model section; NULL: any model will do */
    char *found;
    struct timespec written;
} runs_search;

/* The model section as YAML with the backbone's folder by its absolute name, as checkpoints keep it; NULL where it fails. */
static char *runs_model_of(tn_config *c)
{
    tn_error ignored;
    const char *base;
    char *yaml = NULL, *real = NULL, *model = NULL;
    if (!tn_config_get_str(c, "model.pretrained_model_name", &base, &ignored) && base) real = tn_real_dir(base);
    if (real && !tn_config_set_str(c, "model.pretrained_model_name", real, &ignored) && !tn_config_dump(c, &yaml, &ignored)) {
        const char *begin = strstr(yaml, "\nmodel:"), *end = begin ? strstr(begin, "\ntraining:") : NULL;
        if (end) model = strndup(begin, (size_t)(end - begin));
    }
    free(yaml);
    free(real);
    return model;
}

static bool runs_fits(const runs_search *s, const char *checkpoint)
{
    tn_config *c = NULL;
    tn_error ignored;
    if (!s->model) return true;
    char *model = tn_checkpoint_config(&c, checkpoint, NULL, 0, NULL, &ignored) ? NULL : runs_model_of(c);
    const bool same = model && !strcmp(model, s->model);
    free(model);
    tn_config_free(c);
    return same;
}

/* One run's folder. */
static void runs_look_at(runs_search *s, const char *run)
{
    struct timespec when;
    char *dir = tn_path(run, s->name);
    if (dir && runs_is_checkpoint(dir, &when) && (!s->found || runs_later(when, s->written)) && runs_fits(s, dir)) {
        free(s->found);
        s->found = dir, dir = NULL;
        s->written = when;
    }
    free(dir);
}

/* The folder of a run, or of runs; ~ and variables are those of a configuration. */
static void runs_look_below(runs_search *s, const char *given)
{
    tn_strs names = {0};
    tn_error ignored;
    char *dir = tn_expand_path(given);
    if (dir && tn_is_dir(dir)) {
        runs_look_at(s, dir);
        if (!s->found && tn_list_dir(&names, dir, &ignored)) names.n = 0;
    }
    for (int i = 0; i < names.n; i++) {
        char *run = tn_path(dir, names.v[i]);
        if (run && tn_is_dir(run)) runs_look_at(s, run);
        free(run);
    }
    tn_strs_free(&names);
    free(dir);
}

const char *tn_cli_word(const tn_cli *c, const char *key)
{
    const size_t n = strlen(key);
    for (int i = c->source.n_overrides - 1; i >= 0; i--)
        if (!strncmp(c->overrides[i], key, n) && c->overrides[i][n] == '=') return c->overrides[i] + n + 1;
    return NULL;
}

/* A text of the configuration, or of the words where there is no configuration; NULL where it is null or empty. */
static const char *runs_text(const tn_cli *c, const tn_config *cfg, const char *key)
{
    tn_error ignored;
    const char *v = NULL;
    if (!cfg) v = tn_cli_word(c, key);
    else if (tn_config_get_str(cfg, key, &v, &ignored)) v = NULL;
    return v && v[0] ? v : NULL;
}

/* Looks where the options or the configuration say that runs go, else below runs/; what was looked through goes to `where`. */
static void runs_search_all(runs_search *s, const tn_cli *c, const tn_config *cfg, const char **where)
{
    const char *ckpt = runs_text(c, cfg, "training.ckpt_dir"),
               *out = c->output_dir ? c->output_dir : runs_text(c, cfg, "training.output_dir");
    *where = ckpt ? ckpt : out ? out : "runs";
    runs_look_below(s, *where);
    if (!s->found && ckpt && out) runs_look_below(s, out);
}

/* A named folder: the checkpoint itself, or the run that holds it. */
static const char *runs_within(char buf[4300], const char *dir, const char *name)
{
    if (runs_is_checkpoint(dir, NULL)) return dir;
    snprintf(buf, 4300, "%s/%s", dir, name);
    if (runs_is_checkpoint(buf, NULL)) return buf;
    if (!strcmp(name, "last")) return runs_within(buf, dir, "best"); /* killed between the two of its first epoch */
    return dir;
}

void tn_cli_settle_names(tn_cli *c)
{
    if (c->run.checkpoint && c->run.checkpoint[0]) c->run.checkpoint = runs_within(c->found, c->run.checkpoint, "best");
    if (c->run.resume && c->run.resume[0]) c->run.resume = runs_within(c->found, c->run.resume, "last");
}

int tn_cli_find_resume(tn_cli *c, tn_error *err)
{
    if (!c->run.resume || c->run.resume[0]) return 0;
    runs_search s = {.name = "last"};
    tn_config *cfg = NULL;
    tn_error ignored;
    const char *where;
    c->source.overrides = c->overrides;
    if (tn_config_load(&cfg, &c->source, &ignored)) cfg = NULL; /* the checkpoint brings its own */
    runs_search_all(&s, c, cfg, &where);
    int rc = 0;
    if (!s.found) {
        rc = tn_fail(
            err, TN_ERR_IO,
            "there is no run to go on with: no checkpoint 'last' in '%.600s' or a folder in it; name one with --resume DIR", where);
    } else {
        snprintf(c->found, sizeof c->found, "%s", s.found);
        c->run.resume = c->found;
        tn_logf(c->run.log, TN_LOG_INFO, "going on with %s", c->found);
    }
    tn_config_free(cfg);
    free(s.found);
    return rc;
}

int tn_cli_find_checkpoint(tn_cli *c, tn_error *err)
{
    if (c->run.checkpoint || c->run.n_adapters) return 0;
    const bool named = c->source.merged || c->source.model || c->source.training || c->source.data;
    tn_config *cfg = NULL;
    const char *where;
    tn_error ignored;
    c->source.overrides = c->overrides;
    const int rc = tn_config_load(&cfg, &c->source, named ? err : &ignored);
    if (rc && named) return rc;
    char *model = named ? runs_model_of(cfg) : NULL;
    runs_search s = {.name = "best", .model = model};
    runs_search_all(&s, c, cfg, &where);
    if (s.found) {
        snprintf(c->found, sizeof c->found, "%s", s.found);
        c->run.checkpoint = c->found;
        tn_logf(c->run.log, TN_LOG_INFO, "taking %s, the newest; --checkpoint names another", c->found);
    } else {
        tn_logf(c->run.log, TN_LOG_WARN,
                "no --checkpoint is given and '%s' holds none%s: the weights are untrained, what follows "
                "says nothing",
                where, named ? " of this model" : "");
    }
    tn_config_free(cfg);
    free(model);
    free(s.found);
    return 0;
}
