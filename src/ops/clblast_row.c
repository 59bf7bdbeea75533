#include "clblast.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A column without the blanks around it; NULL behind the last one. */
static char *next_column(char **rest)
{
    char *s = strsep(rest, "|");
    if (!s) return NULL;
    s += strspn(s, " \t");
    for (size_t n = strlen(s); n && strchr(" \t\r", s[n - 1]);) s[--n] = 0;
    return s;
}

void tn_clblast_row(char *out, const char *rows, const tn_device_info *o)
{
    char *all = strdup(rows), *rest = all;
    out[0] = 0;
    for (char *line; !out[0] && (line = strsep(&rest, "\n")) != NULL;) {
        if (line[0] == '#') continue;
        const char *device = next_column(&line), *platform = next_column(&line), *text = next_column(&line);
        if (text && tn_has_nocase(o->name, device) && tn_has_nocase(o->platform, platform))
            snprintf(out, TN_CLBLAST_TEXT, "%s", text);
    }
    free(all);
}
