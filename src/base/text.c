#include "text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool text_reserve(tn_text *t, size_t extra)
{
    if (t->oom) return false;
    if (t->len + extra + 1 <= t->cap) return true;
    size_t cap = (t->len + extra + 1) * 2;
    char *s = realloc(t->s, cap);
    if (!s) {
        t->oom = true;
        return false;
    }
    t->s = s;
    t->cap = cap;
    return true;
}

void tn_text_add(tn_text *t, const char *s, size_t n)
{
    if (!text_reserve(t, n)) return;
    memcpy(t->s + t->len, s, n);
    t->len += n;
    t->s[t->len] = 0;
}

void tn_text_addf(tn_text *t, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && text_reserve(t, (size_t)n)) {
        vsnprintf(t->s + t->len, (size_t)n + 1, fmt, again);
        t->len += (size_t)n;
    }
    va_end(again);
}

void tn_text_add_xml(tn_text *t, const char *s)
{
    for (; *s; s++) {
        if (*s == '<') tn_text_addf(t, "&lt;");
        else if (*s == '>') tn_text_addf(t, "&gt;");
        else if (*s == '&') tn_text_addf(t, "&amp;");
        else if (*s == '"') tn_text_addf(t, "&quot;");
        else if ((unsigned char)*s < 32) tn_text_addf(t, " ");
        else tn_text_add(t, s, 1);
    }
}

void tn_text_free(tn_text *t)
{
    free(t->s);
    *t = (tn_text){0};
}

bool tn_strs_add(tn_strs *l, const char *s)
{
    char **v = realloc(l->v, sizeof *v * (size_t)(l->n + 1));
    if (!v) return false;
    l->v = v;
    v[l->n] = strdup(s);
    if (!v[l->n]) return false;
    l->n++;
    return true;
}

void tn_strs_free(tn_strs *l)
{
    for (int i = 0; i < l->n; i++) free(l->v[i]);
    free(l->v);
    *l = (tn_strs){0};
}

bool tn_strs_copy(tn_strs *dst, const tn_strs *src)
{
    *dst = (tn_strs){0};
    for (int i = 0; i < src->n; i++)
        if (!tn_strs_add(dst, src->v[i])) return false;
    return true;
}

bool tn_strs_has(const tn_strs *l, const char *s)
{
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->v[i], s)) return true;
    return false;
}

/* Compares the numbers that a and b begin with and leaves both behind them. */
static int by_number(const char **a, const char **b)
{
    while (**a == '0') ++*a;
    while (**b == '0') ++*b;
    const size_t n = strspn(*a, "0123456789"), m = strspn(*b, "0123456789");
    const int order = n != m ? (n > m) - (n < m) : strncmp(*a, *b, n);
    *a += n;
    *b += m;
    return order;
}

int tn_natural(const char *a, const char *b)
{
    const char *s = a, *t = b;
    while (*s && *t) {
        if (isdigit((unsigned char)*s) && isdigit((unsigned char)*t)) {
            const int order = by_number(&s, &t);
            if (order) return order;
        } else if (*s++ != *t++) {
            return (unsigned char)s[-1] < (unsigned char)t[-1] ? -1 : 1;
        }
    }
    if (*s || *t) return *s ? 1 : -1;
    return strcmp(a, b); /* 01 and 1 */
}

static int by_text(const void *a, const void *b)
{
    return tn_natural(*(char *const *)a, *(char *const *)b);
}

void tn_strs_sort(tn_strs *l)
{
    if (l->n > 1) qsort(l->v, (size_t)l->n, sizeof *l->v, by_text);
}

char *tn_strs_join(const tn_strs *l, const char *sep)
{
    tn_text t = {0};
    tn_text_add(&t, "", 0);
    for (int i = 0; i < l->n; i++) tn_text_addf(&t, "%s%s", i ? sep : "", l->v[i]);
    return t.s;
}

char *tn_strf(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *s = NULL;
    if (vasprintf(&s, fmt, ap) < 0) s = NULL;
    va_end(ap);
    return s;
}

bool tn_starts(const char *s, const char *prefix)
{
    return !strncmp(s, prefix, strlen(prefix));
}

bool tn_ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), k = strlen(suffix);
    return n >= k && !strcmp(s + n - k, suffix);
}

bool tn_has_nocase(const char *s, const char *part)
{
    size_t k = strlen(part);
    for (; *s; s++) {
        size_t i = 0;
        while (i < k && s[i] && tolower((unsigned char)s[i]) == tolower((unsigned char)part[i])) i++;
        if (i == k) return true;
    }
    return k == 0;
}

int tn_edit_distance(const char *a, const char *b)
{
    enum { MAX = 96 };
    int n = (int)strlen(a), m = (int)strlen(b);
    if (n >= MAX || m >= MAX) return MAX;
    int row[MAX];
    for (int j = 0; j <= m; j++) row[j] = j;
    for (int i = 1; i <= n; i++) {
        int diag = row[0];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            int best = diag + (a[i - 1] != b[j - 1]);
            diag = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[m];
}

unsigned long long tn_hash(unsigned long long h, const void *p, size_t n)
{
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 1099511628211ull;
    return h;
}
