#include "needs.h"

#include <stdlib.h>
#include <string.h>

bool tn_needs_has(const tn_needs *w, const char *file, const char *entry, const char *options)
{
    for (int i = 0; i < w->n; i++)
        if (!strcmp(w->v[i].entry, entry) && !strcmp(w->v[i].file, file) && (!options || !strcmp(w->v[i].options, options)))
            return true;
    return false;
}

bool tn_needs_program(const tn_needs *w, const char *file, const char *options)
{
    for (int i = 0; i < w->n; i++)
        if (!strcmp(w->v[i].options, options) && !strcmp(w->v[i].file, file)) return true;
    return false;
}

static void need_free(struct tn_need *k)
{
    free(k->file);
    free(k->entry);
    free(k->options);
}

int tn_needs_add(tn_needs *w, const char *file, const char *entry, const char *options, tn_error *err)
{
    if (tn_needs_has(w, file, entry, options)) return 0;
    struct tn_need k = {strdup(file), strdup(entry), strdup(options)}, *v = realloc(w->v, sizeof *v * (size_t)(w->n + 1));
    if (v) w->v = v;
    if (!v || !k.file || !k.entry || !k.options) {
        need_free(&k);
        return tn_oom(err);
    }
    v[w->n++] = k;
    return 0;
}

void tn_needs_free(tn_needs *w)
{
    for (int i = 0; i < w->n; i++) need_free(&w->v[i]);
    free(w->v);
    *w = (tn_needs){0};
}
