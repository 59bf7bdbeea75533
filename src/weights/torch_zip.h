/** The zip that torch.save writes: where each of its files lies. */
#ifndef TN_TORCH_ZIP_H
#define TN_TORCH_ZIP_H
#include "fail.h"
#include <stddef.h>
#include <stdint.h>

typedef struct tn_zip_entry {
    char *name; /* without the archive's own folder: data.pkl, data/0 */
    size_t begin, bytes;
} tn_zip_entry;
typedef struct tn_zip {
    tn_zip_entry *e; /* sorted by name */
    int n, cap;
} tn_zip;

/** Of a file of `size` bytes; every entry lies within it, stored and not compressed. Free in any case. */
int tn_zip_list(tn_zip *z, const char *path, size_t size, tn_error *err);
const tn_zip_entry *tn_zip_find(const tn_zip *z, const char *name);
void tn_zip_free(tn_zip *z);
#endif
