/** Text that may hold any bytes, such as a path, and numbers that may be none, as JSON. */
#ifndef TN_JSONTEXT_H
#define TN_JSONTEXT_H
#include <jansson.h>

/** A new reference to s as a string; null for NULL. Bytes that are not UTF-8 become U+FFFD, one for each longest part of a
 * character as the Unicode Standard (section 3.9, "U+FFFD Substitution of Maximal Subparts") recommends. NULL when memory ran out.
 */
json_t *tn_json_text(const char *s);
/** A new reference to v; null for what JSON has no number for. */
json_t *tn_json_real(double v);
#endif
