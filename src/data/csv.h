/** Records of a CSV text: RFC 4180, and what spreadsheets and scripts write around it. */
#ifndef TN_CSV_H
#define TN_CSV_H
#include "text.h"
#include <stdbool.h>
#include <stddef.h>

enum { TN_CSV_FIELDS = 64 }; /* of a record; those behind are not looked at */

/** One record at a time; fields are strings inside the text, which is written over. Plain ones are trimmed of blanks, quoted ones
 * are not. Lines end with LF, CRLF or CR. */
typedef struct tn_csv {
    char *s, *end;
    char separator;      /* the first of , tab ; that the first line holds */
    int line, next_line; /* where the record begins; where the next one does */
    char *field[TN_CSV_FIELDS];
    int n;
    const char *bad; /* why the record is none, or NULL; the next one begins at the line below */
} tn_csv;

/** Skips UTF-8's byte order mark. text [len] is the caller's, with a NUL behind. */
void tn_csv_begin(tn_csv *c, char *text, size_t len);
/** The next record that holds anything; false at the end. */
bool tn_csv_next(tn_csv *c);

/** Appends a field as RFC 4180 has it: in quotes where it holds a comma, a quote, a line's end or blanks at its ends. */
void tn_csv_add(tn_text *t, const char *field);
#endif
