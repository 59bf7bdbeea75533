#include "checkpoint_dir.h"
#include "files.h"
#include "names.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static char *hub_root(void)
{
    const char *vars[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"};
    for (size_t i = 0; i < TN_COUNT(vars); i++) {
        const char *v = getenv(vars[i]);
        if (v && v[0]) return tn_expand_path(v);
    }
    const char *home = getenv("HF_HOME"), *xdg = getenv("XDG_CACHE_HOME");
    char *base = home && home[0] ? strdup(home) : xdg && xdg[0] ? tn_path(xdg, "huggingface") : strdup("~/.cache/huggingface");
    char *full = base ? tn_path(base, "hub") : NULL, *out = full ? tn_expand_path(full) : NULL;
    free(base);
    free(full);
    return out;
}

static int not_cached(const char *id, tn_error *err)
{
    return tn_fail(err, TN_ERR_IO,
                   "model '%s' is neither a folder nor in the local hub cache; fetch it with "
                   "'huggingface-cli download %s', or give a folder with config.json and model.safetensors",
                   id, id);
}

int tn_hub_resolve(char **path, const char *id, tn_error *err)
{
    *path = NULL;
    tn_text folder = {0};
    tn_text_addf(&folder, "models--");
    for (const char *s = id; *s; s++) tn_text_addf(&folder, *s == '/' ? "--" : "%c", *s);
    char *root = hub_root(), *repo = root && folder.s ? tn_path(root, folder.s) : NULL;
    char *ref = repo ? tn_path(repo, "refs/main") : NULL, *hash = NULL;
    int rc = repo ? 0 : tn_oom(err);
    if (!rc && (!tn_is_file(ref) || tn_read_file(&hash, NULL, ref, err))) rc = not_cached(id, err);
    if (!rc) {
        for (size_t n = strlen(hash); n && isspace((unsigned char)hash[n - 1]);) hash[--n] = 0;
        *path = tn_strf("%s/snapshots/%s", repo, hash);
        if (!*path || strstr(hash, "..") || !tn_is_dir(*path)) {
            free(*path);
            *path = NULL;
            rc = not_cached(id, err);
        }
    }
    tn_text_free(&folder);
    free(root);
    free(repo);
    free(ref);
    free(hash);
    return rc;
}

static int add_file(tn_hf_dir *d, const char *name, tn_error *err)
{
    char *p = tn_path(d->path, name);
    tn_st_file **v = realloc(d->files, sizeof *v * (size_t)(d->n_files + 1));
    if (!p || !v) {
        free(p);
        return tn_oom(err);
    }
    d->files = v;
    int rc = tn_st_open(&v[d->n_files], p, err);
    free(p);
    if (!rc) d->n_files++;
    return rc;
}

static bool safe_shard(const char *n)
{
    return n[0] && n[0] != '/' && n[0] != '\\' && !strstr(n, "..") && !strchr(n, ':') && tn_ends(n, ".safetensors");
}

static int open_shards(tn_hf_dir *d, const char *index, tn_error *err)
{
    json_t *j;
    TN_TRY(tn_json_read(&j, index, err));
    int rc = 0;
    const char *key;
    json_t *v, *map = json_object_get(j, "weight_map");
    tn_strs names = {0};
    if (!json_is_object(map)) rc = tn_fail(err, TN_ERR_FORMAT, "%s: weight_map is missing", index);
    if (!rc) json_object_foreach(map, key, v)
        {
            const char *n = json_string_value(v);
            if (!n || !safe_shard(n)) rc = tn_fail(err, TN_ERR_FORMAT, "%s: '%s' is no shard name", index, n ? n : "?");
            if (!rc && !tn_strs_has(&names, n) && !tn_strs_add(&names, n)) rc = tn_oom(err);
            if (rc) break;
        }
    for (int i = 0; !rc && i < names.n; i++) rc = add_file(d, names.v[i], err);
    if (!rc) json_object_foreach(map, key, v)
        {
            int k = 0;
            while (strcmp(names.v[k], json_string_value(v))) k++;
            if (tn_st_find(d->files[k], key)) continue;
            rc = tn_fail(err, TN_ERR_FORMAT, "%s: tensor '%s' is not in %s", index, key, names.v[k]);
            break;
        }
    tn_strs_free(&names);
    json_decref(j);
    return rc;
}

static int open_weights(tn_hf_dir *d, tn_error *err)
{
    char *one = tn_path(d->path, "model.safetensors"), *index = tn_path(d->path, "model.safetensors.index.json");
    int rc;
    if (!one || !index) rc = tn_oom(err);
    else if (tn_is_file(one)) rc = add_file(d, "model.safetensors", err);
    else if (tn_is_file(index)) rc = open_shards(d, index, err);
    else
        rc = tn_fail(err, TN_ERR_IO,
                     "'%s' holds no model.safetensors; fetch the weights with 'huggingface-cli download', or "
                     "convert them to safetensors",
                     d->path);
    free(one);
    free(index);
    return rc;
}

int tn_hf_open(tn_hf_dir **out, const char *name, bool weights, tn_error *err)
{
    tn_hf_dir *d = calloc(1, sizeof *d);
    if (!d) return tn_oom(err);
    char *expanded = tn_expand_path(name), *config = NULL;
    int rc = 0;
    if (expanded && tn_is_dir(expanded)) {
        d->path = expanded;
        expanded = NULL;
    } else {
        rc = tn_hub_resolve(&d->path, name, err);
    }
    free(expanded);
    if (!rc) {
        config = tn_path(d->path, "config.json");
        if (!config || !tn_is_file(config))
            rc = tn_fail(err, TN_ERR_IO, "'%s' holds no config.json; it is no Hugging Face model folder", d->path);
    }
    if (!rc) rc = tn_json_read(&d->config, config, err);
    if (!rc && weights) rc = open_weights(d, err);
    free(config);
    if (rc) {
        tn_hf_close(d);
        d = NULL;
    }
    *out = d;
    return rc;
}

void tn_hf_close(tn_hf_dir *d)
{
    if (!d) return;
    for (int i = 0; i < d->n_files; i++) tn_st_close(d->files[i]);
    free(d->files);
    json_decref(d->config);
    free(d->path);
    free(d);
}

const tn_st_tensor *tn_hf_find(const tn_hf_dir *d, const char *name, const tn_st_file **file)
{
    char want[320], have[320];
    for (int i = 0; i < d->n_files; i++) {
        const tn_st_tensor *t = tn_st_find(d->files[i], name);
        if (!t) continue;
        if (file) *file = d->files[i];
        return t;
    }
    tn_common_name(want, sizeof want, name);
    for (int i = 0; i < d->n_files; i++)
        for (int k = 0; k < d->files[i]->n; k++) {
            tn_common_name(have, sizeof have, d->files[i]->t[k].name);
            if (strcmp(want, have)) continue;
            if (file) *file = d->files[i];
            return &d->files[i]->t[k];
        }
    return NULL;
}
