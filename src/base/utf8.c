#include "utf8.h"
#include "text.h"

#include <stddef.h>

int tn_utf8_character(const char *s, uint32_t *c)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; /* of so many bytes: less would be overlong */
    const unsigned char *p = (const unsigned char *)s;
    const int n = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf8 ? 4 : 0;
    uint32_t v = n == 1 ? p[0] : p[0] & (0x7fu >> n);
    for (int i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        v = v << 6 | (p[i] & 0x3f);
    }
    if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000)) return 0;
    if (c) *c = v;
    return n;
}

bool tn_is_utf8(const char *s)
{
    while (*s) {
        const int n = tn_utf8_character(s, NULL);
        if (!n) return false;
        s += n;
    }
    return true;
}

/* Bytes of the part of a character that s, which begins with no whole one, begins with: between what the second may lie is table
 * 3-7 of the standard. */
static int part(const char *s)
{
    const unsigned char *p = (const unsigned char *)s, first = p[0];
    const int follow = first < 0xc2 || first > 0xf4 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    unsigned char low = first == 0xe0   ? 0xa0
                        : first == 0xf0 ? 0x90
                                        : 0x80,
                  high = first == 0xed   ? 0x9f
                         : first == 0xf4 ? 0x8f
                                         : 0xbf;
    int n = 1;
    while (n <= follow && p[n] >= low && p[n] <= high) n++, low = 0x80, high = 0xbf;
    return n;
}

char *tn_utf8_clean(const char *s)
{
    tn_text t = {0};
    tn_text_add(&t, "", 0);
    while (*s) {
        const int n = tn_utf8_character(s, NULL);
        if (n) tn_text_add(&t, s, (size_t)n);
        else tn_text_add(&t, "\xef\xbf\xbd", 3);
        s += n ? n : part(s);
    }
    if (!t.oom) return t.s;
    tn_text_free(&t);
    return NULL;
}
