#include "csv.h"

#include <string.h>
#include <strings.h>

static bool csv_blank(const tn_csv *c, const char *s)
{
    return s < c->end && (*s == ' ' || *s == '\t') && *s != c->separator;
}

static bool csv_at_end(const tn_csv *c, const char *s)
{
    return s >= c->end || *s == '\r' || *s == '\n';
}

/* Behind a line's end. */
static char *csv_next_line(tn_csv *c, char *s)
{
    if (s >= c->end) return s;
    c->next_line++;
    return s + (s[0] == '\r' && s + 1 < c->end && s[1] == '\n' ? 2 : 1);
}

/* Lines before the table: notes that begin with #, and the one by which Excel tells the separator. */
static void skip_preamble(tn_csv *c)
{
    for (;;) {
        char *s = c->s + strspn(c->s, " \t");
        const bool sep = !strncasecmp(s, "sep=", 4) && s[4] && !csv_at_end(c, s + 4);
        if (*s != '#' && !sep) return;
        if (sep) c->separator = s[4];
        while (!csv_at_end(c, s)) s++;
        c->s = csv_next_line(c, s);
    }
}

void tn_csv_begin(tn_csv *c, char *text, size_t len)
{
    *c = (tn_csv){.s = text, .end = text + len, .next_line = 1};
    if (!strncmp(text, "\xef\xbb\xbf", 3)) c->s += 3;
    skip_preamble(c);
    const char *first = c->s + strspn(c->s, "\r\n \t");
    const size_t n = strcspn(first, "\r\n");
    if (c->separator) return;
    c->separator = memchr(first, ',', n) ? ',' : memchr(first, '\t', n) ? '\t' : memchr(first, ';', n) ? ';' : ',';
}

/* From behind the opening quote to the closing one, or NULL; counts the lines between. */
static char *csv_closing(const tn_csv *c, char *s, int *lines)
{
    for (; s < c->end && *s; s++) {
        if (*s == '\n' || (*s == '\r' && !(s + 1 < c->end && s[1] == '\n'))) ++*lines;
        if (*s != '"') continue;
        if (s + 1 >= c->end || s[1] != '"') return s;
        s++;
    }
    return NULL;
}

/* Takes a quoted field, s at its opening quote; what follows its closing one, or NULL. Nothing is written unless it is good. */
static char *csv_quoted(tn_csv *c, char *s, char **field)
{
    int lines = 0;
    char *close = csv_closing(c, s + 1, &lines), *after = close ? close + 1 : c->end;
    while (csv_blank(c, after)) after++;
    if (!close) c->bad = "a quoted field does not end";
    else if (!csv_at_end(c, after) && *after != c->separator) c->bad = "something follows the end of a quoted field";
    if (c->bad) return NULL;
    c->next_line += lines;
    char *to = *field = s + 1;
    for (char *from = s + 1; from < close; from++) {
        if (*from == '"') from++; /* a doubled one */
        *to++ = *from;
    }
    *to = 0;
    return after;
}

static char *csv_plain(tn_csv *c, char *s, char **field)
{
    char *to = *field = s;
    for (; !csv_at_end(c, s) && *s != c->separator; s++) {
        if (!*s) c->bad = "the row holds a NUL byte";
        if (!csv_blank(c, s)) to = s + 1;
    }
    if (to < s) *to = 0;
    return c->bad ? NULL : s;
}

/* A record into c->field, up to TN_CSV_FIELDS; what follows its line. */
static char *csv_record(tn_csv *c, char *s)
{
    for (;;) {
        char *field, *begin = s;
        while (csv_blank(c, s)) s++;
        char *after = s < c->end && *s == '"' ? csv_quoted(c, s, &field) : csv_plain(c, s, &field);
        if (!after) {
            for (s = begin; !csv_at_end(c, s);) s++;
            return csv_next_line(c, s);
        }
        if (c->n < TN_CSV_FIELDS) c->field[c->n++] = field;
        const bool more = !csv_at_end(c, after);
        char *next = more ? after + 1 : csv_next_line(c, after);
        *after = 0; /* at the text's end this is the NUL that is there */
        if (!more) return next;
        s = next;
    }
}

bool tn_csv_next(tn_csv *c)
{
    while (c->s < c->end) {
        c->line = c->next_line;
        c->n = 0;
        c->bad = NULL;
        c->s = csv_record(c, c->s);
        bool any = c->bad != NULL;
        for (int i = 0; i < c->n; i++) any = any || c->field[i][0];
        if (any) return true;
    }
    return false;
}

void tn_csv_add(tn_text *t, const char *field)
{
    const size_t n = strlen(field);
    const bool blank = n && (strchr(" \t", field[0]) || strchr(" \t", field[n - 1]));
    if (!blank && !strpbrk(field, ",;\"\r\n\t")) {
        tn_text_add(t, field, n);
        return;
    }
    tn_text_add(t, "\"", 1);
    for (const char *s = field; *s; s++) {
        if (*s == '"') tn_text_add(t, "\"", 1);
        tn_text_add(t, s, 1);
    }
    tn_text_add(t, "\"", 1);
}
