#include "apart.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *path;
    char *name;
    int depth;   /* folders in front */
    bool whole;  /* with the extension */
    int number;  /* behind; 0: none */
    int order;   /* as given */
    bool raised; /* changed in this round */
} apart_item;

/* Where the last part of s [n] begins; *n becomes its length. Slashes behind it do not count, nor do "." parts. */
static size_t apart_last(const char *s, size_t *end)
{
    for (;;) {
        while (*end && s[*end - 1] == '/') --*end;
        size_t begin = *end;
        while (begin && s[begin - 1] != '/') begin--;
        if (*end - begin != 1 || s[begin] != '.') return begin;
        *end = begin;
    }
}

/* The name that the item's fields say; *deeper: whether another folder could come in front. NULL when memory ran out. */
static char *apart_name(const apart_item *it, bool files, bool *deeper)
{
    const char *s = it->path;
    size_t end = strlen(s), begin = apart_last(s, &end), stem = end;
    if (files && !it->whole)
        while (stem > begin && s[stem] != '.') stem--;
    if (stem == begin) stem = end;
    char *name = it->number ? tn_strf("%.*s-%d", (int)(stem - begin), s + begin, it->number + 1)
                            : tn_strf("%.*s", (int)(stem - begin), s + begin);
    for (int k = 0; name && k < it->depth; k++) {
        end = begin;
        begin = apart_last(s, &end);
        char *longer = tn_strf("%.*s_%s", (int)(end - begin), s + begin, name);
        free(name);
        name = longer;
    }
    end = begin;
    begin = apart_last(s, &end);
    *deeper = begin != end;
    return name;
}

static int apart_order(const void *a, const void *b)
{
    const apart_item *s = a, *t = b;
    const int name = strcmp(s->name, t->name), path = strcmp(s->path, t->path);
    return name ? name : path ? path : s->order - t->order;
}

static bool apart_same_folder(const apart_item *a, const apart_item *b)
{
    const char *s = strrchr(a->path, '/'), *t = strrchr(b->path, '/');
    const size_t n = s ? (size_t)(s - a->path) : 0, m = t ? (size_t)(t - b->path) : 0;
    return n == m && !strncmp(a->path, b->path, n);
}

/* One of a group v [n] of equal names gets a longer one. mixed: they lie in several folders. */
static int apart_raise(apart_item *v, int n, int i, bool files, bool mixed, tn_error *err)
{
    apart_item *it = &v[i], *before = i ? it - 1 : NULL, *behind = i + 1 < n ? it + 1 : NULL;
    const apart_item was = *it;
    bool deeper;
    char *name = apart_name(it, files, &deeper);
    if (!name) return tn_oom(err);
    free(name);
    const bool again = before && !strcmp(before->path, it->path), first = behind && !strcmp(behind->path, it->path);
    const bool twin = !again && !first && ((before && apart_same_folder(before, it)) || (behind && apart_same_folder(behind, it)));
    if (mixed && deeper) it->depth++;
    if (again) it->number = before->number + 1;
    else if (files && (twin || !deeper)) it->whole = true;
    if (before && !again && it->depth == was.depth && it->whole == was.whole) it->number++;
    it->raised = it->depth != was.depth || it->whole != was.whole || it->number != was.number;
    return 0;
}

static int apart_group(apart_item *v, int n, bool files, tn_error *err)
{
    bool mixed = false;
    for (int i = 1; i < n; i++) mixed |= !apart_same_folder(&v[i - 1], &v[i]);
    for (int i = 0; i < n; i++) TN_TRY(apart_raise(v, n, i, files, mixed, err));
    for (int i = 0; i < n; i++) {
        bool deeper;
        if (!v[i].raised) continue;
        free(v[i].name);
        v[i].name = apart_name(&v[i], files, &deeper);
        if (!v[i].name) return tn_oom(err);
    }
    return 0;
}

/* Until no two agree: every round makes at least one of a group longer, and numbers have no end. */
static int apart_all(apart_item *v, int n, bool files, tn_error *err)
{
    for (bool changed = true; changed;) {
        changed = false;
        qsort(v, (size_t)n, sizeof *v, apart_order);
        for (int i = 0, k; i < n; i = k) {
            for (k = i + 1; k < n && !strcmp(v[k].name, v[i].name);) k++;
            if (k == i + 1) continue;
            changed = true;
            TN_TRY(apart_group(v + i, k - i, files, err));
        }
    }
    return 0;
}

static int apart_given(const void *a, const void *b)
{
    return ((const apart_item *)a)->order - ((const apart_item *)b)->order;
}

int tn_names_apart(tn_strs *out, const char *const *paths, int n, bool files, tn_error *err)
{
    bool deeper;
    apart_item *v = calloc((size_t)n + 1, sizeof *v);
    int rc = v ? 0 : tn_oom(err);
    for (int i = 0; !rc && i < n; i++) {
        v[i] = (apart_item){.path = paths[i], .order = i};
        v[i].name = apart_name(&v[i], files, &deeper);
        if (!v[i].name) rc = tn_oom(err);
    }
    if (!rc) rc = apart_all(v, n, files, err);
    if (!rc) qsort(v, (size_t)n, sizeof *v, apart_given);
    for (int i = 0; !rc && i < n; i++)
        if (!tn_strs_add(out, v[i].name)) rc = tn_oom(err);
    for (int i = 0; v && i < n; i++) free(v[i].name);
    free(v);
    return rc;
}
