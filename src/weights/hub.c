/* Where the local hub cache keeps a model. */
#include "checkpoint_dir.h"
#include "files.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static char *default_root(void)
{
    const char *home = getenv("HF_HOME"), *xdg = getenv("XDG_CACHE_HOME");
    char *base = home && home[0] ? strdup(home) : xdg && xdg[0] ? tn_path(xdg, "huggingface") : strdup("~/.cache/huggingface");
    char *full = base ? tn_path(base, "hub") : NULL, *out = full ? tn_expand_path(full) : NULL;
    free(base);
    free(full);
    return out;
}

/* root/models--org--name, when that is a folder; root is taken over. */
static char *repo_in(char *root, const char *id)
{
    tn_text folder = {0};
    tn_text_addf(&folder, "models--");
    for (const char *s = id; *s; s++) tn_text_addf(&folder, *s == '/' ? "--" : "%c", *s);
    char *repo = root && folder.s ? tn_path(root, folder.s) : NULL;
    tn_text_free(&folder);
    free(root);
    if (repo && tn_is_dir(repo)) return repo;
    free(repo);
    return NULL;
}

/* In the first cache that has it; those that a variable names stand before the usual place. */
static char *find_repo(const char *id)
{
    static const char *const vars[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE"};
    bool named = false;
    for (size_t i = 0; i < TN_COUNT(vars); i++) {
        const char *v = getenv(vars[i]);
        if (!v || !v[0]) continue;
        named = true;
        char *repo = repo_in(tn_expand_path(v), id);
        if (repo) return repo;
    }
    return named && !getenv("HF_HOME") ? NULL : repo_in(default_root(), id);
}

static int not_cached(const char *id, tn_error *err)
{
    return tn_fail(err, TN_ERR_IO,
                   "model '%s' is neither a folder nor in the local hub cache; fetch it with "
                   "'huggingface-cli download %s', or give a folder with config.json and model.safetensors",
                   id, id);
}

/* The trimmed text of refs/main; empty where there is none. */
static int read_ref(char **ref, const char *repo, tn_error *err)
{
    char *path = tn_path(repo, "refs/main");
    int rc = !path ? tn_oom(err) : tn_is_file(path) ? tn_read_file(ref, NULL, path, err) : (*ref = strdup("")) ? 0 : tn_oom(err);
    free(path);
    for (size_t n = rc ? 0 : strlen(*ref); n && isspace((unsigned char)(*ref)[n - 1]);) (*ref)[--n] = 0;
    return rc;
}

static int list_snapshots(tn_strs *names, const char *folder, tn_error *err)
{
    tn_strs all = {0};
    int rc = tn_is_dir(folder) ? tn_list_dir(&all, folder, err) : 0;
    for (int i = 0; !rc && i < all.n; i++) {
        char *p = tn_path(folder, all.v[i]);
        if (!p || (tn_is_dir(p) && !tn_strs_add(names, all.v[i]))) rc = tn_oom(err);
        free(p);
    }
    tn_strs_free(&all);
    return rc;
}

/* No snapshot is the one that refs/main names. */
static int choose(char **path, char **note, const char *id, const char *ref, const char *folder, const tn_strs *have, tn_error *err)
{
    if (!have->n) return not_cached(id, err);
    if (have->n == 1 && !ref[0]) {
        *path = tn_path(folder, have->v[0]);
        *note = tn_strf("model '%s': the cache has no refs/main, so its only snapshot is used: %s", id, have->v[0]);
        return *path && *note ? 0 : tn_oom(err);
    }
    char *names = tn_strs_join(have, ", ");
    int rc = tn_fail(err, TN_ERR_IO, "model '%s': %s%s; give one as a folder: %s/{%s}", id,
                     ref[0] ? "the cache's refs/main names a snapshot that is not there, "
                            : "the cache has several snapshots and no refs/main",
                     ref, folder, names ? names : "");
    free(names);
    return rc;
}

int tn_hub_resolve(char **path, char **note, const char *id, tn_error *err)
{
    *path = *note = NULL;
    char *repo = find_repo(id), *ref = NULL;
    if (!repo) return not_cached(id, err);
    char *folder = tn_path(repo, "snapshots"), *named = NULL;
    tn_strs have = {0};
    int rc = folder ? read_ref(&ref, repo, err) : tn_oom(err);
    if (!rc) rc = list_snapshots(&have, folder, err);
    if (!rc && ref[0] && tn_strs_has(&have, ref)) rc = (named = tn_path(folder, ref)) ? 0 : tn_oom(err);
    else if (!rc) rc = choose(&named, note, id, ref, folder, &have, err);
    *path = named;
    tn_strs_free(&have);
    free(folder);
    free(repo);
    free(ref);
    return rc;
}
