#include "frames.h"
#include "files.h"
#include "image.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DIGITS = 18 }; /* of a number that fits */

static long long digits_to_number(const char *s, size_t n)
{
    long long v = 0;
    if (!n || n > MAX_DIGITS) return -1;
    for (size_t i = 0; i < n; i++) v = 10 * v + (s[i] - '0');
    return v;
}

static long long picture_number(const char *name)
{
    if (!tn_image_named(name)) return -1;
    const char *end = strrchr(name, '.'), *begin = end;
    while (begin > name && isdigit((unsigned char)begin[-1])) begin--;
    return digits_to_number(begin, (size_t)(end - begin));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const tn_frame_file *)a)->name, ((const tn_frame_file *)b)->name);
}

static int by_number(const void *a, const void *b, void *files)
{
    const tn_frame_file *v = files, *s = &v[*(const int *)a], *t = &v[*(const int *)b];
    if (s->number != t->number) return s->number < t->number ? -1 : 1;
    return tn_natural(s->name, t->name);
}

int tn_frame_files_read(tn_frame_files *f, const char *dir, tn_error *err)
{
    tn_strs names = {0};
    *f = (tn_frame_files){0};
    int rc = tn_list_dir(&names, dir, err);
    f->v = calloc((size_t)names.n + 1, sizeof *f->v);
    f->numbered = calloc((size_t)names.n + 1, sizeof *f->numbered);
    if (!rc && (!f->v || !f->numbered)) rc = tn_oom(err);
    for (int i = 0; !rc && i < names.n; i++) {
        if (names.v[i][0] == '.') continue; /* hidden, as the ._ files are that macOS leaves */
        f->v[f->n++] = (tn_frame_file){names.v[i], picture_number(names.v[i]), -1};
        f->pictures += tn_image_named(names.v[i]);
        names.v[i] = NULL; /* taken over */
    }
    tn_strs_free(&names);
    if (rc) {
        tn_frame_files_free(f);
        return rc;
    }
    qsort(f->v, (size_t)f->n, sizeof *f->v, by_name);
    for (int i = 0; i < f->n; i++)
        if (f->v[i].number >= 0) f->numbered[f->n_numbered++] = i;
    qsort_r(f->numbered, (size_t)f->n_numbered, sizeof *f->numbered, by_number, f->v);
    return 0;
}

void tn_frame_files_free(tn_frame_files *f)
{
    for (int i = 0; i < f->n; i++) free(f->v[i].name);
    free(f->v);
    free(f->numbered);
    *f = (tn_frame_files){0};
}

static tn_frame_file *find_number(const tn_frame_files *f, long long number, bool *several)
{
    int lo = 0, hi = f->n_numbered;
    while (lo < hi) {
        const int mid = lo + (hi - lo) / 2;
        if (f->v[f->numbered[mid]].number < number) lo = mid + 1;
        else hi = mid;
    }
    const bool found = lo < f->n_numbered && f->v[f->numbered[lo]].number == number;
    *several = found && lo + 1 < f->n_numbered && f->v[f->numbered[lo + 1]].number == number;
    return found && !*several ? &f->v[f->numbered[lo]] : NULL;
}

tn_frame_file *tn_frame_files_find(const tn_frame_files *f, const char *name, bool *several)
{
    *several = false;
    const tn_frame_file key = {.name = (char *)name};
    tn_frame_file *found = bsearch(&key, f->v, (size_t)f->n, sizeof *f->v, by_name);
    if (found) return found;
    const size_t digits = strspn(name, "0123456789"), zeros = name[digits] == '.' ? strspn(name + digits + 1, "0") + 1 : 0;
    const long long number = name[digits + zeros] ? -1 : digits_to_number(name, digits);
    return number < 0 ? NULL : find_number(f, number, several);
}
