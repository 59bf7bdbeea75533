/** JSON through jansson, with our error sentences. */
#ifndef TN_JSONIO_H
#define TN_JSONIO_H
#include "fail.h"
#include <jansson.h>

/** Parses text; duplicate keys and trailing bytes are refused. `where` names the source in errors. */
int tn_json_parse(json_t **out, const char *text, size_t len, const char *where, tn_error *err);
int tn_json_read(json_t **out, const char *path, tn_error *err);
/** Indent 2, sorted keys, newline at the end; atomic. Steals nothing. */
int tn_json_write(const json_t *v, const char *path, tn_error *err);

/** A number as Python writes it: whole ones without a point. New reference. */
json_t *tn_json_number(double v);

/** A number; null for what JSON has none for. New reference. */
json_t *tn_json_real(double v);

/** A text; bytes that are no UTF-8, which JSON cannot hold, become U+FFFD. NULL gives null. New reference. */
json_t *tn_json_text(const char *s);

/** Getters with defaults; null counts as absent. */
long long tn_json_int(const json_t *o, const char *key, long long dflt);
double tn_json_num(const json_t *o, const char *key, double dflt);
int tn_json_bool(const json_t *o, const char *key, int dflt);
const char *tn_json_str(const json_t *o, const char *key, const char *dflt);
#endif
