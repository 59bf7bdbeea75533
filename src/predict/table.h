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

/** Fails where `path` (NULL: nothing) is a folder, a picture's name or nothing that can be written; its folder is made. */
int tn_check_table(const char *path, tn_error *err);
/** Whether both are there and one file. NULL is none. */
bool tn_same_file(const char *a, const char *b);

/** Begins the table with its header; what stood there goes. A link, a pipe or a device is written to as it is. path NULL: none. */
int tn_table_open(tn_table *t, const char *path, const char *header, tn_error *err);
/** A row is in the file when this returns: whoever reads along sees it, and so does who comes after a crash. Frees the row. */
int tn_table_row(const tn_table *t, tn_text *row, tn_error *err);
/** Closes it, if it is open. */
int tn_table_close(tn_table *t, tn_error *err);
#endif
