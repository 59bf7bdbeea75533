#include "ptx.h"
#include "text.h"

#include <string.h>

#define HIDDEN  "//@@"
#define MINIMUM "minnctapersm"
#define TARGET  ".target sm_90"

bool tn_ptx_has_hidden(const char *text)
{
    return strstr(text, HIDDEN) != NULL;
}

/* What is being written: the text, and where in it the current kernel's group size has been declared. */
typedef struct {
    tn_text out;
    size_t declared; /* 0: not yet */
} uncovering;

/* The directive of a marker's line goes to the kernel's head. */
static void put_minimum(uncovering *u, const char *line, size_t len)
{
    if (!u->declared || u->out.oom) return;
    tn_text all = {0};
    tn_text_add(&all, u->out.s, u->declared);
    tn_text_addf(&all, ".%.*s\n", (int)len, line);
    tn_text_add(&all, u->out.s + u->declared, u->out.len - u->declared);
    tn_text_free(&u->out);
    u->out = all;
    u->declared = 0;
}

static void uncover_line(uncovering *u, const char *line, size_t len)
{
    const char *hidden = memmem(line, len, HIDDEN, strlen(HIDDEN));
    const char *target = memmem(line, len, TARGET, strlen(TARGET));
    if (hidden) {
        const char *rest = hidden + strlen(HIDDEN), *end = line + len;
        if ((size_t)(end - rest) > strlen(MINIMUM) && !memcmp(rest, MINIMUM, strlen(MINIMUM))) {
            while (end > rest && (end[-1] == ';' || end[-1] == '\n' || end[-1] == ' ')) end--;
            put_minimum(u, rest, (size_t)(end - rest));
            return;
        }
        tn_text_add(&u->out, line, (size_t)(hidden - line));
        tn_text_add(&u->out, rest, (size_t)(end - rest));
        return;
    }
    if (target && target[strlen(TARGET)] != 'a') {
        const size_t upto = (size_t)(target - line) + strlen(TARGET);
        tn_text_add(&u->out, line, upto);
        tn_text_add(&u->out, "a", 1);
        tn_text_add(&u->out, line + upto, len - upto);
        return;
    }
    tn_text_add(&u->out, line, len);
    if (memmem(line, len, ".entry", 6)) u->declared = 0;
    if (memmem(line, len, ".reqntid", 8)) u->declared = u->out.len;
}

char *tn_ptx_uncover(const char *ptx, unsigned long long salt)
{
    uncovering u = {.declared = 0};
    while (*ptx) {
        const size_t n = strcspn(ptx, "\n"), len = n + (ptx[n] == '\n');
        uncover_line(&u, ptx, len);
        ptx += len;
    }
    tn_text_addf(&u.out, "// %llx\n", salt);
    if (!u.out.oom) return u.out.s;
    tn_text_free(&u.out);
    return NULL;
}
