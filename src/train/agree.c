#include "agree.h"
#include "checkpoint_dir.h"
#include "exchange.h"
#include "files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Lines that ranks compare, one after the other. */
typedef int (*describe_fn)(tn_text *t, const tn_agreement *a, tn_error *err);

/* ---- what there is to compare ---- */

static int of_library(tn_text *t, const tn_agreement *a, tn_error *err)
{
    (void)a, (void)err;
    tn_text_addf(t, "%s\n", TN_VERSION_STRING);
    return 0;
}

/* Folders may be called differently on each host. */
static int of_config(tn_text *t, const tn_agreement *a, tn_error *err)
{
    static const char *const places[] = {"training.output_dir=null", "training.log_dir=null", "training.ckpt_dir=null",
                                         "training.init_from=null",  "data.root=x",           "model.pretrained_model_name=x"};
    tn_config *c;
    char *yaml = NULL;
    TN_TRY(tn_config_copy(&c, a->c, err));
    int rc = 0;
    for (size_t i = 0; !rc && i < TN_COUNT(places); i++) rc = tn_config_set(c, places[i], err);
    if (!rc) rc = tn_config_dump(c, &yaml, err);
    if (!rc) tn_text_addf(t, "%s", yaml);
    free(yaml);
    tn_config_free(c);
    return rc;
}

static unsigned long long hash_text(unsigned long long h, const char *s)
{
    return tn_hash(h, s, strlen(s) + 1);
}

static int describe_clip(tn_text *t, const tn_dataset *d, const tn_dataset_clip *c, const char *split, tn_error *err)
{
    unsigned long long names = TN_HASH0;
    long long bytes = 0;
    struct stat st;
    char *labels;
    size_t n;
    for (int i = c->first; i < c->first + c->n; i++) {
        const char *path = d->f[i].path, *name = strrchr(path, '/');
        if (stat(path, &st)) return tn_fail(err, TN_ERR_IO, "cannot look at '%s': %s", path, strerror(errno));
        names = hash_text(names, name ? name + 1 : path);
        names = tn_hash(names, &(long long){st.st_size}, sizeof(long long));
        bytes += st.st_size;
    }
    TN_TRY(tn_read_file(&labels, &n, c->file, err));
    tn_text_addf(t, "%s, clip %s: %d frames of %lld bytes (%016llx)\n", split, c->name, c->n, bytes, names);
    tn_text_addf(t, "%s, clip %s: labels of %zu bytes (%016llx)\n", split, c->name, n, tn_hash(TN_HASH0, labels, n));
    free(labels);
    return 0;
}

static int describe_split(tn_text *t, const tn_dataset *d, const char *split, tn_error *err)
{
    for (int i = 0; i < d->n_clips; i++) TN_TRY(describe_clip(t, d, &d->clips[i], split, err));
    return 0;
}

static int of_data(tn_text *t, const tn_agreement *a, tn_error *err)
{
    TN_TRY(describe_split(t, a->train, "train", err));
    return describe_split(t, a->val, "val", err);
}

/* All of a small file, or pieces of a large one: another training has changed it everywhere. */
static int describe_file(tn_text *t, const char *path, tn_error *err)
{
    enum { PIECE = 1 << 16, PIECES = 16 };
    static const char *const sentence = "cannot read '%s': %s";
    const char *name = strrchr(path, '/');
    struct stat st;
    FILE *f = fopen(path, "rb");
    char *piece = malloc(PIECE);
    unsigned long long h = TN_HASH0;
    if (!f || !piece || fstat(fileno(f), &st)) {
        if (f) fclose(f);
        free(piece);
        return tn_fail(err, TN_ERR_IO, sentence, path, strerror(errno));
    }
    const long long step = TN_MAX((long long)st.st_size / PIECES, (long long)PIECE);
    bool ok = true;
    for (long long at = 0; ok && at < st.st_size; at += step) {
        ok = !fseeko(f, at, SEEK_SET);
        if (ok) h = tn_hash(h, piece, fread(piece, 1, PIECE, f));
        ok = ok && !ferror(f);
    }
    fclose(f);
    free(piece);
    if (!ok) return tn_fail(err, TN_ERR_IO, sentence, path, strerror(errno));
    tn_text_addf(t, "%s of %lld bytes (%016llx)\n", name ? name + 1 : path, (long long)st.st_size, h);
    return 0;
}

/* What of a checkpoint decides how a run goes on. */
static int describe_checkpoint(tn_text *t, const char *dir, tn_error *err)
{
    static const char *const names[] = {"decoder.safetensors", "adapter_model.safetensors", "backbone/model.safetensors",
                                        "optimizer.safetensors", "trainer_state.json"};
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        char *path = tn_path(dir, names[i]);
        const int rc = !path ? tn_oom(err) : tn_is_file(path) ? describe_file(t, path, err) : 0;
        free(path);
        TN_TRY(rc);
    }
    return 0;
}

static int describe_backbone(tn_text *t, const tn_settings *s, tn_error *err)
{
    tn_hf_dir *hf;
    TN_TRY(tn_hf_open(&hf, s->model.pretrained, !s->model.random_init, err));
    char *config = json_dumps(hf->config, JSON_SORT_KEYS | JSON_COMPACT);
    int rc = config ? 0 : tn_oom(err);
    if (!rc) tn_text_addf(t, "config.json (%016llx)\n", hash_text(TN_HASH0, config));
    for (int i = 0; !rc && i < hf->n_files; i++) rc = describe_file(t, hf->files[i]->path, err);
    free(config);
    tn_hf_close(hf);
    return rc;
}

static int of_weights(tn_text *t, const tn_agreement *a, tn_error *err)
{
    TN_TRY(describe_backbone(t, a->e->s, err));
    if (a->resume) return describe_checkpoint(t, a->resume, err);
    if (!a->e->s->training.init_from) return 0;
    char *dir = tn_expand_path(a->e->s->training.init_from);
    const int rc = dir ? describe_checkpoint(t, dir, err) : tn_oom(err);
    free(dir);
    return rc;
}

/* ---- comparing ---- */

/* The length of a line and where the next begins. */
static int line_of(const char **s)
{
    const int n = (int)strcspn(*s, "\n");
    *s += n + ((*s)[n] == '\n');
    return n;
}

static int compare(const char *what, const char *mine, const char *theirs, tn_error *err)
{
    while (*mine || *theirs) {
        const char *a = mine, *b = theirs;
        const int n = line_of(&mine), m = line_of(&theirs);
        if (n == m && !memcmp(a, b, (size_t)n)) continue;
        while (*a == ' ') a++;
        while (*b == ' ') b++;
        return tn_fail(err, TN_ERR_CONFIG, "%s is not that of rank 0: here it is '%.*s', there '%.*s'; give every rank the same",
                       what, TN_MIN((int)strcspn(a, "\n"), 300), a, TN_MIN((int)strcspn(b, "\n"), 300), b);
    }
    return 0;
}

/* Everyone gets rank 0's text; caller frees. */
static int theirs_of(char **out, const tn_text *mine, tn_ranks *r, tn_error *err)
{
    unsigned long long n = mine->len;
    TN_TRY(tn_ranks_tell(r, &n, sizeof n, err));
    char *v = *out = calloc((size_t)n + 1, 1);
    if (!v) return tn_oom(err);
    if (!tn_ranks_number(r)) memcpy(v, mine->s, mine->len);
    return tn_ranks_tell(r, v, (size_t)n, err);
}

static int agree_on(const char *what, describe_fn describe, const tn_agreement *a, tn_error *err)
{
    tn_ranks *r = a->e->ranks;
    tn_text mine = {0};
    char *theirs = NULL;
    int rc = describe(&mine, a, err);
    if (!rc && mine.oom) rc = tn_oom(err);
    rc = tn_ranks_check(r, rc, err);
    if (!rc) rc = theirs_of(&theirs, &mine, r, err);
    if (!rc) rc = tn_ranks_check(r, compare(what, mine.s ? mine.s : "", theirs, err), err);
    free(theirs);
    tn_text_free(&mine);
    return rc;
}

int tn_agree(const tn_agreement *a, tn_error *err)
{
    static const struct {
        const char *what;
        describe_fn describe;
    } rows[] = {{"the version of the library", of_library},
                {"the configuration", of_config},
                {"the data set", of_data},
                {"what the weights are read from", of_weights}};
    for (size_t i = 0; a->e->ranks && i < TN_COUNT(rows); i++) TN_TRY(agree_on(rows[i].what, rows[i].describe, a, err));
    return 0;
}
