#include "torch_zip.h"
#include "files.h"

#include <minizip/unzip.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int zip_bad(const char *path, const char *what, tn_error *err)
{
    return tn_fail(err, TN_ERR_FORMAT, "%s: its zip %s; the file is damaged or was not fully downloaded, fetch it again", path,
                   what);
}

static int zip_add(tn_zip *z, const char *name, size_t begin, size_t bytes, tn_error *err)
{
    if (z->n == z->cap) {
        const int more = z->cap ? 2 * z->cap : 64;
        tn_zip_entry *e = realloc(z->e, sizeof *e * (size_t)more);
        if (!e) return tn_oom(err);
        z->e = e;
        z->cap = more;
    }
    z->e[z->n] = (tn_zip_entry){strdup(name), begin, bytes};
    return z->e[z->n++].name ? 0 : tn_oom(err);
}

/* The entry that minizip stands at. */
static int list_one(tn_zip *z, unzFile u, const char *path, size_t size, tn_error *err)
{
    unz_file_info64 info;
    char name[512];
    if (unzGetCurrentFileInfo64(u, &info, name, sizeof name, NULL, 0, NULL, 0) != UNZ_OK)
        return zip_bad(path, "cannot be listed", err);
    const char *slash = strchr(name, '/');
    if (info.size_filename >= sizeof name || !slash || !slash[1]) return 0;
    const bool read = tn_starts(slash + 1, "data/") || !strcmp(slash + 1, "data.pkl");
    if (!read && info.compression_method) return 0; /* TorchScript's code */
    if (info.compression_method || info.flag & 1 || info.compressed_size != info.uncompressed_size)
        return tn_fail(err, TN_ERR_FORMAT, "%s: '%s' is compressed, which torch.save never does; pack it anew with 'zip -0'", path,
                       name);
    if (unzOpenCurrentFile(u) != UNZ_OK) return zip_bad(path, "disagrees with its list", err);
    const uint64_t begin = unzGetCurrentFileZStreamPos64(u);
    unzCloseCurrentFile(u);
    if (begin > size || info.uncompressed_size > size - begin) return zip_bad(path, "has a file outside of it", err);
    return zip_add(z, slash + 1, (size_t)begin, (size_t)info.uncompressed_size, err);
}

static int by_entry_name(const void *a, const void *b)
{
    return strcmp(((const tn_zip_entry *)a)->name, ((const tn_zip_entry *)b)->name);
}

int tn_zip_list(tn_zip *z, const char *path, size_t size, tn_error *err)
{
    *z = (tn_zip){0};
    unzFile u = unzOpen64(path);
    if (!u) return zip_bad(path, "has no list of files at its end", err);
    int at = unzGoToFirstFile(u), rc = 0;
    for (; !rc && at == UNZ_OK; at = unzGoToNextFile(u)) rc = list_one(z, u, path, size, err);
    if (!rc && at != UNZ_END_OF_LIST_OF_FILE) rc = zip_bad(path, "cannot be listed", err);
    unzClose(u);
    if (z->n > 1) qsort(z->e, (size_t)z->n, sizeof *z->e, by_entry_name);
    return rc;
}

const tn_zip_entry *tn_zip_find(const tn_zip *z, const char *name)
{
    const tn_zip_entry key = {.name = (char *)name};
    return z->n ? bsearch(&key, z->e, (size_t)z->n, sizeof *z->e, by_entry_name) : NULL;
}

void tn_zip_free(tn_zip *z)
{
    for (int i = 0; i < z->n; i++) free(z->e[i].name);
    free(z->e);
    *z = (tn_zip){0};
}
