/** Files below a folder of the test that stands for the system's root, temp_path("root"). */
#ifndef TN_FAKE_ROOT_H
#define TN_FAKE_ROOT_H
#include "files.h"
#include "../testlib.h"
#include <string.h>

/** Writes root/file, with the folders that it needs. */
static inline void put(const char *file, const char *text)
{
    char *root = temp_path("root"), *path = tn_path(root, file);
    char folder[256];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    ck_assert_int_eq(tn_mkdirs(folder, NULL), 0);
    ck_assert_int_eq(tn_write_file(path, text, strlen(text), NULL), 0);
    free(path);
    free(root);
}
#endif
