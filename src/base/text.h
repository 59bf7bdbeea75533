/** A growing string, and small helpers on C strings. */
#ifndef TN_TEXT_H
#define TN_TEXT_H
#include <stdbool.h>
#include <stddef.h>

/** Zero-initialise; free with tn_text_free. `oom` sticks once an allocation failed. */
typedef struct tn_text {
    char *s;
    size_t len, cap;
    bool oom;
} tn_text;

void tn_text_addf(tn_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void tn_text_add(tn_text *t, const char *s, size_t n);
/** As the text of an XML or HTML element, or between double quotes as an attribute. */
void tn_text_add_xml(tn_text *t, const char *s);
void tn_text_free(tn_text *t);

/** A list of owned strings. */
typedef struct tn_strs {
    char **v;
    int n;
} tn_strs;

/** Appends a copy of s; false when memory ran out. */
bool tn_strs_add(tn_strs *l, const char *s);
void tn_strs_free(tn_strs *l);
bool tn_strs_copy(tn_strs *dst, const tn_strs *src);
bool tn_strs_has(const tn_strs *l, const char *s);
/** In natural order: by bytes, but numbers by their value, so that 2 comes before 10. */
void tn_strs_sort(tn_strs *l);
/** That order, as strcmp's sign; 0 for equal strings only. */
int tn_natural(const char *a, const char *b);
/** "a, b, c"; caller frees. */
char *tn_strs_join(const tn_strs *l, const char *sep);

/** printf into a fresh string; NULL when memory ran out; caller frees. */
char *tn_strf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
bool tn_starts(const char *s, const char *prefix);
bool tn_ends(const char *s, const char *suffix);
/** ASCII case-insensitive substring test. */
bool tn_has_nocase(const char *s, const char *part);
/** Levenshtein distance, for "did you mean". */
int tn_edit_distance(const char *a, const char *b);
/** FNV-1a over bytes, continuing from h (start with TN_HASH0). */
#define TN_HASH0 14695981039346656037ull
unsigned long long tn_hash(unsigned long long h, const void *p, size_t n);
#endif
