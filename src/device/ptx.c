#include "ptx.h"
#include "text.h"

#include <string.h>

#define HIDDEN  "//@@"
#define MINIMUM "minnctapersm"
#define TARGET  ".target sm_90"
#define POINTER " .ptr .global"
#define ALIGNED " .align "

bool tn_ptx_has_hidden(const char *text)
{
    return strstr(text, HIDDEN) != NULL;
}

bool tn_ptx_has_pointers(const char *ptx)
{
    return strstr(ptx, POINTER) != NULL;
}

/* What is being written: the text, and where in it the current kernel's group size has been declared. */
typedef struct {
    tn_text out;
    size_t declared; /* 0: not yet */
    bool hidden, bare;
} rewriting;

/* The directive of a marker's line goes to the kernel's head. */
static void put_minimum(rewriting *u, const char *line, size_t len)
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

/* The number behind an alignment belongs to it. */
static void put_bare(rewriting *u, const char *line, const char *pointer, size_t len)
{
    const char *rest = pointer + strlen(POINTER), *end = line + len;
    if ((size_t)(end - rest) > strlen(ALIGNED) && !memcmp(rest, ALIGNED, strlen(ALIGNED))) {
        rest += strlen(ALIGNED);
        while (rest < end && *rest >= '0' && *rest <= '9') rest++;
    }
    tn_text_add(&u->out, line, (size_t)(pointer - line));
    tn_text_add(&u->out, rest, (size_t)(end - rest));
}

static void rewrite_line(rewriting *u, const char *line, size_t len)
{
    const char *pointer = u->bare ? memmem(line, len, POINTER, strlen(POINTER)) : NULL;
    if (pointer) {
        put_bare(u, line, pointer, len);
        return;
    }
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
    if (u->hidden && target && target[strlen(TARGET)] != 'a') {
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

char *tn_ptx_rewrite(const char *ptx, bool bare, unsigned long long salt)
{
    rewriting u = {.hidden = tn_ptx_has_hidden(ptx), .bare = bare};
    while (*ptx) {
        const size_t n = strcspn(ptx, "\n"), len = n + (ptx[n] == '\n');
        rewrite_line(&u, ptx, len);
        ptx += len;
    }
    if (u.hidden) tn_text_addf(&u.out, "// %llx\n", salt);
    if (!u.out.oom) return u.out.s;
    tn_text_free(&u.out);
    return NULL;
}
