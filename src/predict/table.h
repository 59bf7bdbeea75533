/** The table that a prediction writes, row by row, and what is looked at before it begins. */
#ifndef TN_TABLE_H
#define TN_TABLE_H
#include "fail.h"
#include "text.h"
#include <stdbool.h>
#include <stdio.h>

typedef struct tn_table {
    FILE *f;          /* NULL: none is wanted */
    const char *path; /* borrowed */
} tn_table;

/** Fails where a new file `path` (NULL: nothing) is or names a folder or lies where nothing can be written. Touches nothing. */
int tn_may_write(const char *path, tn_error *err);
/** The same of a table: not where it has a picture's name; what is there may be a pipe or a device. */
int tn_table_may(const char *path, tn_error *err);
/** The same, and its folder is made. */
int tn_check_table(const char *path, tn_error *err);
/** Whether both are one file, or will be when they are made. NULL is none. */
bool tn_same_file(const char *a, const char *b);

/** Begins the table with its header; what stood there goes. A link, a pipe or a device is written to as it is. path NULL: none. */
int tn_table_open(tn_table *t, const char *path, const char *header, tn_error *err);
/** A row is in the file when this returns: whoever reads along sees it, and so does who comes after a crash. Frees the row. */
int tn_table_row(const tn_table *t, tn_text *row, tn_error *err);
/** Closes it, if it is open. */
int tn_table_close(tn_table *t, tn_error *err);
#endif
