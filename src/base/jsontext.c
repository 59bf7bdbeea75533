/* Built into the library and into the command: what both write as JSON must not lose a row to a file's name. */
#include "jsontext.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* How many bytes follow a first byte, and between what the first of them lies (table 3-7 of the Unicode Standard). */
static int jsontext_follow(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    *high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (first < 0x80) return 0;
    if (first >= 0xC2 && first <= 0xDF) return 1;
    if (first >= 0xE0 && first <= 0xEF) return 2;
    return first >= 0xF0 && first <= 0xF4 ? 3 : -1;
}

/* Bytes of the character, or of the part of one, that s begins with. */
static size_t jsontext_part(const unsigned char *s, bool *whole)
{
    unsigned char low, high;
    const int follow = jsontext_follow(*s, &low, &high);
    size_t n = 1;
    while ((int)n <= follow && s[n] >= low && s[n] <= high) n++, low = 0x80, high = 0xBF;
    *whole = (int)n == follow + 1;
    return n;
}

json_t *tn_json_text(const char *s)
{
    if (!s) return json_null();
    char *fixed = malloc(3 * strlen(s) + 1), *to = fixed;
    if (!fixed) return NULL;
    while (*s) {
        bool whole;
        const size_t n = jsontext_part((const unsigned char *)s, &whole), m = whole ? n : 3;
        memcpy(to, whole ? s : "\xEF\xBF\xBD", m);
        to += m;
        s += n;
    }
    *to = 0;
    json_t *j = json_string(fixed);
    free(fixed);
    return j;
}

json_t *tn_json_real(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}
