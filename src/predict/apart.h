/** Short names for files and folders that stay apart. */
#ifndef TN_APART_H
#define TN_APART_H
#include "fail.h"
#include "text.h"
#include <stdbool.h>

/**
 * One name for each of the n paths, all different: the last part of the path, of files without the extension. Where some agree,
 * the folders above come in front (c1/0000.jpg: c1_0000), the extension stays (a.jpg beside a.png), and what is still the same,
 * such as a path that was given twice, is numbered.
 */
int tn_names_apart(tn_strs *out, const char *const *paths, int n, bool files, tn_error *err);
#endif
