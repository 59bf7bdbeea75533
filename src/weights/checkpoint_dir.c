#include "checkpoint_dir.h"
#include "files.h"
#include "names.h"
#include "torch_file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int add_file(tn_hf_dir *d, const char *name, tn_error *err)
{
    char *p = tn_path(d->path, name);
    tn_st_file **v = realloc(d->files, sizeof *v * (size_t)(d->n_files + 1));
    if (!p || !v) {
        free(p);
        return tn_oom(err);
    }
    d->files = v;
    int rc = tn_tensors_open(&v[d->n_files], p, err);
    free(p);
    if (!rc) d->n_files++;
    return rc;
}

static bool safe_shard(const char *n)
{
    return n[0] && n[0] != '/' && n[0] != '\\' && !strstr(n, "..") && !strchr(n, ':') &&
           (tn_ends(n, ".safetensors") || tn_ends(n, ".bin"));
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

/* A cache's link whose blob was removed, or never came. */
static bool dangles(const char *path)
{
    struct stat st;
    return !lstat(path, &st) && S_ISLNK(st.st_mode) && stat(path, &st);
}

static int dangling(const char *path, tn_error *err)
{
    return tn_fail(err, TN_ERR_IO, "'%s' is a link to a file that is not there; fetch it again with 'huggingface-cli download'",
                   path);
}

static int open_weights(tn_hf_dir *d, tn_error *err)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                        "pytorch_model.bin.index.json"};
    for (size_t i = 0; i < TN_COUNT(names); i++) {
        char *path = tn_path(d->path, names[i]);
        const bool there = path && tn_is_file(path), broken = path && dangles(path);
        int rc = !path ? tn_oom(err) : broken ? dangling(path, err) : 0;
        if (!rc && there) rc = tn_ends(path, ".json") ? open_shards(d, path, err) : add_file(d, names[i], err);
        free(path);
        if (rc || there) return rc;
    }
    return tn_fail(
        err, TN_ERR_IO,
        "'%s' holds no model.safetensors and no pytorch_model.bin; fetch the weights with 'huggingface-cli download', or "
        "convert them to safetensors",
        d->path);
}

static int read_model_config(tn_hf_dir *d, tn_error *err)
{
    char *path = tn_path(d->path, "config.json");
    int rc = !path              ? tn_oom(err)
             : dangles(path)    ? dangling(path, err)
             : tn_is_file(path) ? tn_json_read(&d->config, path, err)
                                : tn_fail(err, TN_ERR_IO, "'%s' holds no config.json; it is no Hugging Face model folder", d->path);
    free(path);
    return rc;
}

void tn_hf_warn(const tn_hf_dir *d, const tn_log *log)
{
    if (d->note) tn_logf(log, TN_LOG_WARN, "%s", d->note);
}

int tn_hf_open(tn_hf_dir **out, const char *name, bool weights, tn_error *err)
{
    tn_hf_dir *d = calloc(1, sizeof *d);
    if (!d) return tn_oom(err);
    char *expanded = tn_expand_path(name);
    int rc = 0;
    if (expanded && tn_is_dir(expanded)) {
        d->path = expanded;
        expanded = NULL;
    } else {
        rc = tn_hub_resolve(&d->path, &d->note, name, err);
    }
    free(expanded);
    if (!rc) rc = read_model_config(d, err);
    if (!rc && weights) rc = open_weights(d, err);
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
    free(d->note);
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
