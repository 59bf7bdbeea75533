/* The search for CLBlast's parameters: what is tried next. */
#include "clblast.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPACES = 8, LINE = 192, MOST_TRIED = 1024, DRAWS = 64 };
#define BETTER 0.98 /* of the fastest: a gain, and no noise */

typedef struct {
    tn_clblast_search *s;
    char lines[SPACES][LINE]; /* the best of each kernel, "" CLBlast's own; by the first space of that kernel */
    unsigned long long seen[MOST_TRIED];
    int n_seen;
    tn_rng rng;
    double end;
} search;

static int slot_of(const char *kernel, size_t length)
{
    for (int i = 0; tn_clblast_spaces[i].kernel; i++)
        if (strlen(tn_clblast_spaces[i].kernel) == length && !strncmp(tn_clblast_spaces[i].kernel, kernel, length)) return i;
    return -1;
}

static void put_line(search *x, const char *line, size_t length)
{
    const int slot = slot_of(line, strcspn(line, " ;"));
    if (slot >= 0) snprintf(x->lines[slot], LINE, "%.*s", (int)length, line);
}

static void put_lines(search *x, const char *text)
{
    while (*text) {
        text += strspn(text, "; ");
        const size_t n = strcspn(text, ";");
        if (n) put_line(x, text, n);
        text += n;
    }
}

static void join(char *out, const search *x)
{
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < SPACES && at < TN_CLBLAST_TEXT; i++)
        if (x->lines[i][0]) at += (size_t)snprintf(out + at, TN_CLBLAST_TEXT - at, "%s%s", at ? "; " : "", x->lines[i]);
}

static bool is_new(search *x, const char *text)
{
    const unsigned long long h = tn_hash(TN_HASH0, text, strlen(text));
    for (int i = 0; i < x->n_seen; i++)
        if (x->seen[i] == h) return false;
    if (x->n_seen < MOST_TRIED) x->seen[x->n_seen++] = h;
    return true;
}

/* Tries the lines as they are: do they become the best? */
static bool is_faster(search *x, bool *more)
{
    char text[TN_CLBLAST_TEXT];
    tn_clblast_answer a = {.good = false};
    const double left = x->end - x->s->clock();
    join(text, x);
    *more = left > 0;
    if (!*more || !is_new(x, text)) return false;
    *more = x->s->ask(&a, x->s->user, text, left);
    x->s->tried++;
    if (!a.good || !(a.seconds < BETTER * x->s->fastest)) return false;
    x->s->fastest = a.seconds;
    memcpy(x->s->best, text, sizeof text);
    return true;
}

/* One space: any of it for the first half of its time, then what is near its best. */
static bool walk_space(search *x, const tn_clblast_space *s)
{
    const double begin = x->s->clock(), time = (x->end - begin) * s->share;
    const int slot = slot_of(s->kernel, strlen(s->kernel));
    int v[TN_CLBLAST_NUMBERS], best[TN_CLBLAST_NUMBERS];
    bool has = false, more = true;
    for (int idle = 0; more && idle < DRAWS && x->s->clock() - begin < time; idle++) {
        char before[LINE];
        const int tried = x->s->tried;
        const bool near = has && x->s->clock() - begin > time / 2;
        if (!tn_clblast_draw(v, s, near ? best : NULL, x->s->local_memory, x->s->group, &x->rng)) break;
        memcpy(before, x->lines[slot], LINE);
        tn_clblast_write(x->lines[slot], LINE, s, v);
        if (is_faster(x, &more)) has = true, memcpy(best, v, sizeof best);
        else memcpy(x->lines[slot], before, LINE);
        if (x->s->tried > tried) idle = 0; /* else it was tried before */
    }
    return more;
}

int tn_clblast_search_run(tn_clblast_search *s, tn_error *err)
{
    search *x = calloc(1, sizeof *x);
    tn_clblast_answer own = {.good = false};
    bool more = true;
    if (!x) return tn_oom(err);
    x->s = s;
    x->rng = tn_rng_named(1, "CLBlast");
    x->end = s->clock() + s->seconds;
    s->best[0] = s->why[0] = 0;
    s->tried = 0;
    more = s->ask(&own, s->user, "", s->seconds) && own.good;
    s->own = s->fastest = own.seconds;
    if (!more) snprintf(s->why, sizeof s->why, "%s", own.why);
    put_lines(x, s->first);
    if (more && s->first[0] && !is_faster(x, &more)) memset(x->lines, 0, sizeof x->lines);
    for (int i = 0; more && tn_clblast_spaces[i].kernel; i++) more = walk_space(x, &tn_clblast_spaces[i]);
    free(x);
    return 0;
}
