/** Text that may be no UTF-8, as a path may be. */
#ifndef TN_UTF8_H
#define TN_UTF8_H
#include <stdbool.h>
#include <stdint.h>

/** Bytes of the character that s begins with (RFC 3629: no surrogates, nothing overlong), and which it is; 0 where it begins with
 * none. c may be NULL. */
int tn_utf8_character(const char *s, uint32_t *c);
/** Whether s is UTF-8 all over. */
bool tn_is_utf8(const char *s);
/** s with U+FFFD for what is no character, one for each longest part of one as the Unicode Standard (section 3.9, "U+FFFD
 * Substitution of Maximal Subparts") recommends, in a fresh string, or NULL when memory ran out; caller frees. */
char *tn_utf8_clean(const char *s);
#endif
