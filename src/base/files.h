/** Files and folders: whole reads, writes that are complete or absent, listings. */
#ifndef TN_FILES_H
#define TN_FILES_H
#include "fail.h"
#include "text.h"
#include <stdbool.h>
#include <stddef.h>

/** "a/b" in a fresh string. */
char *tn_path(const char *a, const char *b);
bool tn_is_file(const char *path);
bool tn_is_dir(const char *path);
/** mkdir -p. */
int tn_mkdirs(const char *path, tn_error *err);
/** Whole file, NUL-terminated; caller frees *data. */
int tn_read_file(char **data, size_t *len, const char *path, tn_error *err);
/** Writes beside the target, syncs, renames: the target is either the old file or the whole new one. */
int tn_write_file(const char *path, const void *data, size_t len, tn_error *err);
/** Names in a folder (no "." or ".."), in natural order. */
int tn_list_dir(tn_strs *names, const char *path, tn_error *err);
/** Whether there is an entry of that name: a folder, a file, or a link, dead or not. NULL is none. */
bool tn_is_there(const char *path);
/** Whether both are there and one file or folder, links followed. NULL is none. */
bool tn_is_same(const char *a, const char *b);
/** Removes a file, or a folder with what is in it. Missing is fine. */
int tn_remove_tree(const char *path, tn_error *err);
/** Fails with one sentence unless a file can be made in `dir` (which is created). `option`: where another can be named. */
int tn_check_writable_dir(const char *dir, const char *option, tn_error *err);
/** The path with a leading ~ or ~name made that home folder, where there is one; NULL when memory ran out; caller frees. */
char *tn_expand_home(const char *path);
/** The same, and $VAR and ${VAR} that are set. */
char *tn_expand_path(const char *path);
/** The absolute path of a folder (~ and $VAR expanded, links followed), or a copy of `path` where there is none: it may name
 * something else. NULL when memory ran out; caller frees. */
char *tn_real_dir(const char *path);
/** The folder that tn_run_options.cache names, which is not "off": NULL, "" and "on" are $XDG_CACHE_HOME/tracknet or
 * ~/.cache/tracknet. NULL when memory ran out; caller frees. */
char *tn_cache_folder(const char *option);
#endif
