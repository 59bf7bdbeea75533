/* What several keys mean together, what a key that is not there means beside others that are, and where a folder lies. */
#include "files.h"
#include "layer.h"
#include "log.h"
#include "values.h"

#include <stdlib.h>
#include <string.h>

static int settle_name(char **out, const char *name, tn_error *err)
{
    char *copy = strdup(name);
    if (!copy) return tn_oom(err);
    free(*out);
    *out = copy;
    return 0;
}

/* Lightning's spellings and PyTorch's: every other part of the program knows fp32, fp16, bf16 and auto alone. */
static const char *precision_name(const char *p)
{
    if (!strcmp(p, "auto")) return "auto";
    if (!strncmp(p, "bf", 2)) return "bf16";
    return strstr(p, "16") ? "fp16" : "fp32";
}

static int settle_precision(tn_settings *s, const tn_ynode *training, const tn_log *log, tn_error *err)
{
    const bool amp = s->training.amp, explicit = tn_yaml_get(training, "precision") != NULL;
    s->training.amp = false;
    TN_TRY(settle_name(&s->training.precision, precision_name(s->training.precision), err));
    if (amp && explicit)
        tn_logf(log, TN_LOG_WARN, "training.amp is deprecated and not looked at, since training.precision says %s",
                s->training.precision);
    if (!amp || explicit) return 0;
    tn_logf(log, TN_LOG_WARN, "training.amp is deprecated; use training.precision=fp16");
    return settle_name(&s->training.precision, "fp16", err);
}

/* A section says that early stopping is wanted. */
static void settle_stopping(tn_settings *s, const tn_ynode *training)
{
    const tn_ynode *section = tn_yaml_get(training, "early_stopping");
    if (section && section->kind == TN_Y_MAP && section->n && !tn_yaml_get(section, "patience")) s->training.es_patience = 10;
}

/* Numbers that some choices of another key alone read. Files of the Python project may have them beside the others. */
static const struct {
    const char *key, *by, *readers;
} unread[] = {
    {"training.loss.alpha", "training.loss.name", "focal"},
    {"training.loss.beta", "training.loss.name", "focal"},
    {"training.loss.pos_weight", "training.loss.name", "bce, wbce"},
    {"training.optimizer.momentum", "training.optimizer.name", "sgd"},
};

static bool among(const char *list, const char *name)
{
    const size_t n = strlen(name);
    for (const char *s = list; *s; s += strspn(s, ", ")) {
        if (strcspn(s, ",") == n && !strncmp(s, name, n)) return true;
        s += strcspn(s, ",");
    }
    return false;
}

/* A warning for each of them that says something else than its default to no one. */
static int warn_unread(const tn_settings *s, tn_ynode *tree, const tn_log *log, tn_error *err)
{
    for (size_t i = 0; i < TN_COUNT(unread); i++) {
        char place[512];
        bool dflt;
        const char *key = unread[i].key, *choice = *(char *const *)((const char *)s + tn_key_find(unread[i].by)->offset);
        const tn_ynode *n = tn_layer_find(tree, key);
        if (!n || among(unread[i].readers, choice)) continue;
        TN_TRY(tn_value_is_default(&dflt, s, tn_key_find(key), err));
        if (dflt) continue;
        tn_logf(log, TN_LOG_WARN, "%s: key '%s' has no effect: %s is %s, and what reads the key is %s",
                tn_yaml_place(place, sizeof place, n), key, unread[i].by, choice, unread[i].readers);
    }
    return 0;
}

int tn_settle_training(tn_settings *s, tn_ynode *tree, const tn_log *log, tn_error *err)
{
    const tn_ynode *training = tn_yaml_get(tree, "training");
    settle_stopping(s, training);
    TN_TRY(warn_unread(s, tree, log, err));
    return settle_precision(s, training, log, err);
}

/* Configurations of the Python project may ask for windows beside a ViT, which there and here takes single frames unless told.
 * Their switch stays as it is: setters turn on one key after the other, windows before the model that takes them. */
int tn_settle_frames(const tn_settings *s, const tn_log *log, tn_error *err)
{
    const bool concat = !strcmp(s->model.frames, "concat");
    if (concat && !s->data.sequence)
        return tn_fail(err, TN_ERR_CONFIG,
                       "model.frames is concat, but there are no windows of frames: set data.sequence.enabled=true and "
                       "data.sequence.length");
    if (concat && s->data.sequence_length < 2)
        return tn_fail(
            err, TN_ERR_CONFIG,
            "model.frames is concat, but data.sequence.length is 1, and a window of one frame is that frame; set it to 3, "
            "or model.frames=single");
    if (!concat && !strcmp(s->model.heatmaps, "all"))
        return tn_fail(err, TN_ERR_CONFIG,
                       "model.heatmaps is all, but model.frames is single, and one frame has one heatmap; set "
                       "model.frames=concat, or model.heatmaps=last");
    if (!concat && s->data.sequence && s->data.sequence_length > 1)
        tn_logf(log, TN_LOG_WARN,
                "data.sequence.enabled is true, but model.frames is single: every frame is a sample of its own; set "
                "model.frames=concat for windows of %d frames",
                s->data.sequence_length);
    return 0;
}

/* From the working folder as every path, else from the file: the shipped models name shipped backbones. */
int tn_settle_backbone(tn_settings *s, tn_ynode *tree, tn_error *err)
{
    const char *name = s->model.pretrained;
    const tn_ynode *n = tn_layer_find(tree, "model.pretrained_model_name");
    const char *slash = n && name[0] != '/' ? strrchr(n->file, '/') : NULL;
    if (!slash) return 0;
    char *here = tn_expand_path(name), *beside = tn_strf("%.*s/%s", (int)(slash - n->file), n->file, name), *real = NULL;
    int rc = here && beside ? 0 : tn_oom(err);
    if (!rc && !tn_is_dir(here) && tn_is_dir(beside)) {
        real = tn_real_dir(beside); /* by its whole name: a configuration that is printed may be read elsewhere */
        rc = real ? settle_name(&s->model.pretrained, real, err) : tn_oom(err);
    }
    free(real);
    free(beside);
    free(here);
    return rc;
}
