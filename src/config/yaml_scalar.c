/* What a scalar's text means: YAML 1.1 as PyYAML resolves it, and decimals without a point, which PyYAML takes for text. */
#include "numeric.h"
#include "yaml_tree.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_plain(const tn_ynode *n)
{
    return n->kind == TN_Y_SCALAR && !n->quoted;
}

static bool scalar_among(const char *text, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(text, list[i])) return true;
    return false;
}

bool tn_yaml_is_null(const tn_ynode *n)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    return is_plain(n) && scalar_among(n->text, nulls, TN_COUNT(nulls));
}

bool tn_yaml_bool(const tn_ynode *n, bool *v)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"};
    if (!is_plain(n)) return false;
    *v = scalar_among(n->text, yes, TN_COUNT(yes));
    return *v || scalar_among(n->text, no, TN_COUNT(no));
}

static int digit_of(char c)
{
    return isdigit((unsigned char)c) ? c - '0' : isalpha((unsigned char)c) ? tolower((unsigned char)c) - 'a' + 10 : 99;
}

/* Digits of that base, underscores between them left out; false where there are none, others, or too many. */
static bool whole_of(const char *s, int base, uint64_t *v)
{
    bool some = false;
    for (*v = 0; *s; s++) {
        const int d = digit_of(*s);
        if (*s == '_') continue;
        if (d >= base || *v > (UINT64_MAX - (uint64_t)d) / (uint64_t)base) return false;
        *v = *v * (uint64_t)base + (uint64_t)d;
        some = true;
    }
    return some;
}

/* 0x10, 0b10 and 010: numbers only where nothing quotes them. */
static int base_of(const tn_ynode *n, const char **digits)
{
    const char *s = *digits;
    if (n->quoted || s[0] != '0') return 10;
    const int base = s[1] == 'x' ? 16 : s[1] == 'b' ? 2 : isdigit((unsigned char)s[1]) || s[1] == '_' ? 8 : 10;
    *digits += base == 10 ? 0 : base == 8 ? 1 : 2;
    return base;
}

bool tn_yaml_whole(const tn_ynode *n, uint64_t *v)
{
    if (n->kind != TN_Y_SCALAR || (n->quoted && strchr(n->text, '_'))) return false;
    const char *s = n->text + (n->text[0] == '+');
    if (!isdigit((unsigned char)*s)) return false;
    const int base = base_of(n, &s);
    if (whole_of(s, base, v)) return true;
    double d; /* 3.0 and 1e3; a double holds no larger ones exactly */
    if (base != 10 || !tn_yaml_number(n, &d) || d != floor(d) || d < 0 || d > 0x1p53) return false;
    *v = (uint64_t)d;
    return true;
}

/* Goes past digits and the underscores behind them. */
static int skip_digits(const char **s)
{
    int n = 0;
    for (; isdigit((unsigned char)**s) || (**s == '_' && n); ++*s) n++;
    return n;
}

/* [sign] digits [. digits] [e [sign] digits], with a digit before the exponent. */
static bool is_decimal(const char *s)
{
    s += *s == '+' || *s == '-';
    int n = skip_digits(&s);
    if (*s == '.') s++, n += skip_digits(&s);
    if (!n) return false;
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '+' || *s == '-';
        if (!skip_digits(&s)) return false;
    }
    return !*s;
}

bool tn_yaml_number(const tn_ynode *n, double *v)
{
    if (n->kind != TN_Y_SCALAR) return false;
    const bool minus = n->text[0] == '-';
    const char *s = n->text + (minus || n->text[0] == '+');
    const int base = base_of(n, &s);
    uint64_t whole;
    if (base != 10 && whole_of(s, base, &whole)) return *v = minus ? -(double)whole : (double)whole, true;
    if (base != 10 && !strpbrk(s, ".eE")) return false; /* 08: neither octal nor, to PyYAML, a number */
    char plain[64];
    size_t k = 0;
    if (!is_decimal(n->text) || strlen(n->text) >= sizeof plain || (n->quoted && strchr(n->text, '_'))) return false;
    for (s = n->text; *s; s++)
        if (*s != '_') plain[k++] = *s;
    plain[k] = 0;
    *v = tn_strtod(plain, NULL);
    return isfinite(*v);
}
