#include "binary.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void tn_base64_add(tn_text *t, const void *bytes, size_t n)
{
    const unsigned char *b = bytes;
    for (size_t i = 0; i < n; i += 3) {
        const unsigned v = (unsigned)b[i] << 16 | (i + 1 < n ? (unsigned)b[i + 1] << 8 : 0) | (i + 2 < n ? b[i + 2] : 0u);
        char code[4] = {digits[v >> 18], digits[v >> 12 & 63], digits[v >> 6 & 63], digits[v & 63]};
        if (i + 1 >= n) code[2] = '=';
        if (i + 2 >= n) code[3] = '=';
        tn_text_add(t, code, 4);
    }
}

char *tn_base64_read(const char *code, size_t *n)
{
    char *out = malloc(strlen(code) * 3 / 4 + 4);
    unsigned v = 0;
    size_t k = 0, pad = 0;
    bool good = out != NULL;
    *n = 0;
    for (const char *s = code; good && *s; s++) {
        if (isspace((unsigned char)*s)) continue;
        const char *d = strchr(digits, *s);
        good = d ? !pad : *s == '=';
        pad += !d;
        v = v << 6 | (d ? (unsigned)(d - digits) : 0);
        if (++k % 4) continue;
        for (int shift = 16; shift >= 0; shift -= 8) out[(*n)++] = (char)(v >> shift);
    }
    if (!good || k % 4 || pad > 2) {
        free(out);
        return NULL;
    }
    out[ *n -= pad] = 0;
    return out;
}
