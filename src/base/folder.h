/** Folders that appear whole or not at all: written beside their place, then exchanged into it. */
#ifndef TN_FOLDER_H
#define TN_FOLDER_H
#include "fail.h"
#include <stdbool.h>
#include <stddef.h>

/** A folder that is being written. */
typedef struct tn_folder {
    char *path,
        *tmp; /* its place, without slashes at the end or "." components; PATH.tmp.PID, where the files go until tn_folder_commit */
    bool fresh;
    size_t there; /* so many characters of the path named a folder that was there before */
    int lock;     /* held on tmp, for sweepers that cannot see this process; -1: none */
} tn_folder;

/**
 * Makes f->tmp and the folders above it. `fresh`: nothing may stand at `path` yet, or it fails with TN_ERR_IO; else what
 * stands there is replaced at the end. Leftovers of dead processes beside the place are removed. End with tn_folder_end,
 * whatever is returned.
 */
int tn_folder_begin(tn_folder *f, const char *path, bool fresh, tn_error *err);
/** Everything in f->tmp reaches the disk and takes its place. A kill at any moment leaves the old folder or the new one, there
 * or where tn_folder_repair finds it. */
int tn_folder_commit(tn_folder *f, tn_error *err);
/** Frees; what was not committed is removed, and with it the folders above that it needed. */
void tn_folder_end(tn_folder *f);

/** A folder whose exchange was interrupted gets its place back. To be called before `path` is opened. */
void tn_folder_repair(const char *path);
/** Removes from `dir` the files and folders that dead processes were writing: NAME.tmp.PID. name NULL: of every NAME. */
void tn_sweep(const char *dir, const char *name);

/** The path without slashes at its end, doubled slashes and "." components; caller frees, NULL when memory ran out. */
char *tn_plain_path(const char *path);
/** The path, or the nearest folder above it that is there; "." or "/" at last. Caller frees, NULL when memory ran out. */
char *tn_deepest_there(const char *path);
/** The part of `path` below `dir`, "/ck", borrowed; NULL where it lies elsewhere, or where either is NULL. */
const char *tn_below(const char *path, const char *dir);
/** The folder that a path without a slash at its end lies in, "." where it names none; caller frees, NULL when memory ran out. */
char *tn_parent_of(const char *path);
/** The last component of such a path, borrowed from it. */
const char *tn_name_of(const char *path);
#endif
