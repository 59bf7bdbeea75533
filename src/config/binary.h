/** Base64 (RFC 4648), as YAML's !!binary holds bytes that are no UTF-8. */
#ifndef TN_BINARY_H
#define TN_BINARY_H
#include "text.h"

/** Adds the code of n bytes. */
void tn_base64_add(tn_text *t, const void *bytes, size_t n);
/** The bytes of a code in a fresh string that ends with a NUL, white space left out; NULL where it is none or memory ran out.
 * Caller frees. */
char *tn_base64_read(const char *code, size_t *n);
#endif
