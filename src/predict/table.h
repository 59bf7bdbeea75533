/** Files that a prediction will write, looked at before it begins. */
#ifndef TN_TABLE_H
#define TN_TABLE_H
#include "fail.h"
#include <stdbool.h>

/** Fails where `path` (NULL: nothing) is or names a folder or lies where nothing can be written. Touches nothing. */
int tn_may_write(const char *path, tn_error *err);
/** The same, and its folder is made. */
int tn_check_table(const char *path, tn_error *err);
/** Whether both are one file, or will be when they are made. NULL is none. */
bool tn_same_file(const char *a, const char *b);
#endif
